"""The upstream as calls know it: what it is called, and the connections to it."""

from __future__ import annotations

from proxy.attempt.pool import Pool


class Upstream:
    """One server. ``authority`` is its host and port as a Host header has them, ``via`` what this sidecar calls itself."""

    __slots__ = ("authority", "pool", "preserves_host", "via")

    def __init__(self, pool: Pool, *, authority: bytes, preserves_host: bool, via: bytes) -> None:
        self.pool = pool
        self.authority = authority
        self.preserves_host = preserves_host
        self.via = via

    def __repr__(self) -> str:
        return f"<Upstream {self.authority.decode()} {self.pool!r}>"
