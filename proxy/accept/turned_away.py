"""Connections of the app beyond the bound: each is answered where that is possible, counted, and logged once a stretch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxy.base.reasons import Reason
from proxy.respond.local import LocalReply
from proxy.respond.reply import CLOSES

_log = logging.getLogger("sidegate.accept")

_STRETCH_S = 10.0
"""Without a refusal for so long a stretch of them is over: the next one is logged again."""

_LINGER_S = 1.0
"""How long what the app sends is read and dropped. Closing earlier sends a reset, which takes the answer away (RFC 9112 §9.6)."""

_MOST_LINGERING = 64


class TurnedAway:
    """Refuses connections. ``bound`` says in words what allows no more."""

    def __init__(self, *, most: int, bound: str, monotonic: Callable[[], float]) -> None:
        self.count = 0
        self._most = most
        self._most_lingering = max(1, min(_MOST_LINGERING, most // 8))
        self._bound = bound
        self._monotonic = monotonic
        self._last_at = float("-inf")
        self._lingering = 0

    def refuse(self, transport: asyncio.Transport) -> None:
        """Answer a new connection and end it."""
        self.count += 1
        now = self._monotonic()
        detail = f"{self._most} connections are open, and {self._bound} allows no more"
        if now - self._last_at >= _STRETCH_S:
            _log.warning("connections of the app are refused: %s", detail)
        self._last_at = now
        reply = LocalReply(Reason.QUEUE_FULL, detail)
        transport.write(reply.encode(CLOSES + b"\r\n", answers_head=False))
        if self._lingering < self._most_lingering and transport.can_write_eof():
            self._lingering += 1
            transport.set_protocol(_Leaving(transport, self._left))
            transport.write_eof()
        else:
            transport.close()

    def _left(self) -> None:
        self._lingering -= 1

    def __repr__(self) -> str:
        return f"<TurnedAway {self.count} so far, {self._lingering} leaving>"


class _Leaving(asyncio.Protocol):
    """Drops what still comes, and ends the connection when the app has ended it or its time is up."""

    def __init__(self, transport: asyncio.Transport, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Drop it."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._on_end()
