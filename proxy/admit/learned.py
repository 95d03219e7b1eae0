"""A limit that is told from outside what it may use, and counts what came of it: slots, and a rate where one was learnt.

It decides nothing. ``learn`` decides for all pods together and ``apply`` puts this pod's share in force.

An attempt that fails faster than others succeed keeps its slot cooling until it would have succeeded: else an upstream that
fails in 5 ms gets twenty times the attempts of one that answers in 100 ms, from the same limit. Where a rate is in force the
starts are spaced anyway, and nothing cools.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Final

from proxy.admit.limit import UNLIMITED
from proxy.base.outcomes import AttemptOutcome, Verdict

_SMOOTHING: Final = 0.05
_FAST: Final = 0.25
"""Share of a success's usual time under which a failure is a refusal at the door."""
_SAVED_S: Final = 0.05
"""Starts that came late by so much are made up for at once."""


class LearnedLimit:
    """This pod's share of what the fleet may use. Times are monotonic seconds; ``rate`` is starts a second, 0.0 for none.

    ``is_fixed``: it was set by hand and stays, and what comes of it is counted all the same.
    """

    is_plain: Final = False

    def __init__(
        self,
        *,
        now: float,
        rng: random.Random,
        slots: int,
        most: int,
        least: int = 0,
        is_fixed: bool = False,
    ) -> None:
        self.is_fixed = is_fixed
        self.slots = slots
        self.rate = 0.0
        self.set_bounds(least, most)
        self.inflight = 0
        self.usual_s = 0.0
        """What a success usually takes."""
        self.ok = self.bad = self.fast = 0
        self.took_s = self.log = self.log2 = self.busy_s = self.shut_s = 0.0
        self._rng = rng
        self._cooling: deque[float] = deque()
        self._counted_to = now
        self._shut_from = math.inf
        self._next_start = now
        self.is_leased = False
        self._until = math.inf
        self._then = (0, 0.0)

    @property
    def value(self) -> int:
        """Attempts that may be under way now, as of the last ``next_start_s``."""
        return max(0, self.slots - len(self._cooling))

    @property
    def cooling(self) -> int:
        """Slots that cool."""
        return len(self._cooling)

    @property
    def nominal(self) -> float:
        """Attempts that may be under way over time; more than 0."""
        return float(max(1, self.slots))

    def set_bounds(self, least: int, most: int) -> None:
        """Keep within other bounds from now on; where they cross, ``most`` holds."""
        self.least, self.most = least, most
        if not self.is_fixed:
            self.slots = min(max(self.slots, least), most)

    @property
    def probes(self) -> int:
        """Attempts under way beyond which not even a probe may start. A lease covers probes, a share need not."""
        return self.slots if self.is_leased else UNLIMITED

    def lease(self, until: float, slots: int, rate: float) -> None:
        """Keep the share in force until then, by the clock of ``next_start_s``; from then on these. Infinity never comes."""
        if not self.is_fixed:
            self.is_leased = True
            self._until = until
            self._then = (slots, rate)

    def apply(self, now: float, slots: int, rate: float) -> None:
        """Put another share in force. A pod that is given a rate starts evenly from now."""
        if self.is_fixed:
            return
        self._until = math.inf
        self.slots = min(max(slots, self.least), self.most)
        if rate and rate != self.rate:
            self._next_start = min(self._next_start, now + 1.0 / rate)
        if rate and not self.rate:
            self._count_to(now)
            self._cooling.clear()
        self.rate = rate

    def next_start_s(self, now: float) -> float:
        """Bring ``value`` up to date; return how long until the rate lets an attempt start."""
        if now >= self._until:
            self.apply(now, *self._then)
        cooling = self._cooling
        if cooling and cooling[0] <= now:
            self._count_to(now)
        return max(0.0, self._next_start - now) if self.rate else 0.0

    def next_change_s(self, now: float) -> float:
        """Return when ``value`` may rise by time alone."""
        return max(0.001, self._cooling[0] - now) if self._cooling else math.inf

    def on_start(self, now: float) -> None:
        """An attempt starts."""
        self._count_to(now)
        self.inflight += 1
        if self.rate:
            self._next_start = max(self._next_start, now - _SAVED_S) + 1.0 / self.rate

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        """Count an attempt that ended. IGNORE frees its slot and says nothing."""
        now = outcome.ended_at
        self._count_to(now)
        self.inflight -= 1
        if verdict is Verdict.IGNORE:
            return
        took_s = outcome.latency_s
        if verdict is Verdict.SUCCESS:
            self.ok += 1
            self.took_s += took_s
            log = math.log(max(took_s, 1e-6))
            self.log += log
            self.log2 += log * log
            self.usual_s += (_SMOOTHING if self.usual_s else 1.0) * (took_s - self.usual_s)
            return
        self.bad += 1
        if took_s < _FAST * self.usual_s or not self.usual_s:
            self.fast += 1
        until = outcome.started_at + self.usual_s * self._rng.uniform(0.7, 1.3)
        if until > now and not self.rate and not self.is_fixed:
            self._cool(until)

    def on_gate(self, is_closed: bool, now: float) -> None:
        """The outage gate has closed or opened."""
        if is_closed:
            self._shut_from = now
        else:
            self.shut_s += max(0.0, now - self._shut_from)
            self._shut_from = math.inf

    def count(self, now: float) -> None:
        """Bring the sums up to date before they are read."""
        self._count_to(now)
        if self._shut_from < now:
            self.shut_s += now - self._shut_from
            self._shut_from = now

    def _count_to(self, now: float) -> None:
        cooling = self._cooling
        while cooling and cooling[0] <= now:
            self._pass(cooling[0])
            cooling.popleft()
        self._pass(now)

    def _pass(self, now: float) -> None:
        if now > self._counted_to:
            self.busy_s += (now - self._counted_to) * (self.inflight + len(self._cooling))
            self._counted_to = now

    def _cool(self, until: float) -> None:
        cooling = self._cooling
        index = len(cooling)
        while index and cooling[index - 1] > until:
            index -= 1
        cooling.insert(index, until)

    def __repr__(self) -> str:
        rate = f", {self.rate:.1f}/s" if self.rate else ""
        return f"<LearnedLimit {self.slots} slots{rate}, {self.inflight} in flight>"
