"""Many deadlines, one timer.

A timer per call costs 2.3 µs to set and cancel under uvloop, and nearly every one is cancelled. Here whoever may wait is put in
a set once and moves its own ``deadline`` at no cost; one timer sweeps the set when the nearest of them is due. Whoever moves a
deadline closer than ``next_sweep`` calls ``hurry``. A sweep that comes late is put off once, so that the loop can read first: the
process may have been stopped, or out of CPU. The price is accuracy: a deadline is noticed up to ``TICK_S`` late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

TICK_S = 0.02
_LONGEST_NAP_S = 5.0
_LATE_S = 0.5
NEVER = float("inf")


class Expiring(Protocol):
    """Something that waits until ``deadline`` (monotonic seconds) at most; NEVER while it does not wait."""

    deadline: float

    def expire(self, now: float) -> None:
        """The deadline has passed; called on every sweep until it leaves the set or moves its deadline."""


class Deadlines:
    """The set of those who may wait, and the sweep."""

    __slots__ = ("_loop", "_monotonic", "_timer", "_waiting", "_was_late", "next_sweep")

    def __init__(self, loop: asyncio.AbstractEventLoop, monotonic: Callable[[], float]) -> None:
        self._loop = loop
        self._monotonic = monotonic
        self._waiting: set[Expiring] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._was_late = False
        self.next_sweep = NEVER

    def add(self, waiter: Expiring) -> None:
        """Watch ``waiter`` until ``discard``; adding it again changes nothing."""
        self._waiting.add(waiter)
        if waiter.deadline < self.next_sweep:
            self.hurry(waiter.deadline)

    def discard(self, waiter: Expiring) -> None:
        """Stop watching."""
        self._waiting.discard(waiter)

    def hurry(self, deadline: float) -> None:
        """Sweep by ``deadline`` at the latest."""
        if deadline >= self.next_sweep:
            return
        now = self._monotonic()
        delay_s = min(max(deadline - now, TICK_S), _LONGEST_NAP_S)
        if now + delay_s >= self.next_sweep:
            return  # put off by whoever is overdue and moves, a sweep would never come
        if self._timer is not None:
            self._timer.cancel()
        self.next_sweep = now + delay_s
        self._timer = self._loop.call_later(delay_s, self._sweep)

    def __len__(self) -> int:
        return len(self._waiting)

    def _sweep(self) -> None:
        self._timer = None
        now = self._monotonic()
        is_late = now - self.next_sweep > _LATE_S
        self.next_sweep = NEVER
        if is_late and not self._was_late:
            # The process stood still. What has arrived meanwhile is read before anything expires.
            self._was_late = True
            self.hurry(now)
            return
        self._was_late = False
        for waiter in [w for w in self._waiting if w.deadline <= now]:
            if waiter in self._waiting:
                waiter.expire(now)
        if self._waiting:
            self.hurry(min(waiter.deadline for waiter in self._waiting))

    def close(self) -> None:
        """Forget everyone and stop the timer."""
        self._waiting.clear()
        self.next_sweep = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
