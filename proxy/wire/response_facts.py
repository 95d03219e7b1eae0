"""What a response head says to a proxy: how its body ends, whether the connection lives on, and the lines to forward."""

from __future__ import annotations

from enum import Enum

from proxy.wire.headers import HOP_BY_HOP, Headers, named_away, tokens


class BodyEnd(Enum):
    """How the end of a response's body is known (RFC 9112 §6.3)."""

    NONE = "no body"
    LENGTH = "Content-Length"
    CHUNKS = "last chunk"
    CLOSE = "connection close"


_SPECIAL = HOP_BY_HOP | {b"content-length", b"retry-after", b"content-type", b"content-encoding"}


class ResponseFacts:
    """A response head, understood. ``lines`` are the header lines to forward, Content-Length included where it came."""

    __slots__ = (
        "body_end",
        "content_encoding",
        "content_length",
        "content_type",
        "error",
        "keep_alive",
        "lines",
        "retry_after",
    )

    def __init__(self) -> None:
        self.body_end = BodyEnd.CLOSE
        self.content_length: int | None = None
        self.keep_alive = True
        self.lines = b""
        self.retry_after: bytes | None = None
        self.content_type = b""
        self.content_encoding = b""
        self.error = ""


def judge_response(status: int, is_1_1: bool, headers: Headers, answers_head: bool) -> ResponseFacts:
    """Return what ``headers`` mean; ``error`` is a sentence where the framing cannot be trusted, else empty."""
    facts = ResponseFacts()
    connection: list[bytes] = []
    codings: list[bytes] = []
    lines: list[bytes] = []
    for name, value in headers:
        low = name.lower()
        if low not in _SPECIAL:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif low == b"content-length":
            # RFC 9112 §6.3: differing lengths are unrecoverable. llhttp refuses a second one; a bad first one as well.
            facts.content_length = int(value) if value.isdigit() else None
            lines.append(b"%b: %b\r\n" % (name, value))
        elif low == b"connection":
            connection += tokens(value)
        elif low == b"transfer-encoding":
            codings += tokens(value) or [b""]
        elif low not in HOP_BY_HOP:
            if low == b"retry-after":
                facts.retry_after = value
            elif low == b"content-type":
                facts.content_type = value
            else:
                facts.content_encoding = value
            lines.append(b"%b: %b\r\n" % (name, value))
    if connection:
        lines = _without(lines, named_away(connection))
    facts.lines = b"".join(lines)
    facts.keep_alive = b"close" not in connection if is_1_1 else b"keep-alive" in connection
    _judge_body(facts, status, is_1_1, codings, answers_head)
    return facts


def _judge_body(
    facts: ResponseFacts, status: int, is_1_1: bool, codings: list[bytes], answers_head: bool
) -> None:
    if status == 101:
        facts.error = "the upstream switched protocols unasked"
    elif answers_head or status in (204, 304):
        facts.body_end = BodyEnd.NONE  # RFC 9112 §6.3: whatever the length says
    elif codings:
        if not is_1_1:
            facts.error = "Transfer-Encoding in an HTTP/1.0 response"
        elif codings != [b"chunked"]:
            # Passing it on would lose the coding, which is hop-by-hop, and leave the app with bytes it cannot read.
            facts.error = "a transfer coding other than chunked, which nobody asked for"
        facts.body_end = BodyEnd.CHUNKS
    elif facts.content_length is not None:
        facts.body_end = BodyEnd.LENGTH
    else:
        facts.keep_alive = False


def _without(lines: list[bytes], named: set[bytes]) -> list[bytes]:
    return [line for line in lines if line.partition(b":")[0].lower() not in named]
