"""Callers that pull through an adaptive limit in virtual time, and upstreams for them."""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from typing import Any

from proxy.admit.adaptive import AdaptiveLimit
from proxy.admit.limit import Verdict
from proxy.base.outcomes import AttemptOutcome

WALL = 1_700_000_000.0
START = 500.0
LATENCY_S = 0.1
SWING = 1.14
HELD = 0.75
"""How far from the limit the whole number may be that it is held at."""


def made(**over: Any) -> AdaptiveLimit:
    """A fresh limit."""
    given = {"now": START, "wall": WALL, "rng": random.Random(1), "salt": b"upstream", **over}
    return AdaptiveLimit(**given)


def pinned(limit: float) -> AdaptiveLimit:
    """One that cannot move."""
    return made(start=limit, lowest=limit, highest=limit)


def settled(limit: float, seed: int = 1) -> Pull:
    """A pull behind one that cannot move and is past its way up, which failures ended; it experiments."""
    return Pull(pinned(limit), seed=seed).run(20.0, failing(0.5)).run(40.0, fine)


def ended(now: float, took_s: float) -> AttemptOutcome:
    """An attempt that is over."""
    outcome = AttemptOutcome("default", "first", now - took_s, 1)
    outcome.ended_at = now
    return outcome


Upstream = Callable[[int, random.Random], tuple[float, bool]]
"""What becomes of an attempt that finds so many in flight, itself included: seconds, and whether it goes well."""


def fine(inflight: int, rng: random.Random) -> tuple[float, bool]:
    """Whatever the load."""
    return LATENCY_S, True


def broken(inflight: int, rng: random.Random) -> tuple[float, bool]:
    """Fails at once."""
    return 0.001, False


def failing(share: float) -> Upstream:
    """Fails by chance, whatever the load."""
    return lambda inflight, rng: (LATENCY_S * rng.uniform(0.5, 1.5), rng.random() >= share)


def full_above(most: int) -> Upstream:
    """Answers 500 at once when more are in flight."""
    return lambda inflight, rng: (LATENCY_S, True) if inflight <= most else (0.01, False)


class Pull:
    """Callers that always want more, behind a limit; checks at each start that the limit's promises hold."""

    def __init__(self, limit: AdaptiveLimit, callers: int = 40, seed: int = 1) -> None:
        self.limit = limit
        self.callers = callers
        self.now = START
        self.inflight = self.starts = self.successes = self.asked = 0
        self.held_s = 0.0
        self.levels: list[float] = []
        self.bases: list[float] = []
        self._rng = random.Random(seed)
        self._ends: list[tuple[float, float, bool]] = []

    def run(self, seconds: float, upstream: Upstream, *, blocked: bool = True) -> Pull:
        """Let virtual time pass; with ``blocked`` off, nobody says that somebody waits."""
        until, since = self.now + seconds, self.now
        self.held_s, self.starts, self.successes = 0.0, 0, 0
        while self.now < until:
            at = self._start_all(upstream, blocked)
            at = max(self.now, min(until, at, self._ends[0][0] if self._ends else math.inf))
            self.held_s += self.inflight * (at - self.now)
            self.now = at
            while self._ends and self._ends[0][0] <= at:
                _, began, is_fine = heapq.heappop(self._ends)
                self.end(began, Verdict.SUCCESS if is_fine else Verdict.DROPPED)
        self.seconds = self.now - since
        return self

    def _start_all(self, upstream: Upstream, blocked: bool) -> float:
        """Start whom the limit lets; return when to ask again."""
        limit = self.limit
        while True:
            pause_s = limit.next_start_s(self.now)
            self.asked += 1
            self.levels.append(limit.limit)
            self.bases.append(limit.base_rate)
            assert 0 <= limit.value <= math.ceil((limit.limit + HELD) * SWING)
            if self.inflight >= self.callers:
                return math.inf
            if pause_s > 0.0 or self.inflight >= limit.value:
                if blocked:
                    limit.on_blocked(self.now)
                change_s = limit.next_change_s(self.now)
                assert change_s > 0.0
                return self.now + (min(change_s, pause_s) if pause_s > 0.0 else change_s)
            limit.on_start(self.now)
            self.inflight += 1
            self.starts += 1
            took_s, is_fine = upstream(self.inflight, self._rng)
            heapq.heappush(self._ends, (self.now + took_s, self.now, is_fine))

    def end(self, began: float, verdict: Verdict) -> None:
        """An attempt ends now."""
        self.limit.on_outcome(ended(self.now, self.now - began), verdict)
        self.inflight -= 1
        self.successes += verdict is Verdict.SUCCESS
        assert self.limit.inflight == self.inflight


class Quota:
    """So many answers in any second, to whoever comes first; what is beyond is refused in a tenth of the time."""

    def __init__(self, per_s: int, took_s: float = 0.05) -> None:
        self.per_s = per_s
        self.took_s = took_s
        self._served: list[float] = []

    def of(self, pull: Pull) -> Upstream:
        """Return the upstream by the clock of that pull."""

        def upstream(inflight: int, rng: random.Random) -> tuple[float, bool]:
            served = self._served
            del served[: bisect_right(served, pull.now - 1.0)]
            if len(served) >= self.per_s:
                return 0.1 * self.took_s, False
            insort(served, pull.now)
            return self.took_s * rng.uniform(0.5, 1.5), True

        return upstream


def together(pulls: Sequence[Pull], quota: Quota, seconds: float, seed: int = 1) -> list[tuple[int, int]]:
    """Let them share a quota, 10 ms at a time and each time in another order; return how many each started and carried."""
    rng, numbers = random.Random(seed), list(range(len(pulls)))
    upstreams = [quota.of(pull) for pull in pulls]
    starts, successes = [0] * len(pulls), [0] * len(pulls)
    for _ in range(round(100 * seconds)):
        rng.shuffle(numbers)
        for number in numbers:
            pull = pulls[number].run(0.01, upstreams[number])
            starts[number] += pull.starts
            successes[number] += pull.successes
    return list(zip(starts, successes, strict=True))
