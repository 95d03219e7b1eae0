"""Step 1: a client's bytes become a request."""
