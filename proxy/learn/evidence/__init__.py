"""What was seen, as values: what one pod counts, what the fleet saw in a window, and what was learnt from it."""
