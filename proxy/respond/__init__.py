"""Step 5: bytes back to the client."""
