"""One connection to the upstream: bytes in and out, one exchange at a time."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Any, cast

from proxy.attempt.connect import Timings
from proxy.base.deadlines import NEVER, Deadlines
from proxy.base.signal import Signal
from proxy.base.splice import Splice
from proxy.wire.response_parser import ResponseParser

_TRUST_IDLE_S = 0.002
_UNREAD_BYTES = 100 << 10
"""Bytes of an answer that is passed on after which reading pauses until they are taken: libuv would read eight megabytes on."""
_LONGEST_EARLY_S = 1.0


Ends = tuple[str, int, str, int]
"""Both ends of a connection: host and port of the one that made it, host and port of the one that took it."""


class Connection(asyncio.Protocol):
    """A connection and what is known of it. Busy while ``signal`` is set; then everything that happens fires it.

    ``deadline`` (monotonic seconds) is swept by ``Deadlines``; ``has_expired`` says that it passed. ``wake_bytes`` is how much
    body may gather before the reader is woken.
    """

    transport: asyncio.Transport
    address: str = ""
    ends: Ends | None = None
    uses: int = 0
    kept_for_s: float = NEVER
    """How long it may be idle by the upstream's own word."""
    age_share: float = 1.0
    """The share of the longest age that this one reaches: all of a pool would else be replaced at once."""
    signal: Signal | None = None
    deadline: float = NEVER
    wake_bytes: int = 0
    failure: str = ""
    has_expired: bool = False
    has_answer_bytes: bool = False
    is_lost: bool = False
    is_settled: bool = False
    is_write_paused: bool = False
    _call_deadline: float = NEVER
    _body_idle_s: float = NEVER
    _is_reading_paused: bool = False
    _poll: Any = None
    splice: Splice | None = None
    early: list[bytes] | None = None
    """Bytes of a server that speaks first, where that is allowed."""

    def __init__(
        self,
        deadlines: Deadlines,
        *,
        monotonic: Callable[[], float],
        on_lost: Callable[[Connection], None],
        max_head_bytes: int,
    ) -> None:
        self._deadlines = deadlines
        self._monotonic = monotonic
        self._on_lost = on_lost
        self.parser = ResponseParser(max_head_bytes=max_head_bytes)
        self.timings = Timings()
        self.opened_at = self.idle_since = monotonic()

    # for the pool and the attempt

    def too_old(self, now: float, idle_s: float, max_age_s: float) -> str:
        """Return "age" or "idle" where the connection has been alive or idle for too long, "" where it has not."""
        if now - self.opened_at > max_age_s * self.age_share:
            return "age"
        return "idle" if now - self.idle_since > min(idle_s, self.kept_for_s) else ""

    def is_fresh_enough(self, now: float, idle_s: float, max_age_s: float) -> bool:
        """Whether an idle connection may carry one more request: not lost, not old, and with nothing to read."""
        if self.is_lost or self.too_old(now, idle_s, max_age_s):
            return False
        # The loop would have told of a close that it has seen; one that lies in the socket since then is only seen by
        # asking, which costs 1 µs and is spared where the connection was busy a moment ago.
        return now - self.idle_since < _TRUST_IDLE_S or not (self._poll and self._poll.poll(0))

    def begin(
        self,
        signal: Signal,
        answers_head: bool,
        wake_bytes: int,
        body_idle_s: float,
        call_deadline: float,
        *,
        may_switch: bool = False,
        passes_100: bool = False,
    ) -> None:
        """Take the connection for one exchange that ``signal`` hears about."""
        self.signal = signal
        self.uses += 1
        self.has_answer_bytes = False
        self.wake_bytes = wake_bytes
        self._body_idle_s = body_idle_s
        self._call_deadline = call_deadline
        self.parser.expect(answers_head, may_switch=may_switch, passes_100=passes_100)

    def wait_until(self, deadline: float) -> None:
        """Expire at ``deadline``, or when the call does if that is sooner."""
        if deadline > self._call_deadline:
            deadline = self._call_deadline
        self.deadline = deadline
        if deadline < self._deadlines.next_sweep:
            self._deadlines.hurry(deadline)

    def outlive_call(self) -> None:
        """The answer is being passed on: from here only silence ends it."""
        self._call_deadline = NEVER

    def end(self, now: float) -> None:
        """Give the connection back to idleness."""
        self.signal = None
        self.deadline = NEVER
        self.idle_since = now
        self.resume_reading()
        head = self.parser.head
        if head is not None and head.kept_for_s is not None:
            # The upstream counts from an earlier moment than we do, and its close is on its way for a while.
            self.kept_for_s = head.kept_for_s - min(_LONGEST_EARLY_S, head.kept_for_s / 4)

    @property
    def has_news(self) -> bool:
        """Whether the attempt can go on: the answer is whole, too large to wait for, or will not come."""
        parser = self.parser
        if parser.is_whole or parser.error or self.is_lost or self.has_expired:
            return True
        head = parser.head
        return head is not None and (
            parser.body_bytes > self.wake_bytes
            or (head.content_length or 0) > self.wake_bytes
            or head.streams
        )

    @property
    def has_head_or_news(self) -> bool:
        """Whether the upstream has begun to answer, or will not."""
        return self.parser.head is not None or self.has_news

    @property
    def is_reusable(self) -> bool:
        """Whether the exchange ended so that another may follow on this connection."""
        parser = self.parser
        head = parser.head
        return (
            parser.is_whole
            and not parser.has_excess
            and head is not None
            and head.keep_alive
            and head.status != 101
            and not self.is_lost
            and not self.has_expired
        )

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
        own = transport.get_extra_info("sockname")
        if own and peer:
            self.ends = (own[0], own[1], peer[0], peer[1])
        self._deadlines.add(self)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)

    def data_received(self, data: bytes) -> None:
        if self.splice is not None:
            self.splice.data(self.transport, data)
            return
        signal = self.signal
        if signal is None:
            if self.early is not None:
                self.early.append(data)
                return
            self.failure = "bytes that nobody asked for"
            self.is_lost = True
            self.transport.abort()
            return
        self.has_answer_bytes = True
        parser = self.parser
        parser.feed(data)
        if self.has_news or parser.interim:
            if parser.unread_bytes >= _UNREAD_BYTES and not parser.is_whole:
                self.pause_reading()
            signal.fire()
        elif parser.head is not None:
            self.wait_until(self._monotonic() + self._body_idle_s)

    def eof_received(self) -> bool:
        if self.splice is not None:
            self.splice.eof(self.transport)
            return True
        self.parser.end()
        return False

    def pause_reading(self) -> None:
        """Read no more until ``resume_reading``."""
        if not self._is_reading_paused and not self.is_lost:
            self._is_reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, where reading was paused."""
        if self._is_reading_paused and not self.is_lost:
            self._is_reading_paused = False
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if exc is not None:
            self.failure = str(exc) or type(exc).__name__
        if self.splice is not None:
            self.splice.end()
        self._on_lost(self)
        if self.signal is not None:
            self.signal.fire()

    def pause_writing(self) -> None:
        self.is_write_paused = True
        if self.splice is not None:
            self.splice.pause(self.transport)

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self.splice is not None:
            self.splice.resume(self.transport)
        if self.signal is not None:
            self.signal.fire()

    def __repr__(self) -> str:
        state = "lost" if self.is_lost else "busy" if self.signal is not None else "idle"
        return f"<Connection {self.address} {state} uses={self.uses}>"
