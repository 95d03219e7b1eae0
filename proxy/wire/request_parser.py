"""A client's bytes become requests. llhttp reads, callbacks record, ``feed`` decides.

Callbacks never raise and never judge: an exception inside one kills llhttp and hides its cause.
"""

from __future__ import annotations

from collections import deque

import httptools

from proxy.base.errors import DownstreamProtocolError
from proxy.base.reasons import Reason
from proxy.wire.headers import Headers
from proxy.wire.request_facts import RequestFacts, judge_request


class Request:
    """One request as it arrives: the head at once, the body as it comes.

    ``chunks`` holds body bytes nobody took yet, ``waiting_bytes`` their sum; ``is_whole`` says that the last one is in.
    """

    __slots__ = ("chunks", "facts", "is_whole", "method", "target", "waiting_bytes")

    def __init__(self, method: bytes, target: bytes, facts: RequestFacts) -> None:
        self.method = method
        self.target = target
        self.facts = facts
        self.chunks: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.is_whole = False

    def take_all(self) -> list[bytes]:
        """Return the body bytes that have arrived, and forget them."""
        chunks = list(self.chunks)
        self.chunks.clear()
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
        self._head_bytes = 0
        self._in_head = False
        self._has_too_many = False
        self._is_too_large = False
        self._closes_after = False
        self._target = b""
        self._headers: Headers = []
        self._trailer_bytes = 0
        self._body_of: Request | None = None
        self._resumed_body: Request | None = None
        self._last_method = b""
        self._last_version = ""
        self._last_headers: Headers = []
        self._last_facts: RequestFacts | None = None
        self._llhttp = httptools.HttpRequestParser(self)

    @property
    def is_in_head(self) -> bool:
        """Whether a head has begun and not ended: the state that a slow client may not stay in."""
        return self._in_head

    @property
    def unread_bytes(self) -> int:
        """Body bytes of the request being read that nobody has taken yet."""
        return self._body_of.waiting_bytes if self._body_of is not None else 0

    def feed(self, data: bytes) -> None:
        """Read ``data``. Look at ``ready`` and ``failed`` afterwards; never raises."""
        if self.failed is not None or self.is_closing:
            return
        self._head_bytes += len(data)
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            # RFC 9110 §9.1: a method that is not recognised is answered with 501.
            self._fail(501, "the method is not one this proxy knows")
        except httptools.HttpParserInvalidURLError as error:
            self._fail(400, f"the request target is not valid: {error}")
        except httptools.HttpParserError as error:
            if not self.is_closing:
                self._fail(400, f"the request is not valid HTTP/1.1: {error}")
        if self.failed is None:
            self._check_sizes()

    def _check_sizes(self) -> None:
        if not self._in_head:
            self._head_bytes = 0
        elif self._head_bytes > self._max_head_bytes:
            self._is_too_large = True
        if self._is_too_large:
            status = 431 if self._headers else 414
            self._fail(
                status, f"the request head is larger than {self._max_head_bytes} bytes", Reason.TOO_LARGE
            )
        elif self._has_too_many:
            self._fail(431, f"more than {self._max_headers} header lines", Reason.TOO_LARGE)
        elif self._trailer_bytes > self._max_head_bytes:
            self._fail(431, f"trailers of more than {self._max_head_bytes} bytes", Reason.TOO_LARGE)

    def _fail(self, status: int, detail: str, reason: Reason = Reason.BAD_REQUEST) -> None:
        self._in_head = False
        self.failed = DownstreamProtocolError(status, detail, reason)

    def _after_upgrade(self, rest: bytes) -> None:
        """Go on behind a request that asked to switch protocols: we decline by not answering 101 (RFC 9110 §7.8).

        llhttp stops at such a head and takes its body for the new protocol. A fresh parser is told of the body's framing by
        a head of our own making, and reads on as if nobody had asked.
        """
        request = self.ready[-1] if self.ready else None
        self._llhttp = httptools.HttpRequestParser(self)
        if request is not None and request.facts.has_body and request.facts.refusal is None:
            request.is_whole = self.is_closing = False
            self._resumed_body = request
            length = request.facts.content_length
            framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
            self._llhttp.feed_data(b"POST / HTTP/1.1\r\nHost: resumed\r\n" + framing + b"\r\n\r\n")
        if rest:
            self.feed(rest)

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        if self.ready and not self._in_head:
            self._head_bytes = 0  # what was fed belongs to messages before this one
        self._in_head = True
        self._target = b""
        self._headers = []
        self._trailer_bytes = 0

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailer_bytes += len(name) + len(value) + 4
            return
        headers = self._headers
        headers.append((name, value.rstrip(b" \t")))
        if len(headers) > self._max_headers:
            self._has_too_many = True
            del headers[self._max_headers :]

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._resumed_body is not None:
            self._body_of, self._resumed_body = self._resumed_body, None
            return
        parser = self._llhttp
        method: bytes = parser.get_method()
        version: str = parser.get_http_version()
        headers = self._headers
        if self._head_bytes > self._max_head_bytes:
            size = len(self._target) + sum(len(name) + len(value) + 4 for name, value in headers)
            self._is_too_large = self._is_too_large or size > self._max_head_bytes
        facts = self._last_facts
        if (
            facts is None
            or headers != self._last_headers
            or method != self._last_method
            or version != self._last_version
        ):
            facts = judge_request(method, version, headers)
            self._last_facts, self._last_headers = facts, headers
            self._last_method, self._last_version = method, version
        request = self._body_of = Request(method, self._target, facts)
        if not facts.keep_alive or facts.refusal is not None:
            self._closes_after = True
        self.ready.append(request)

    def on_body(self, chunk: bytes) -> None:
        request = self._body_of
        if request is not None:
            request.chunks.append(chunk)
            request.waiting_bytes += len(chunk)

    def on_message_complete(self) -> None:
        request = self._body_of
        if request is not None:
            request.is_whole = True
            self._body_of = None
        if self._closes_after:
            self.is_closing = True
