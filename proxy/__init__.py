"""Sidegate: the sidecar between an application and the one fragile HTTP server it pulls data from.

A call's journey, which is also the order in which to read the folders:

1. ``accept``   a client's bytes become a request
2. ``admit``    may it go now? a slot, a token, or a place in the queue
3. ``attempt``  one try at the upstream, on a kept connection
4. ``judge``    what did that try mean, and again?
5. ``respond``  bytes back to the client
6. ``observe``  said once per attempt and once per call

``exchange.py`` walks that line with plain calls: start reading there. ``main.py`` puts the parts together.
"""

__version__ = "0.1.0"
