"""The upstream's bytes become one response at a time.

After ``feed`` look at ``error`` first, then ``head`` and ``is_whole``. Of a head only its first letters are looked at before
it has ended: they tell a server that does not speak HTTP.
"""

from __future__ import annotations

from typing import Final

from proxy.wire.chunks import ChunkReader, State, keep
from proxy.wire.response_head import BodyEnd, ResponseHead

_BEGINNING: Final = b"HTTP/"
_MOST_INTERIM: Final = 64
"""Interim answers before one final answer; more are an endless stream of them."""


class ResponseParser:
    """Reads the responses of one upstream connection.

    ``expect`` comes before each; ``chunks`` collects body bytes that the reader takes away, ``body_bytes`` counts all of them.
    ``interim`` collects interim answers (1xx) but 100, each as the bytes to pass on. ``error`` is a sentence once the bytes stop
    making sense. ``has_excess`` says that bytes came behind the end of a whole response: the answer stands, the connection is
    worthless.
    """

    def __init__(self, *, max_head_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._answers_head = False
        self._may_switch = False
        self._passes_100 = False
        self._unread = b""
        self._left = 0
        self._reader: ChunkReader | None = None
        self._interim_count = 0
        self.head: ResponseHead | None = None
        self.interim: list[bytes] = []
        self.chunks: list[bytes] = []
        self.body_bytes = 0
        self.is_whole = False
        self.has_excess = False
        self.error = ""

    def expect(self, answers_head: bool, *, may_switch: bool = False, passes_100: bool = False) -> None:
        """Forget the last response and get ready for the next; ``answers_head`` when it answers a HEAD.

        ``may_switch``: a 101 is an answer, and what is behind it another protocol's. ``passes_100``: the app waits for a 100.
        """
        self._answers_head = answers_head
        self._may_switch = may_switch
        self._passes_100 = passes_100
        self._unread = b""
        self._left = 0
        self._reader = None
        self._interim_count = 0
        self.head = None
        self.interim = []
        self.chunks = []
        self.body_bytes = 0
        self.is_whole = False

    def feed(self, data: bytes) -> None:
        """Read ``data``; never raises."""
        if self.is_whole:
            self.has_excess = True
        elif self.error:
            return
        elif self.head is None:
            self._read_head(self._unread + data if self._unread else data)
        else:
            self._read_body(data)

    def _read_head(self, data: bytes) -> None:
        at = 0
        while True:
            if data[at : at + 1] in (b"\r", b"\n"):  # empty lines before an answer are passed over
                at += 1
                continue
            if data[at : at + 5] != _BEGINNING[: len(data) - at]:
                self.error = f"not HTTP/1: the server's answer begins with {data[at : at + 40]!r}"
                return
            ends = data.find(b"\n\r\n", at)
            raw = data[at : ends + 1] if ends >= 0 else data[at:]
            behind = ends + 3
            if b"\n\n" in raw:  # RFC 9112 §2.2: bare LF ends a line too
                raw = raw[: raw.find(b"\n\n") + 1]
                ends = at + len(raw)
                behind = ends + 1
            size = (behind if ends >= 0 else len(data)) - at
            if size > self._max_head_bytes:
                self.error = f"a response head of more than {self._max_head_bytes} bytes"
                return
            if ends < 0:
                self._unread = raw
                return
            head = ResponseHead(raw, self._answers_head)
            at = behind
            if not 100 <= head.status < 200 or head.error or (head.status == 101 and self._may_switch):
                break
            self._note_interim(head)
            if self.error:
                return
        self._unread = b""
        self.head = head
        self.error = head.error
        rest = data[at:]
        if head.status == 101:
            self.is_whole = True
            self.chunks = [rest]
            return
        if head.body_end is BodyEnd.NONE:
            self.is_whole = True
            self.has_excess = self.has_excess or bool(rest)
            return
        if head.body_end is BodyEnd.LENGTH:
            self._left = head.content_length or 0
            self.is_whole = not self._left
        elif head.body_end is BodyEnd.CHUNKS:
            self._reader = ChunkReader(strict=False, max_quiet_bytes=self._max_head_bytes)
        if rest:
            self.feed(rest)

    def _note_interim(self, head: ResponseHead) -> None:
        if head.status == 101:
            self.error = "the upstream switched protocols unasked"
            return
        self._interim_count += 1
        if self._interim_count > _MOST_INTERIM:
            self.error = f"more than {_MOST_INTERIM} interim answers before the final one"
        elif head.status != 100 or self._passes_100:  # else the app has had its own, or asked for none
            self.interim.append(head.start + head.lines + b"\r\n")

    def _read_body(self, data: bytes) -> None:
        reader = self._reader
        if reader is not None:
            rest = reader.feed(data, self.chunks)
            self.body_bytes = reader.body_bytes
            self.is_whole = reader.state is State.WHOLE
            self.error = f"the server's chunks are broken: {reader.error}" if reader.error else ""
            self.has_excess = self.has_excess or bool(rest)
            return
        if self._left:
            if len(data) > self._left:
                self.has_excess = True
                data = data[: self._left]
            self._left -= len(data)
            self.is_whole = not self._left
        keep(self.chunks, data)
        self.body_bytes += len(data)

    def end(self) -> None:
        """The upstream closed its side: the end of a body that ends so, and of nothing else."""
        head = self.head
        if head is not None and head.body_end is BodyEnd.CLOSE and not self.error:
            self.is_whole = True

    @property
    def trailers(self) -> list[bytes]:
        """Field lines behind the last chunk, once the response is whole."""
        return self._reader.trailers if self._reader is not None else []

    @property
    def unread_bytes(self) -> int:
        """Body bytes that nobody has taken yet."""
        return sum([len(chunk) for chunk in self.chunks])

    def take_chunks(self) -> list[bytes]:
        """Return the body bytes that have arrived since the last call."""
        chunks, self.chunks = self.chunks, []
        return chunks

    def take_interim(self) -> list[bytes]:
        """Return the interim answers that have arrived since the last call."""
        interim, self.interim = self.interim, []
        return interim
