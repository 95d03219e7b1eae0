"""One file a mode. Exactly one is in charge; each returns a decision, or the mode that follows it."""
