"""Real clients, the real sidecar process and a real origin on this machine's loopback.

``origin`` records what arrives byte for byte, ``tap`` sits between client and sidecar and keeps both
directions, ``clients`` are unmodified HTTP clients, ``faults`` breaks answers on purpose. ``--via haproxy`` puts
a peer where the sidecar is, which tells a fault of the tests from a fault of the sidecar.
"""
