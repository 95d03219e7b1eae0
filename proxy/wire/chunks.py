"""Chunked bodies (RFC 9112 §7.1) as they come.

Of a request every byte has to be as the grammar says. Of an answer old forms are read as well that can mean one thing only:
blanks around a size, and a line that ends in a bare LF.

    SIZE ──▶ DATA ──▶ DATA_END ──▶ SIZE ─ 0 ─▶ TRAILERS ─ empty line ─▶ WHOLE
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from proxy.wire.headers import FIELD_LINE, TOKEN, name_of

_STRICT: Final = re.compile(
    rb"(?=[0-9A-Fa-f])0*([0-9A-Fa-f]{0,15})"
    rb"(?:;%b(?:=(?:%b|\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\"))?)*" % (TOKEN, TOKEN)
)
_LENIENT: Final = re.compile(rb"[ \t]*(?=[0-9A-Fa-f])0*([0-9A-Fa-f]{0,15})[ \t]*(?:;[^\x00\r\n]*)?")
"""15 digits hold more than anybody sends, and never a number that some reader takes for another."""
_NEVER_TRAILERS: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})
"""RFC 9110 §6.5.1: framing and routing stand in the head; behind the body they are an attack."""

_SMALL_BYTES: Final = 4096


def keep(chunks: list[bytes], part: bytes) -> None:
    """Add ``part`` to what is kept of a body. Small ones are joined: an object of its own would cost 16 bytes 60 more."""
    if chunks and len(part) < _SMALL_BYTES and len(chunks[-1]) < _SMALL_BYTES:
        chunks[-1] += part
    else:
        chunks.append(part)


class State(Enum):
    """What comes next."""

    SIZE = "a chunk size"
    DATA = "chunk data"
    DATA_END = "the end of a chunk"
    TRAILERS = "trailers"
    WHOLE = "nothing"


class ChunkReader:
    """Reads one body. ``error`` is a sentence once the bytes stop making sense; ``is_too_large`` that they were too many.

    ``body_bytes`` counts what came of the body, ``trailers`` holds the field lines behind the last chunk. ``max_quiet_bytes``
    bounds what may come without a byte of body.
    """

    __slots__ = (
        "_left",
        "_line",
        "_quiet_bytes",
        "_strict",
        "body_bytes",
        "error",
        "is_too_large",
        "max_quiet_bytes",
        "state",
        "trailers",
    )

    def __init__(self, *, strict: bool, max_quiet_bytes: int) -> None:
        self._strict = strict
        self.max_quiet_bytes = max_quiet_bytes
        self._left = 0
        self._line = b""
        self._quiet_bytes = 0
        self.body_bytes = 0
        self.state = State.SIZE
        self.error = ""
        self.is_too_large = False
        self.trailers: list[bytes] = []

    def feed(self, data: bytes, chunks: list[bytes]) -> bytes:
        """Read ``data``: body bytes go to ``chunks``, what is behind the end of the body is returned."""
        at = 0
        end = len(data)
        while at < end and not self.error:
            if self.state is State.DATA:
                part = data[at : at + self._left] if at or self._left < end else data
                keep(chunks, part)
                self.body_bytes += len(part)
                at += len(part)
                self._left -= len(part)
                if not self._left:
                    self.state = State.DATA_END
                self._quiet_bytes = 0
                continue
            line_end = data.find(b"\n", at)
            stop = end if line_end < 0 else line_end
            line = self._line + data[at:stop] if self._line else data[at:stop]
            self._quiet_bytes += stop - at + 1
            at = stop + 1
            if self._quiet_bytes > self.max_quiet_bytes:
                self.is_too_large = True
                self.error = f"more than {self.max_quiet_bytes} bytes of chunk sizes, extensions or trailers"
            elif line_end < 0:
                self._line = line
                self._look_ahead(line)
            else:
                self._line = b""
                self._read_line(line)
                if self.state is State.WHOLE:
                    return data[at:]
        return b""

    def _look_ahead(self, line: bytes) -> None:
        """Refuse the beginning of a line that cannot become one: its end may never come."""
        if self.state is State.DATA_END and line != b"\r":
            self.error = "a chunk is longer than its size says"
        elif b"\r" in line[:-1]:
            self.error = "a bare CR among the chunks"

    def _read_line(self, line: bytes) -> None:
        if line[-1:] == b"\r":
            line = line[:-1]
        elif self._strict:
            self.error = "a line among the chunks ends in a bare LF"
            return
        if self.state is State.SIZE:
            match = (_STRICT if self._strict else _LENIENT).fullmatch(line)
            if match is None:
                self.error = f"{line[:40]!r} is no chunk size"
                return
            self._left = int(match[1] or b"0", 16)
            self.state = State.DATA if self._left else State.TRAILERS
        elif self.state is State.DATA_END:
            if line:
                self.error = "a chunk is longer than its size says"
            self.state = State.SIZE
        elif not line:
            self.state = State.WHOLE
        elif FIELD_LINE.fullmatch(line) is None:
            self.error = f"{line[:40]!r} is no trailer"
        elif name_of(line) not in _NEVER_TRAILERS:
            self.trailers.append(line)
        elif self._strict:
            self.error = f"{name_of(line).decode()} in the trailers"

    def __repr__(self) -> str:
        return f"<ChunkReader before {self.state.value}>"
