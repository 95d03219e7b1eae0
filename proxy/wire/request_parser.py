"""A client's bytes become requests. llhttp reads, callbacks record, ``feed`` decides.

Bytes are handed to llhttp in pieces that never reach beyond the end of a head or of a body, so each message begins with a
piece of its own and its head is at hand as it was sent. llhttp sees every byte and refuses what is not HTTP/1.1; the head's
lines are then read from those very bytes. Two facts make the cutting safe: in what llhttp accepts, a head ends at its first
CRLF CRLF, and so does a chunked body, whatever else that sequence may mean inside it.

A client that repeats its headers, as a client that pages does, is not parsed again: where everything behind the target equals
the head before, byte for byte, only the target is read (five headers, interpreted: 0.6 µs in place of 7 µs).

Callbacks never raise and never judge: an exception inside one kills llhttp and hides its cause.
"""

from __future__ import annotations

import re
from collections import deque

import httptools

from proxy.base.errors import DownstreamProtocolError
from proxy.base.reasons import Problem
from proxy.base.wishes import Wishes
from proxy.wire.request_facts import RequestFacts, judge_request

_HEAD_END = b"\r\n\r\n"
_REPEATED = re.compile(rb"(GET|HEAD) (/[!\"$-~]*)")
"""A request line up to the version, of the kinds that may be read without llhttp: stricter than llhttp is."""


class Request:
    """One request as it arrives: the head at once, the body as it comes.

    ``chunks`` holds body bytes nobody took yet, ``waiting_bytes`` their sum; ``is_whole`` says that the last one is in.
    ``path`` is the target for the upstream and ``wishes`` what the app wished, once the rules of accept have read them.
    """

    __slots__ = ("chunks", "facts", "is_whole", "method", "path", "target", "waiting_bytes", "wishes")

    def __init__(self, method: bytes, target: bytes, facts: RequestFacts, is_whole: bool) -> None:
        self.method = method
        self.target = target
        self.path = target
        self.wishes: Wishes | None = None
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
    read after that. ``is_closing`` says that the last request was to be the last.
    """

    def __init__(self, *, max_head_bytes: int, max_headers: int) -> None:
        self.ready: deque[Request] = deque()
        self.failed: DownstreamProtocolError | None = None
        self.is_closing = False
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        self._head = b""
        self._has_head = False
        self._body_of: Request | None = None
        self._body_left = 0
        self._quiet_bytes = 0
        self._last_bytes = b""
        self._resumed: Request | None = None
        self._repeated_tail = b"\0"
        self._repeated_facts: RequestFacts | None = None
        self._llhttp = httptools.HttpRequestParser(self)

    @property
    def is_in_head(self) -> bool:
        """Whether a head has begun and not ended: the state that a slow client may not stay in."""
        return bool(self._head and self._head.strip()) and self.failed is None

    @property
    def unread_bytes(self) -> int:
        """Body bytes of the request being read that nobody has taken yet."""
        return self._body_of.waiting_bytes if self._body_of is not None else 0

    def feed(self, data: bytes) -> None:
        """Read ``data``. Look at ``ready`` and ``failed`` afterwards; never raises."""
        tail = self._repeated_tail
        if self._body_of is None and not self._head and data.endswith(tail):
            match = _REPEATED.fullmatch(data, 0, len(data) - len(tail))
            if match is not None and len(data) <= self._max_head_bytes:
                facts = self._repeated_facts
                assert facts is not None
                self.ready.append(Request(match[1], match[2], facts, True))
                return
        while data and self.failed is None and not self.is_closing:
            if self._body_of is None:
                data = self._feed_head(data)
            elif self._body_of.facts.chunked:
                data = self._feed_chunked(data)
            else:
                piece, data = data[: self._body_left], data[self._body_left :]
                self._body_left -= len(piece)
                self._execute(piece)

    def _feed_head(self, data: bytes) -> bytes:
        """Read up to the end of a head; return what is behind it."""
        known = len(self._head)
        head = self._head + data if known else data
        end = head.find(_HEAD_END, max(0, known - 3))
        if end < 0:
            self._head = head
            self._execute(data)
            if len(head) > self._max_head_bytes:
                self._fail_size(head)
            return b""
        end += len(_HEAD_END)
        self._head = head[:end]
        if end > self._max_head_bytes:
            self._fail_size(head)
            return b""
        self._has_head = False
        self._execute(head[known:end])
        if self._has_head or not self._head.strip():
            self._head = b""  # RFC 9112 §2.2: empty lines before a request line are passed over
        return head[end:]

    def _feed_chunked(self, data: bytes) -> bytes:
        """Read up to a place where the body may end; return what is behind it."""
        # The CRLF CRLF may have begun in the bytes before.
        seen = self._last_bytes + data
        end = seen.find(_HEAD_END)
        cut = len(data) if end < 0 else end + len(_HEAD_END) - len(self._last_bytes)
        piece = data[:cut]
        self._last_bytes = (self._last_bytes + piece)[-3:]
        self._quiet_bytes += len(piece)
        self._execute(piece)
        if self._quiet_bytes > self._max_head_bytes:
            self._fail(
                Problem.HEAD_TOO_LARGE,
                f"trailers or chunk extensions of more than {self._max_head_bytes} bytes",
            )
        return data[cut:]

    def _execute(self, piece: bytes) -> None:
        try:
            self._llhttp.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._after_upgrade()
        except httptools.HttpParserInvalidMethodError:
            # RFC 9110 §9.1: a method that is not recognised is answered with 501.
            self._fail(Problem.NOT_IMPLEMENTED, "the method is not one this proxy knows")
        except httptools.HttpParserInvalidURLError as error:
            self._fail(Problem.MALFORMED, f"the request target is not valid: {error}")
        except httptools.HttpParserError as error:
            self._fail(Problem.MALFORMED, f"the request is not valid HTTP/1.1: {error}")

    def _fail_size(self, head: bytes) -> None:
        line_bytes = head.lstrip(b"\r\n").find(b"\r\n")
        is_line_whole = 0 <= line_bytes <= self._max_head_bytes
        problem = Problem.HEAD_TOO_LARGE if is_line_whole else Problem.TARGET_TOO_LONG
        self._fail(problem, f"the request head is larger than {self._max_head_bytes} bytes")

    def _fail(self, problem: Problem, detail: str) -> None:
        if self.failed is None:
            self.failed = DownstreamProtocolError(problem, detail)

    def _after_upgrade(self) -> None:
        """Go on behind a head that asks to switch protocols: we decline by not answering 101 (RFC 9110 §7.8).

        llhttp stops at such a head and takes its body for the new protocol. A fresh parser is told of the body's framing by
        a head of our own making, and reads on as if nobody had asked.
        """
        request = self.ready[-1] if self.ready else None
        self._llhttp = httptools.HttpRequestParser(self)
        if request is None or not request.facts.has_body or request.facts.refusal is not None:
            return
        request.is_whole = self.is_closing = False
        self._resumed = request
        length = request.facts.content_length
        framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        self._llhttp.feed_data(b"POST / HTTP/1.1\r\nHost: resumed\r\n" + framing + b"\r\n\r\n")

    # llhttp's callbacks

    def on_headers_complete(self) -> None:
        request = self._resumed
        self._resumed = None
        if request is None:
            request = self._read_head()
        self._has_head = True
        if request is None:
            return
        if request.facts.refusal is not None:
            self.is_closing = True  # where its body ends, if it has one, is exactly what cannot be trusted
        else:
            self._body_of = request
            self._body_left = request.facts.content_length or 0
            self._quiet_bytes = 0
            self._last_bytes = b""

    def _read_head(self) -> Request | None:
        line, _, block = self._head.lstrip(b"\r\n").partition(b"\r\n")
        words = line.split()
        if len(words) != 3:
            self._fail(Problem.VERSION, "HTTP/0.9 is not spoken here; use HTTP/1.1")
            return None
        lines = block[: -len(_HEAD_END)].split(b"\r\n") if len(block) > len(_HEAD_END) else []
        if len(lines) > self._max_headers:
            self._fail(Problem.HEAD_TOO_LARGE, f"more than {self._max_headers} header lines")
            return None
        method, target, protocol = words
        facts = judge_request(method, protocol.rpartition(b"/")[2].decode("latin-1"), lines)
        if facts.is_plain and facts.keep_alive and protocol == b"HTTP/1.1" and method in (b"GET", b"HEAD"):
            self._repeated_tail = b" HTTP/1.1\r\n" + block
            self._repeated_facts = facts
        request = Request(method, target, facts, False)
        self.ready.append(request)
        return request

    def on_body(self, chunk: bytes) -> None:
        self._quiet_bytes = 0
        request = self._body_of
        if request is not None:
            request.chunks.append(chunk)
            request.waiting_bytes += len(chunk)

    def on_message_complete(self) -> None:
        request = self._body_of
        if request is not None:
            request.is_whole = True
            self._body_of = None
            if not request.facts.keep_alive:
                self.is_closing = True
