"""Answers as bytes: the upstream's own, whole or streaming, and those the sidecar makes itself."""

from __future__ import annotations

import json
from collections.abc import Callable

from proxy.base.reasons import Reason
from proxy.respond.client import ClientStream
from proxy.wire.encode import LAST_CHUNK, chunk, status_line
from proxy.wire.response import Response
from proxy.wire.response_head import BodyEnd

_TITLES = {
    Reason.QUEUE_FULL: "Too many calls are waiting",
    Reason.QUEUE_TIMEOUT: "The wait for a turn would take too long",
    Reason.DEADLINE: "The call ran out of time",
    Reason.OUTAGE: "The upstream fails every call",
    Reason.BUDGET: "The retry budget is used up",
    Reason.CONNECT_FAILED: "The upstream cannot be reached",
    Reason.CONNECT_TIMEOUT: "The upstream cannot be reached in time",
    Reason.TLS_FAILED: "TLS with the upstream failed",
    Reason.DNS_FAILED: "The upstream's name cannot be resolved",
    Reason.RESET: "The upstream closed the connection without an answer",
    Reason.STALE_CONNECTION: "The upstream closed the connection without an answer",
    Reason.TRUNCATED: "The upstream's answer broke off",
    Reason.HEAD_TIMEOUT: "The upstream did not answer in time",
    Reason.BODY_TIMEOUT: "The upstream's answer stalled",
    Reason.BAD_RESPONSE: "The upstream's answer is not valid HTTP",
    Reason.DRAINING: "The sidecar is stopping",
    Reason.BAD_REQUEST: "The request cannot be carried",
    Reason.TOO_LARGE: "The request is too large",
}


PERSISTS = b""
CLOSES = b"Connection: close\r\n"
KEEPS_ALIVE = b"Connection: keep-alive\r\n"
"""The Connection line of an answer: none for HTTP/1.1 apps, which keep alive by default (RFC 9112 §9.3)."""


class Marks:
    """The header lines every answer gets: Via, how many attempts it took, and Connection where it needs one."""

    def __init__(self, via: bytes) -> None:
        self._via = via
        self._known: dict[tuple[int, bytes], bytes] = {}

    def lines(self, attempts: int, persistence: bytes) -> bytes:
        """Return the lines, each ended by CRLF, and the empty line that ends a head. Encoded once per count."""
        key = (attempts, persistence)
        known = self._known.get(key)
        if known is None:
            known = b"Via: 1.1 %b\r\nSidegate-Attempts: %d\r\n%b\r\n" % (self._via, attempts, persistence)
            if attempts < 1000:
                self._known[key] = known
        return known


class LocalReply:
    """An answer of the sidecar's own: status, reason, and a sentence for whoever reads it."""

    __slots__ = ("detail", "reason", "retry_after_s", "status")

    def __init__(self, status: int, reason: Reason, detail: str, retry_after_s: float | None = None) -> None:
        self.status = status
        self.reason = reason
        self.detail = detail
        self.retry_after_s = retry_after_s

    def encode(self, marks: bytes, *, answers_head: bool) -> bytes:
        """Return head and RFC 9457 problem body; a HEAD's answer has the head only. ``marks`` end the head."""
        problem = {
            "type": "about:blank",
            "title": _TITLES.get(self.reason, "The call could not be carried"),
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason.value,
        }
        body = json.dumps(problem).encode()
        retry_after = b""
        if self.retry_after_s is not None:
            retry_after = b"Retry-After: %d\r\n" % max(1, round(self.retry_after_s))
        head = [
            status_line(self.status),
            b"Content-Type: application/problem+json\r\nContent-Length: %d\r\n" % len(body),
            b"Sidegate-Reason: %b\r\n" % self.reason.value.encode(),
            retry_after,
            marks,
        ]
        return b"".join(head if answers_head else [*head, body])


_JOIN_UP_TO = 64 << 10
"""Bodies up to this size are copied behind their head and sent in one piece; larger ones go in several, uncopied."""


def write_whole(client: ClientStream, response: Response, marks: bytes) -> int:
    """Send an answer that is all here; return its body's bytes."""
    head = response.head
    size = response.body_bytes
    framing = b""
    if head.body_end is BodyEnd.CHUNKS or head.body_end is BodyEnd.CLOSE:
        # Now that it is whole, its length says better where it ends.
        framing = b"Content-Length: %d\r\n" % size
    if size <= _JOIN_UP_TO:
        client.write(b"".join((head.start, head.lines, framing, marks, *response.chunks)))
    else:
        client.writelines([b"".join((head.start, head.lines, framing, marks)), *response.chunks])
    return size


async def relay(
    client: ClientStream,
    response: Response,
    marks: bytes,
    *,
    may_chunk: bool,
    on_paused: Callable[[], None],
) -> tuple[int, bool]:
    """Send an answer as it arrives; return body bytes and whether it ended as it should.

    Where it did not, the caller must break the connection: a cut has to look like one. ``may_chunk`` is false for HTTP/1.0
    apps, whose answer of unknown length ends with the connection. ``on_paused`` is called each time that reading from the
    upstream pauses because the app does not take.
    """
    rest = response.rest
    assert rest is not None
    head = response.head
    in_chunks = head.content_length is None and may_chunk
    framing = b"Transfer-Encoding: chunked\r\n" if in_chunks else b""
    client.write(b"".join((head.start, head.lines, framing, marks)))
    sent = 0
    parts = response.chunks
    response.chunks = []
    while not client.is_gone:
        if parts:
            sent += sum(map(len, parts))
            client.writelines([chunk(part) for part in parts] if in_chunks else parts)
        if client.is_write_paused:
            rest.pause()
            on_paused()
            while client.is_write_paused and not client.is_gone and not rest.has_expired:
                await client.signal.wait()
            rest.resume()
        parts = await rest.read()
        if not parts:
            break
    if rest.is_complete and in_chunks:
        client.write(LAST_CHUNK)
    return sent, rest.is_complete
