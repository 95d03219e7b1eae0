"""What a limit remembers of the attempts it saw: how many went well, how long they took, how long at best."""

from __future__ import annotations

import math
from typing import Final

SECONDS: Final = 16
"""Rates are of so many seconds."""
_BLOCK: Final = 32
_MEMORY_S: Final = 600.0
_SMOOTHING: Final = 0.05
_FAILING_SMOOTHING: Final = 0.01
_MIN_OF_MEANS: Final = 1.12
JITTER_S: Final = 0.005
"""Added to both sides of every comparison of latencies: a loop that turns a few milliseconds late is no contention upstream."""
_OUTLIER: Final = 10.0
"""No single answer counts for more than so many usual latencies: a process that was stopped for an hour is no news."""


def elasticity_by_latency(latency_s: float, before_s: float, load: float) -> float:
    """Return the elasticity of goodput where ``load`` times the load moved latency so: 1 is not at all, 0 just as much.

    By Little's law goodput is the load over its latency.
    """
    return 1.0 - math.log((latency_s + JITTER_S) / (before_s + JITTER_S)) / math.log(load)


class Traffic:
    """Rates over the last 16 s, smoothed latency, its floor, and the smoothed share of failures. Times are seconds."""

    def __init__(self, now: float) -> None:
        self.latency_s = 0.0
        self.failing = 0.0
        self.floor_s = 0.0
        self._ok = [0] * SECONDS
        self._bad = [0] * SECONDS
        self._second = int(now)
        self._sum_s = 0.0
        self._count = 0
        self._lowest_now = math.inf
        self._lowest_before = math.inf
        self._turn_at = now + _MEMORY_S

    def note(self, now: float, succeeded: bool, took_s: float) -> None:
        """Count one attempt that ended."""
        self._advance(now)
        index = int(now) % SECONDS
        if succeeded:
            self._ok[index] += 1
            self.failing -= _FAILING_SMOOTHING * self.failing
            if self.latency_s:
                took_s = min(took_s, _OUTLIER * self.latency_s)
            self.latency_s += (_SMOOTHING if self.latency_s else 1.0) * (took_s - self.latency_s)
            self._sum_s += took_s
            self._count += 1
        else:
            self._bad[index] += 1
            self.failing += _FAILING_SMOOTHING * (1.0 - self.failing)

    def ok_per_s(self, now: float) -> float:
        """Return successes a second."""
        self._advance(now)
        return sum(self._ok) / SECONDS

    def attempts_per_s(self, now: float) -> float:
        """Return attempts a second."""
        self._advance(now)
        return (sum(self._ok) + sum(self._bad)) / SECONDS

    def failed_share(self, now: float) -> float:
        """Return the share of failures, 0.0 when there was no attempt."""
        self._advance(now)
        bad = sum(self._bad)
        return bad / (bad + sum(self._ok)) if bad else 0.0

    def contention(self) -> float:
        """Return how many times its floor the latency is, 1.0 being no contention; 1.3 while nothing is known.

        The floor is the lowest mean of 32 latencies in the last 10 to 20 minutes, which lies a tenth below the true one.
        """
        if not self.floor_s or not self.latency_s:
            return 1.3
        return (self.latency_s + JITTER_S) / (_MIN_OF_MEANS * self.floor_s + JITTER_S)

    def note_block(self, now: float) -> None:
        """Hold the mean of the latencies since the last call against the floor, if they are enough; once in a while."""
        if self._count < _BLOCK:
            return
        mean_s = self._sum_s / self._count
        self.forget_block()
        if now >= self._turn_at:
            self._turn_at = now + _MEMORY_S
            self._lowest_before = self._lowest_now
            self._lowest_now = math.inf
        self._lowest_now = min(self._lowest_now, mean_s)
        self.floor_s = min(self._lowest_now, self._lowest_before)

    def forget_block(self) -> None:
        """Begin a new block."""
        self._sum_s = 0.0
        self._count = 0

    def _advance(self, now: float) -> None:
        second = int(now)
        if second - self._second > SECONDS:
            self._second = second - SECONDS
        while self._second < second:
            self._second += 1
            self._ok[self._second % SECONDS] = 0
            self._bad[self._second % SECONDS] = 0
