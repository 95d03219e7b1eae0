"""The upstream as calls know it: what it is called, and the connections to it."""

from __future__ import annotations

from proxy.attempt.pool import Pool


class Upstream:
    """One server. ``authority`` is its host and port as a Host header has them, ``via`` the line by which it hears of us.

    No Via by default: nginx compresses no answer for whoever came by a proxy, and a page of 167 bytes became 24,000.
    """

    __slots__ = ("authority", "is_told_of_host", "pool", "preserves_host", "via")

    def __init__(
        self, pool: Pool, *, authority: bytes, preserves_host: bool, is_told_of_host: bool, via: bytes
    ) -> None:
        self.pool = pool
        self.authority = authority
        self.preserves_host = preserves_host
        self.is_told_of_host = is_told_of_host
        self.via = b"Via: 1.1 %b\r\n" % via if via else b""

    def __repr__(self) -> str:
        return f"<Upstream {self.authority.decode()} {self.pool!r}>"
