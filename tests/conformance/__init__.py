"""Rules of RFC 9110 and RFC 9112 that a proxy must keep, each as a varnishtest script: an origin, a proxy and an app.

A file of ``rules`` is one rule; its first line names it. ``proxies`` starts what stands between, ``trial`` runs one
script. ``make conformance`` tries every rule on Sidegate, nginx and HAProxy; ``make test`` on Sidegate alone.
"""
