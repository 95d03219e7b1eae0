"""Answers as bytes: the upstream's own, whole or streaming, and those the sidecar makes itself."""

from __future__ import annotations

import json

from proxy.base.reasons import Reason
from proxy.respond.client import ClientStream
from proxy.wire.encode import LAST_CHUNK, chunk, status_line
from proxy.wire.response import Response
from proxy.wire.response_facts import BodyEnd

_TITLES = {
    Reason.QUEUE_FULL: "Too many calls are waiting",
    Reason.QUEUE_TIMEOUT: "The wait for a turn would take too long",
    Reason.DEADLINE: "The call ran out of time",
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


class Marks:
    """The header lines every answer gets: Via, and how many attempts it took. Encoded once per count."""

    def __init__(self, via: bytes) -> None:
        self._via = via
        self._of_attempts: dict[int, bytes] = {}

    def lines(self, attempts: int) -> bytes:
        """Return the lines for an answer that took ``attempts`` tries."""
        known = self._of_attempts.get(attempts)
        if known is None:
            known = b"Via: 1.1 %b\r\nSidegate-Attempts: %d\r\n" % (self._via, attempts)
            if attempts < 1000:
                self._of_attempts[attempts] = known
        return known


class LocalReply:
    """An answer of the sidecar's own: status, reason, and a sentence for whoever reads it."""

    __slots__ = ("detail", "reason", "retry_after_s", "status")

    def __init__(self, status: int, reason: Reason, detail: str, retry_after_s: float | None = None) -> None:
        self.status = status
        self.reason = reason
        self.detail = detail
        self.retry_after_s = retry_after_s

    def encode(self, marks: bytes, *, closes: bool, answers_head: bool) -> bytes:
        """Return head and RFC 9457 problem body; a HEAD's answer has the head only."""
        problem = {
            "type": "about:blank",
            "title": _TITLES.get(self.reason, "The call could not be carried"),
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason.value,
        }
        body = json.dumps(problem).encode()
        head = [
            status_line(self.status),
            b"Content-Type: application/problem+json\r\nContent-Length: %d\r\n" % len(body),
            b"Sidegate-Reason: %b\r\n" % self.reason.value.encode(),
            marks,
        ]
        if self.retry_after_s is not None:
            head.append(b"Retry-After: %d\r\n" % max(1, round(self.retry_after_s)))
        if closes:
            head.append(b"Connection: close\r\n")
        head.append(b"\r\n")
        if not answers_head:
            head.append(body)
        return b"".join(head)


def write_whole(client: ClientStream, response: Response, marks: bytes, persistence: bytes) -> int:
    """Send an answer that is all here; return its body's bytes. ``persistence`` is the Connection line, or empty."""
    facts = response.facts
    head = status_line(response.status, response.phrase) + facts.lines
    if facts.body_end is BodyEnd.CHUNKS or facts.body_end is BodyEnd.CLOSE:
        # Now that it is whole, its length says better where it ends.
        head += b"Content-Length: %d\r\n" % response.body_bytes
    head += marks + persistence + b"\r\n"
    chunks = response.chunks
    if not chunks:
        client.write(head)
    elif len(chunks) == 1 and len(chunks[0]) <= 65536:
        client.write(head + chunks[0])
    else:
        client.writelines([head, *chunks])
    return response.body_bytes


async def relay(
    client: ClientStream, response: Response, marks: bytes, persistence: bytes, *, may_chunk: bool
) -> tuple[int, bool]:
    """Send an answer as it arrives; return body bytes and whether it ended as it should.

    Where it did not, the caller must break the connection: a cut has to look like one. ``may_chunk`` is false for HTTP/1.0
    apps, whose answer of unknown length ends with the connection.
    """
    rest = response.rest
    assert rest is not None
    facts = response.facts
    in_chunks = facts.content_length is None and may_chunk
    framing = b"Transfer-Encoding: chunked\r\n" if in_chunks else b""
    client.write(
        status_line(response.status, response.phrase) + facts.lines + framing + marks + persistence + b"\r\n"
    )
    sent = 0
    parts = response.chunks
    response.chunks = []
    while True:
        if client.is_gone:
            return sent, False
        if parts:
            sent += sum(map(len, parts))
            client.writelines([chunk(part) for part in parts] if in_chunks else parts)
        if client.is_write_paused:
            rest.pause()
            while client.is_write_paused and not client.is_gone and not rest.has_expired:
                await client.signal.wait()
            rest.resume()
        parts = await rest.read()
        if not parts:
            break
    if rest.is_complete and in_chunks:
        client.write(LAST_CHUNK)
    return sent, rest.is_complete
