"""Real clients, the real sidecar process and a real origin on this machine's loopback.

``origin`` records what arrives byte for byte, ``tap`` sits between client and sidecar and keeps both
directions, ``clients`` are unmodified HTTP clients, ``faults`` breaks answers on purpose.
``--via nginx`` puts a peer where the sidecar is, which tells a fault of the tests from one of the sidecar.
(HAProxy 2.6 stalls on a body sent together with Expect: 100-continue, about one time in four.)
"""
