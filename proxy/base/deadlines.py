"""Many deadlines, one timer.

A timer per call costs 2.3 µs to set and cancel under uvloop, and nearly every one is cancelled. Here whoever waits is put in
a set with a ``deadline`` of its own, which it may move at no cost; one timer sweeps the set while it is not empty. The price
is accuracy: a deadline is noticed up to ``TICK_S`` late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

TICK_S = 0.02


class Expiring(Protocol):
    """Something that waits until ``deadline`` (monotonic seconds) at most."""

    deadline: float

    def expire(self, now: float) -> None:
        """The deadline has passed; called on every sweep until it leaves the set or moves its deadline."""


class Deadlines:
    """The set of those who wait, and the sweep."""

    __slots__ = ("_loop", "_monotonic", "_timer", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, monotonic: Callable[[], float]) -> None:
        self._loop = loop
        self._monotonic = monotonic
        self._waiting: set[Expiring] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiter: Expiring) -> None:
        """Watch ``waiter`` until ``discard``; adding it again changes nothing."""
        self._waiting.add(waiter)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._sweep)

    def discard(self, waiter: Expiring) -> None:
        """Stop watching."""
        self._waiting.discard(waiter)

    def __len__(self) -> int:
        return len(self._waiting)

    def _sweep(self) -> None:
        self._timer = None
        now = self._monotonic()
        for waiter in [w for w in self._waiting if w.deadline <= now]:
            if waiter in self._waiting:
                waiter.expire(now)
        if self._waiting:
            self._timer = self._loop.call_later(TICK_S, self._sweep)

    def close(self) -> None:
        """Forget everyone and stop the timer."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
