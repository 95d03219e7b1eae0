"""What a response head says to a proxy: how its body ends, whether the connection lives on, and the bytes to forward.

The head is forwarded as it came, byte for byte, with the lines cut out that end here: reading it line by line would cost more
than all the rest of a small answer's parsing.
"""

from __future__ import annotations

import re
from enum import Enum

from proxy.wire.headers import HOP_BY_HOP, name_of, named_away, tokens


class BodyEnd(Enum):
    """How the end of a response's body is known (RFC 9112 §6.3)."""

    NONE = "no body"
    LENGTH = "Content-Length"
    CHUNKS = "last chunk"
    CLOSE = "connection close"


_FIELD = re.compile(rb"\r\n(([CcKkPpTtUuHhRr][OoEeRrPpTt][^:\r]*):[ \t]*([^\r]*))")
"""Every line whose name begins like one that matters, and a few more; which of them it is, is looked up."""


class ResponseHead:
    """A response head, understood.

    ``start`` is the status line without its CRLF, ``lines`` a CRLF and the header lines to forward, each ended by one.
    ``error`` is a sentence where the framing cannot be trusted, else empty.
    """

    __slots__ = (
        "body_end",
        "content_length",
        "error",
        "keep_alive",
        "lines",
        "retry_after",
        "start",
        "status",
    )

    def __init__(self, status: int, raw: bytes, answers_head: bool) -> None:
        """Judge ``raw``: a head that llhttp has accepted, without the CRLF of its empty line."""
        self.status = status
        self.error = ""
        self.retry_after: bytes | None = None
        self.content_length: int | None = None
        line_end = raw.find(b"\r\n")
        self.start = raw[:line_end]
        lines = raw[line_end:]
        is_1_1 = raw.startswith(b"HTTP/1.1")
        connection: list[bytes] = []
        codings: list[bytes] = []
        for line, name, value in _FIELD.findall(lines):
            low = name.lower()
            if low == b"content-length":
                # RFC 9112 §6.3: differing lengths are unrecoverable. llhttp refuses a second one and a bad first one.
                self.content_length = int(value)
            elif low in HOP_BY_HOP:
                # A whole line, its ends included, can only be found where it stands or where its equal does.
                lines = lines.replace(b"\r\n" + line + b"\r\n", b"\r\n", 1)
                if low == b"connection":
                    connection += tokens(value)
                elif low == b"transfer-encoding":
                    codings += tokens(value) or [b""]
            elif low == b"retry-after":
                self.retry_after = value
        if connection and connection != [b"keep-alive"]:
            lines = _without(lines, named_away(connection))
        self.lines = lines
        if not is_1_1:
            if not raw.startswith(b"HTTP/1.0"):
                self.error = (
                    "an answer in another version than HTTP/1.1 or 1.0"  # llhttp reads 0.9 and 2.0 too
                )
            self.start = b"HTTP/1.1" + self.start[8:]  # RFC 9110 §2.5: an intermediary sends its own version
        self.keep_alive = b"close" not in connection and (is_1_1 or b"keep-alive" in connection)
        self.body_end = self._body_end(is_1_1, codings, answers_head)

    def _body_end(self, is_1_1: bool, codings: list[bytes], answers_head: bool) -> BodyEnd:
        status = self.status
        if answers_head or status in (204, 304):
            return BodyEnd.NONE  # RFC 9112 §6.3: whatever the length says
        if codings:
            if not is_1_1:
                self.error = "Transfer-Encoding in an HTTP/1.0 response"
            elif codings != [b"chunked"]:
                # Passing it on would lose the coding, which is hop-by-hop, and leave the app with bytes it cannot read.
                self.error = "a transfer coding other than chunked, which nobody asked for"
            return BodyEnd.CHUNKS
        if self.content_length is not None:
            return BodyEnd.LENGTH
        self.keep_alive = False
        return BodyEnd.CLOSE

    def field(self, name: bytes) -> bytes:
        """Return the first value of the header ``name`` (lower case), empty where there is none."""
        for line in self.lines.split(b"\r\n"):
            if name_of(line) == name:
                return line.partition(b":")[2].strip(b" \t")
        return b""

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.body_end.value}>"


def _without(lines: bytes, named: set[bytes]) -> bytes:
    return b"\r\n".join([line for line in lines.split(b"\r\n") if not line or name_of(line) not in named])
