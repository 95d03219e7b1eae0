"""A request on its way out: a value until an attempt makes bytes of it, here and nowhere else."""

from __future__ import annotations

from typing import Protocol

from proxy.attempt.upstream import Upstream
from proxy.wire.request_parser import Request


class BodySource(Protocol):
    """A request body that is still arriving."""

    @property
    def is_whole(self) -> bool:
        """Whether the last byte is in."""

    @property
    def has_begun(self) -> bool:
        """Whether the app has sent some of it, or all there is."""

    @property
    def is_broken(self) -> bool:
        """Whether the rest will never come: the app broke HTTP, or stopped sending."""

    def take(self) -> list[bytes]:
        """Return the bytes that have arrived and let more come; [] when there are none now."""


class Outgoing:
    """A request and its body: ``body`` where all of it is here, ``source`` where it still arrives and is sent as it does.

    ``waits_for_100`` says that the app asks to be told to send it.
    """

    __slots__ = ("body", "request", "source", "waits_for_100")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.body: list[bytes] = []
        self.source: BodySource | None = None
        self.waits_for_100 = False

    @property
    def is_chunked(self) -> bool:
        """Whether the body goes out in chunks: it came so, and its length is not known."""
        return self.source is not None and self.request.facts.chunked

    def encode_head(self, upstream: Upstream) -> bytes:
        """Return the head for ``upstream``, its empty line included.

        What is behind the target is the same for every request with the same headers; it is kept with them. Where the target
        names another host than they do, they are no longer all that it depends on.
        """
        request = self.request
        facts = request.facts
        named = request.named_host
        encoded = None if named else facts.encoded
        if encoded is None or encoded[0] is not upstream:
            # RFC 9112 §3.2.2: the Host header is ignored where the target names a host.
            said = named or facts.host
            host = said if upstream.preserves_host and said else upstream.authority
            told = b""
            if upstream.is_told_of_host and said:
                told = b"X-Forwarded-Host: %b\r\nX-Forwarded-Proto: http\r\n" % said
            tail = b" HTTP/1.1\r\nHost: %b\r\n%b%b%b" % (host, facts.lines, told, upstream.via)
            encoded = (upstream, tail)
            if not named:
                facts.encoded = encoded
        framing = b""
        if facts.chunked:
            if self.source is not None:
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                framing = b"Content-Length: %d\r\n" % sum(map(len, self.body))
        if facts.upgrade:
            framing = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % facts.upgrade
        else:
            if self.waits_for_100:
                framing += b"Expect: 100-continue\r\n"
            if facts.takes_trailers:
                framing += (
                    b"Connection: TE\r\nTE: trailers\r\n"  # RFC 9110 §10.1.4: both, for they end at each hop
                )
        return b"%b %b%b%b\r\n" % (request.method, request.path, encoded[1], framing)

    def __repr__(self) -> str:
        return f"<Outgoing {self.request!r}>"
