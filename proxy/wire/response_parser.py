"""The upstream's bytes become one response at a time. llhttp reads heads and chunks; plain body bytes go past it.

Callbacks record; ``feed`` decides. After ``feed`` look at ``error`` first, then ``head`` and ``is_whole``.
"""

from __future__ import annotations

import httptools

from proxy.wire.response_head import BodyEnd, ResponseHead

_HEAD_END = b"\r\n\r\n"


class ResponseParser:
    """Reads the responses of one upstream connection.

    ``expect`` comes before each; ``chunks`` collects body bytes that the reader takes away, ``body_bytes`` counts all of them.
    ``error`` is a sentence once the bytes stop making sense. ``has_excess`` says that bytes came behind the end of a whole
    response: the answer stands, the connection is worthless. Empty lines there may go unnoticed: they do no harm to the next.
    """

    def __init__(self, *, max_head_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._llhttp = httptools.HttpResponseParser(self)
        self._is_spent = False
        self._answers_head = False
        self._raw_left = 0
        self._seen = b""
        self.head: ResponseHead | None = None
        self.chunks: list[bytes] = []
        self.body_bytes = 0
        self.is_whole = False
        self.has_excess = False
        self.error = ""

    def expect(self, answers_head: bool) -> None:
        """Forget the last response and get ready for the next; ``answers_head`` when it answers a HEAD."""
        if self._is_spent:
            self._llhttp = httptools.HttpResponseParser(self)
            self._is_spent = False
        self._answers_head = answers_head
        self._raw_left = 0
        self.head = None
        self.chunks = []
        self.body_bytes = 0
        self.is_whole = False

    def feed(self, data: bytes) -> None:
        """Read ``data``; never raises."""
        if self._raw_left:
            self._feed_raw(data)
            return
        if self.is_whole:
            self.has_excess = True
            return
        if self.head is None:
            self._seen = self._seen + data if self._seen else data
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.error = self.error or "the upstream switched protocols unasked"
        except httptools.HttpParserError as error:
            self._note_nonsense(str(error))
        self._after_llhttp()

    def _after_llhttp(self) -> None:
        if self.is_whole:
            self._seen = b""
            return
        head = self.head
        if head is None:
            if len(self._seen) > self._max_head_bytes:
                self.error = self.error or f"a response head of more than {self._max_head_bytes} bytes"
        else:
            self._seen = b""
            if head.body_end is BodyEnd.LENGTH:
                # From here to the end the body is only counted: no callback and no second copy of the bytes.
                self._raw_left = (head.content_length or 0) - self.body_bytes
                self._is_spent = True

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
        head = self.head
        if head is not None and head.body_end is BodyEnd.CLOSE and not self.error:
            self.is_whole = True

    def take_chunks(self) -> list[bytes]:
        """Return the body bytes that have arrived since the last call."""
        chunks, self.chunks = self.chunks, []
        return chunks

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        if self.is_whole:
            # What follows in the same read may be the start of a status line: llhttp waits for the rest and says no more.
            self.has_excess = True

    def on_headers_complete(self) -> None:
        if self.head is not None:
            self.has_excess = True
            return
        seen = self._seen.lstrip(b"\r\n")
        end = seen.find(_HEAD_END)
        status: int = self._llhttp.get_status_code()
        if 100 <= status < 200 and status != 101:
            # Interim: 100 was answered by us, 103 and its kin are dropped (RFC 9110 §15.2).
            self._seen = seen[end + len(_HEAD_END) :]
            return
        head = ResponseHead(status, seen[: end + 2], self._answers_head)
        if not 200 <= status <= 999:
            head.error = f"a final answer with status {status}"
        self.head = head
        self.error = head.error
        if head.body_end is BodyEnd.NONE:
            self.is_whole = True
            self.has_excess = len(seen) > end + len(_HEAD_END)
            # llhttp does not know that a HEAD's answer has no body, and would wait for one.
            self._is_spent = self._answers_head

    def on_body(self, chunk: bytes) -> None:
        if self.is_whole:
            self.has_excess = True
            return
        self.chunks.append(chunk)
        self.body_bytes += len(chunk)

    def on_message_complete(self) -> None:
        if self.head is not None:
            self.is_whole = True
