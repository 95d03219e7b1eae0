"""A client's bytes become requests. Strict: what RFC 9112 does not allow is refused, the section above each check.

A head is looked for its end first and judged as a whole then. While it is incomplete only that is looked at which no rest could
mend: its request line once that has ended, control characters, line ends that are none. So a client that speaks another
protocol hears it at once, and the verdict on a request does not depend on how it was cut into packets.

A client that repeats its headers, as a client that pages does, is not parsed again: where everything behind the target equals
the head before, byte for byte, only the target is read (five headers, interpreted: 0.6 µs in place of 7 µs).
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from proxy.base.destination import Destination
from proxy.base.errors import DownstreamProtocolError
from proxy.base.reasons import Problem
from proxy.base.wishes import Wishes
from proxy.wire.chunks import ChunkReader, State, keep
from proxy.wire.headers import FIELD_LINE, TOKEN
from proxy.wire.request_facts import RequestFacts, judge_request

_HEAD_END: Final = b"\r\n\r\n"
_REPEATED: Final = re.compile(rb"(GET|HEAD) ([!\"$-~\x80-\xff]+)")
"""A request line up to the version, of the kinds that may be read by what was read before."""
_REQUEST_LINE: Final = re.compile(rb"(%b) +([!-~\x80-\xff]+) +HTTP/([0-9])\.([0-9])" % TOKEN)
"""RFC 9112 §3: any token is a method. Blanks too many may be read; what is sent on is our own line."""
_FIELD_LINES: Final = re.compile(rb"(?:%b\r\n)*" % FIELD_LINE.pattern)
_NONSENSE: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n")
"""What no head may hold, whatever follows: control characters, and a CR or an LF without the other (RFC 9112 §2.2)."""
_LONGEST_METHOD: Final = 64
_AHEAD: Final = 32
"""Requests that are read before the first of them is answered; the bytes behind wait unread."""


class Request:
    """One request as it arrives: the head at once, the body as it comes.

    ``chunks`` holds body bytes nobody took yet, ``waiting_bytes`` their sum; ``is_whole`` says that the last one is in.
    ``path`` is the target for the upstream, ``wishes`` what the app wished, ``elsewhere`` another host that the call is for, and
    ``named_host`` the host of an absolute target where the Host header says another one, once the rules of accept have read them.
    """

    __slots__ = (
        "chunks",
        "elsewhere",
        "facts",
        "is_whole",
        "method",
        "named_host",
        "path",
        "target",
        "waiting_bytes",
        "wishes",
    )

    def __init__(self, method: bytes, target: bytes, facts: RequestFacts, is_whole: bool) -> None:
        self.method = method
        self.target = target
        self.path = target
        self.wishes: Wishes | None = None
        self.elsewhere: Destination | None = None
        self.named_host = b""
        self.facts = facts
        self.chunks: list[bytes] = []
        self.waiting_bytes = 0
        self.is_whole = is_whole

    def take_all(self) -> list[bytes]:
        """Return the body bytes that have arrived, and forget them."""
        chunks, self.chunks = self.chunks, []
        self.waiting_bytes = 0
        return chunks

    def __repr__(self) -> str:
        return f"<Request {self.method!r} {self.target!r} whole={self.is_whole} waiting={self.waiting_bytes} bytes>"


class RequestParser:
    """The requests of one connection, in order.

    ``ready`` grows by each request whose head is complete; ``failed`` is set once the bytes stop making sense, and nothing is
    read after that. ``is_closing`` says that the last request was to be the last; what is behind a CONNECT stays unread.
    """

    def __init__(self, *, max_head_bytes: int, max_headers: int) -> None:
        self.ready: deque[Request] = deque()
        self.failed: DownstreamProtocolError | None = None
        self.is_closing = False
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        self._unread = b""
        self._looked_at = 0
        self._body_of: Request | None = None
        self._body_left = 0
        self._chunks: ChunkReader | None = None
        self._is_tunnel = False
        self._repeated_tail = b"\0"
        self._repeated_facts: RequestFacts | None = None

    @property
    def is_in_head(self) -> bool:
        """Whether a head has begun and not ended: the state that a slow client may not stay in."""
        return bool(self._unread) and self.failed is None and not self._is_tunnel

    @property
    def is_full(self) -> bool:
        """Whether as many requests are ready as are read ahead."""
        return len(self.ready) >= _AHEAD

    @property
    def unread_bytes(self) -> int:
        """Bytes that nobody has taken yet: of the body being read, and behind the requests that are ready."""
        return len(self._unread) + (self._body_of.waiting_bytes if self._body_of is not None else 0)

    def feed(self, data: bytes) -> None:
        """Read ``data``. Look at ``ready`` and ``failed`` afterwards; never raises."""
        if self._body_of is None and not self._unread:
            if data.endswith(self._repeated_tail) and not self.ready and self._read_repeated(data):
                return
        elif self._unread:
            data = self._unread + data
            self._unread = b""
        while data and self.failed is None and not self.is_closing:
            if self._body_of is not None:
                data = self._read_body(self._body_of, data)
            elif self.is_full:
                self._unread = data
                return
            else:
                data = self._read_head(data)
        if self._is_tunnel:
            self._unread = data

    def take_unread(self) -> bytes:
        """Return what came behind a head that switches protocols, and read no more."""
        unread, self._unread = self._unread, b""
        self.is_closing = self._is_tunnel = True
        return unread

    def read_on(self) -> None:
        """Read what was left unread because enough requests were ready."""
        if self._unread and not self.is_full and not self._looked_at:
            self.feed(b"")

    def _read_repeated(self, data: bytes) -> bool:
        match = _REPEATED.fullmatch(data, 0, len(data) - len(self._repeated_tail))
        facts = self._repeated_facts
        if match is None or facts is None or len(data) > self._max_head_bytes:
            return False
        self.ready.append(Request(match[1], match[2], facts, True))
        return True

    def _read_head(self, data: bytes) -> bytes:
        """Read one head; return what is behind it, nothing where it is incomplete."""
        if data[:1] == b"\r":  # RFC 9112 §2.2: empty lines before a request line are passed over
            while data[:2] == b"\r\n":
                data = data[2:]
            if data == b"\r" or not data:
                self._unread = data
                return b""
        limit = self._max_head_bytes
        end = data.find(_HEAD_END, max(0, self._looked_at - 3), limit)
        if end < 0:
            self._look_ahead(data[:limit])
            if len(data) >= limit:
                self._fail_size(data[:limit])
            self._unread = data
            self._looked_at = len(data)
            return b""
        self._looked_at = 0
        line_end = data.find(b"\r\n", 0, end + 2)
        block = data[line_end + 2 : end + 2]
        match = self._read_line(data[:line_end])
        if match is None:
            return b""
        if _FIELD_LINES.fullmatch(block) is None:
            self._fail(Problem.MALFORMED, _what_is_wrong(block))
            return b""
        lines = block[:-2].split(b"\r\n") if block else []
        if len(lines) > self._max_headers:
            self._fail(Problem.HEAD_TOO_LARGE, f"more than {self._max_headers} header lines")
            return b""
        self._begin(match, lines, block)
        return data[end + len(_HEAD_END) :]

    def _begin(self, match: re.Match[bytes], lines: list[bytes], block: bytes) -> None:
        """Take in a head that is valid by its grammar."""
        method, target = match[1], match[2]
        version = match[3] + b"." + match[4]
        facts = judge_request(method, version.decode(), lines)
        if facts.is_plain and facts.keep_alive and version == b"1.1" and method in (b"GET", b"HEAD"):
            self._repeated_tail = b" HTTP/1.1\r\n" + block + b"\r\n"
            self._repeated_facts = facts
        request = Request(method, target, facts, not facts.has_body)
        self.ready.append(request)
        if facts.refusal is not None:
            request.is_whole = False
            self.is_closing = True  # where its body ends, if it has one, is exactly what cannot be trusted
        elif method == b"CONNECT":
            request.is_whole = False
            self.is_closing = self._is_tunnel = True
        elif facts.has_body:
            self._body_of = request
            self._body_left = facts.content_length or 0
            self._chunks = (
                ChunkReader(strict=True, max_quiet_bytes=self._max_head_bytes) if facts.chunked else None
            )
        else:
            self.is_closing = not facts.keep_alive

    def _read_line(self, line: bytes) -> re.Match[bytes] | None:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            self._fail(Problem.MALFORMED, f"{line[:80]!r} is no HTTP/1.1 request line")
        elif match.end(1) > _LONGEST_METHOD:
            # RFC 9112 §3: 501 for a method that is longer than any.
            self._fail(Problem.NOT_IMPLEMENTED, f"a method of more than {_LONGEST_METHOD} characters")
            return None
        return match

    def _look_ahead(self, data: bytes) -> None:
        """Refuse an incomplete head as soon as nothing that follows could mend it. Looks at each byte once, or twice."""
        known = max(0, self._looked_at - 1)
        nonsense = _NONSENSE.search(data, known)
        if data.find(b"\r\n", 0, known + 1) < 0:
            line_end = data.find(b"\r\n", known)
            is_whole = line_end >= 0 and (nonsense is None or nonsense.start() > line_end)
            if is_whole and self._read_line(data[:line_end]) is None:
                return
        if nonsense is not None:
            self._fail(
                Problem.MALFORMED, "a control character, or a line end that is not CRLF (RFC 9112 §2.2)"
            )

    def _read_body(self, request: Request, data: bytes) -> bytes:
        """Read of a body what is there; return what is behind it."""
        reader = self._chunks
        if reader is None:
            part, rest = data[: self._body_left], data[self._body_left :]
            self._body_left -= len(part)
            keep(request.chunks, part)
            request.waiting_bytes += len(part)
            is_whole = not self._body_left
        else:
            known_bytes = reader.body_bytes
            rest = reader.feed(data, request.chunks)
            request.waiting_bytes += reader.body_bytes - known_bytes
            is_whole = reader.state is State.WHOLE
            if reader.error:
                problem = Problem.HEAD_TOO_LARGE if reader.is_too_large else Problem.MALFORMED
                self._fail(problem, reader.error)
        if is_whole:
            request.is_whole = True
            self._body_of = None
            self.is_closing = not request.facts.keep_alive
        return rest

    def _fail_size(self, head: bytes) -> None:
        line_end = head.find(b"\r\n")
        if line_end >= 0:
            problem = Problem.HEAD_TOO_LARGE
        elif b" " in head[: _LONGEST_METHOD + 1]:
            problem = Problem.TARGET_TOO_LONG
        else:
            problem = Problem.NOT_IMPLEMENTED
        self._fail(problem, f"the request head is larger than {self._max_head_bytes} bytes")

    def _fail(self, problem: Problem, detail: str) -> None:
        if self.failed is None:
            self.failed = DownstreamProtocolError(problem, detail)


def _what_is_wrong(block: bytes) -> str:
    """Return a sentence on the first line of ``block`` that is no header line."""
    for line in block.split(b"\r\n"):
        if FIELD_LINE.fullmatch(line) is None:
            name, colon, _ = line.partition(b":")
            if line[:1] in (b" ", b"\t"):
                return f"{line[:40]!r} continues a header line, which requests may not (RFC 9112 §5.2)"
            if colon and name.rstrip(b" \t") != name:
                return f"a blank before the colon of {line[:40]!r} (RFC 9112 §5.1)"
            return f"{line[:40]!r} is no header line (RFC 9112 §5)"
    return "the head is not valid HTTP/1.1"
