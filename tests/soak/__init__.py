"""Many calls through one sidecar, some by clients that walk away: nothing may be left behind.

``caller`` is the load, a program of its own; ``watch`` samples the sidecar's memory while it runs.
"""
