"""One connection to the upstream: bytes in and out, one exchange at a time."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Any, cast

from proxy.attempt.connect import Timings
from proxy.base.signal import Signal
from proxy.wire.response_parser import ResponseParser

NEVER = float("inf")
_TRUST_IDLE_S = 0.002


class UpstreamConnection(asyncio.Protocol):
    """A connection and what is known of it. Busy while ``signal`` is set; then everything that happens fires it.

    ``deadline`` (monotonic seconds) is swept by ``Deadlines``; ``has_expired`` says that it passed. ``wake_bytes`` is how much
    body may gather before the reader is woken.
    """

    __slots__ = (
        "_monotonic",
        "_on_lost",
        "_poll",
        "address",
        "body_idle_s",
        "call_deadline",
        "deadline",
        "failure",
        "has_answer_bytes",
        "has_expired",
        "idle_since",
        "is_lost",
        "is_write_paused",
        "opened_at",
        "parser",
        "signal",
        "timings",
        "transport",
        "uses",
        "wake_bytes",
    )

    transport: asyncio.Transport

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        on_lost: Callable[[UpstreamConnection], None],
        max_head_bytes: int,
    ) -> None:
        self._monotonic = monotonic
        self._on_lost = on_lost
        self._poll: Any = None
        self.parser = ResponseParser(max_head_bytes=max_head_bytes)
        self.signal: Signal | None = None
        self.deadline = NEVER
        self.call_deadline = NEVER
        self.body_idle_s = NEVER
        self.wake_bytes = 0
        self.has_expired = False
        self.has_answer_bytes = False
        self.is_lost = False
        self.is_write_paused = False
        self.failure = ""
        self.address = ""
        self.timings = Timings()
        self.opened_at = monotonic()
        self.idle_since = self.opened_at
        self.uses = 0

    # for the pool and the attempt

    def is_fresh_enough(self, now: float, idle_s: float, max_age_s: float) -> bool:
        """Whether an idle connection may carry one more request: not lost, not old, and with nothing to read."""
        idle_for_s = now - self.idle_since
        if self.is_lost or idle_for_s > idle_s or now - self.opened_at > max_age_s:
            return False
        # The loop would have told of a close that it has seen; one that lies in the socket since then is only seen by
        # asking, which costs 1 µs and is spared where the connection was busy a moment ago.
        return idle_for_s < _TRUST_IDLE_S or not (self._poll and self._poll.poll(0))

    def begin(self, signal: Signal, *, answers_head: bool, wake_bytes: int, deadline: float) -> None:
        """Take the connection for one exchange that ``signal`` hears about."""
        self.signal = signal
        self.uses += 1
        self.has_answer_bytes = False
        self.has_expired = False
        self.wake_bytes = wake_bytes
        self.deadline = deadline
        self.parser.expect(answers_head=answers_head)

    def end(self, now: float) -> None:
        """Give the connection back to idleness."""
        self.signal = None
        self.deadline = NEVER
        self.idle_since = now

    def abort(self) -> None:
        """Close at once, unread and unsent bytes lost."""
        if not self.is_lost:
            self.transport.abort()

    def expire(self, now: float) -> None:
        """The deadline passed (called by the sweep)."""
        self.has_expired = True
        self.deadline = NEVER
        if self.signal is not None:
            self.signal.fire()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        peer = transport.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if peer else ""
        sock = transport.get_extra_info("socket")
        if sock is not None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)

    def data_received(self, data: bytes) -> None:
        signal = self.signal
        if signal is None:
            self.failure = "bytes that nobody asked for"
            self.is_lost = True
            self.transport.abort()
            return
        self.has_answer_bytes = True
        parser = self.parser
        parser.feed(data)
        if parser.is_whole or parser.error:
            signal.fire()
        elif parser.has_head:
            self.deadline = min(self._monotonic() + self.body_idle_s, self.call_deadline)
            facts = parser.facts
            if parser.body_bytes > self.wake_bytes or (
                facts is not None and (facts.content_length or 0) > self.wake_bytes
            ):
                signal.fire()

    def eof_received(self) -> bool:
        self.parser.end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if exc is not None:
            self.failure = str(exc) or type(exc).__name__
        self._on_lost(self)
        if self.signal is not None:
            self.signal.fire()

    def pause_writing(self) -> None:
        self.is_write_paused = True

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self.signal is not None:
            self.signal.fire()

    def __repr__(self) -> str:
        state = "lost" if self.is_lost else "busy" if self.signal is not None else "idle"
        return f"<UpstreamConnection {self.address} {state} uses={self.uses}>"
