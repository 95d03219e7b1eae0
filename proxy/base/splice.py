"""Two connections that have become one: what comes in at one end goes out at the other, as it is.

both open ── one end has said all ──▶ half closed ── the other too, or either is lost ──▶ over
"""

from __future__ import annotations

import asyncio


class Splice:
    """Made of the transports of both ends; each end's protocol passes its callbacks on. ``counts`` are bytes from each end."""

    __slots__ = ("_ended", "_ends", "counts", "over")

    def __init__(self, app: asyncio.Transport, other: asyncio.Transport) -> None:
        self._ends = (app, other)
        self._ended = [False, False]
        self.counts = [0, 0]
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def _index(self, end: asyncio.Transport) -> int:
        return 0 if end is self._ends[0] else 1

    def data(self, end: asyncio.Transport, data: bytes) -> None:
        """``data`` came in at ``end``."""
        at = self._index(end)
        self.counts[at] += len(data)
        self._ends[1 - at].write(data)

    def pause(self, end: asyncio.Transport) -> None:
        """``end`` does not take: read no more at the other."""
        other = self._ends[1 - self._index(end)]
        if not other.is_closing():
            other.pause_reading()

    def resume(self, end: asyncio.Transport) -> None:
        """``end`` takes again."""
        other = self._ends[1 - self._index(end)]
        if not other.is_closing():
            other.resume_reading()

    def eof(self, end: asyncio.Transport) -> None:
        """``end`` has said all it had to say; the other may still speak."""
        at = self._index(end)
        self._ended[at] = True
        other = self._ends[1 - at]
        if all(self._ended):
            self.end()
        elif other.can_write_eof():
            other.write_eof()
        else:
            other.close()

    def end(self) -> None:
        """Either connection is lost, or nobody wants it any more: what was written still goes out."""
        for end in self._ends:
            end.close()
        if not self.over.done():
            self.over.set_result(None)

    def __repr__(self) -> str:
        return f"<Splice {self.counts[0]} bytes from the app, {self.counts[1]} to it>"
