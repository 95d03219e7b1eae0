"""Both ends of the sidecar, played by the tests: an origin with a script, an app that speaks in bytes, and a house between."""
