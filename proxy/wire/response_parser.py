"""The upstream's bytes become one response at a time. llhttp reads heads and chunks; plain body bytes go past it.

Callbacks record; ``feed`` decides. After ``feed`` look at ``error`` first, then ``has_head`` and ``is_whole``.
"""

from __future__ import annotations

import httptools

from proxy.wire.headers import Headers
from proxy.wire.response_facts import BodyEnd, ResponseFacts, judge_response


class ResponseParser:
    """Reads the responses of one upstream connection.

    ``expect`` comes before each; ``chunks`` collects body bytes that the reader takes away, ``body_bytes`` counts all of them.
    ``error`` is a sentence once the bytes stop making sense. ``has_excess`` says that bytes came behind the end of a whole
    response: the answer stands, the connection is worthless.
    """

    __slots__ = (
        "__dict__",
        "_answers_head",
        "_head_bytes",
        "_headers",
        "_in_final",
        "_llhttp",
        "_max_head_bytes",
        "_raw_left",
        "_spent",
        "body_bytes",
        "chunks",
        "error",
        "facts",
        "has_excess",
        "has_head",
        "is_whole",
        "phrase",
        "status",
    )

    def __init__(self, *, max_head_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._llhttp = httptools.HttpResponseParser(self)
        self._spent = False
        self.expect(answers_head=False)

    def expect(self, *, answers_head: bool) -> None:
        """Forget the last response and get ready for the next; ``answers_head`` when it answers a HEAD."""
        if self._spent:
            self._llhttp = httptools.HttpResponseParser(self)
            self._spent = False
        self._answers_head = answers_head
        self._head_bytes = 0
        self._raw_left = 0
        self._headers: Headers = []
        self._in_final = False
        self.status = 0
        self.phrase = b""
        self.facts: ResponseFacts | None = None
        self.chunks: list[bytes] = []
        self.body_bytes = 0
        self.has_head = False
        self.is_whole = False
        self.has_excess = False
        self.error = ""

    def feed(self, data: bytes) -> None:
        """Read ``data``; never raises."""
        if self._raw_left:
            self._feed_raw(data)
            return
        if self.is_whole:
            self.has_excess = True
            return
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.error = self.error or "the upstream switched protocols unasked"
        except httptools.HttpParserError as error:
            self._note_nonsense(str(error))
        if not self.has_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._max_head_bytes:
                self.error = self.error or f"a response head of more than {self._max_head_bytes} bytes"
        elif not self.is_whole and self.facts is not None and self.facts.body_end is BodyEnd.LENGTH:
            # From here to the end the body is only counted: no callback and no second copy of the bytes.
            self._raw_left = (self.facts.content_length or 0) - self.body_bytes
            self._spent = True

    def _note_nonsense(self, detail: str) -> None:
        if self.is_whole:
            self.has_excess = True
        else:
            self.error = self.error or f"not valid HTTP/1.1: {detail}"

    def _feed_raw(self, data: bytes) -> None:
        size = len(data)
        if size > self._raw_left:
            self.has_excess = True
            data = data[: self._raw_left]
            size = self._raw_left
        self.chunks.append(data)
        self.body_bytes += size
        self._raw_left -= size
        if not self._raw_left:
            self.is_whole = True

    def end(self) -> None:
        """The upstream closed its side: the end of a body that ends so, and of nothing else."""
        facts = self.facts
        if self.has_head and facts is not None and facts.body_end is BodyEnd.CLOSE and not self.error:
            self.is_whole = True

    def take_chunks(self) -> list[bytes]:
        """Return the body bytes that have arrived since the last call."""
        chunks = self.chunks
        self.chunks = []
        return chunks

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        if self.is_whole:
            self.has_excess = True
            return
        self._headers = []
        self.phrase = b""

    def on_status(self, part: bytes) -> None:
        self.phrase += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_final:
            self._headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        if self.is_whole:
            return
        status: int = self._llhttp.get_status_code()
        if 100 <= status < 200 and status != 101:
            return  # interim: 100 was answered by us, 103 and its kin are dropped (RFC 9110 §15.2)
        self.status = status
        is_1_1 = self._llhttp.get_http_version() == "1.1"
        facts = self.facts = judge_response(status, is_1_1, self._headers, self._answers_head)
        self.error = facts.error
        if not 200 <= status <= 999:
            self.error = f"status {status} is none"
        self._in_final = True
        self.has_head = True
        if facts.body_end is BodyEnd.NONE:
            self.is_whole = True
            # llhttp does not know that a HEAD's answer has no body, and would wait for one.
            self._spent = self._answers_head

    def on_body(self, chunk: bytes) -> None:
        if self.is_whole:
            self.has_excess = True
            return
        self.chunks.append(chunk)
        self.body_bytes += len(chunk)

    def on_message_complete(self) -> None:
        if self._in_final:
            self.is_whole = True
