"""The pod that decides for all: sums in, a decision, shares out. Pure; the board carries its readings and its plan."""

from __future__ import annotations

import math
from collections.abc import Mapping

from proxy.fleet.leases import Hard
from proxy.fleet.record import Portion, Share
from proxy.fleet.shares import Shares, max_min
from proxy.learn.decision import Decision
from proxy.learn.evidence.tally import Reading, Readings
from proxy.learn.learner import Learner
from proxy.learn.parameters import SIGHT

START = 4
"""Slots of the whole fleet to begin with, where no pod was told another number."""
_WANT_FADES = 0.7


def fading(now: float, before: float) -> float:
    """Return what counts as wanted, in calls: what is wanted now, or a little less than what counted a turn ago."""
    return max(float(now), _WANT_FADES * before)


class Pilot:
    """Learns and shares out for one limiter. ``learner`` is what another pilot had learnt, ``held`` what it had shared out."""

    def __init__(
        self,
        learner: Learner | None = None,
        hard: Hard | None = None,
        held: Mapping[str, int] | None = None,
    ) -> None:
        self.learner = learner
        self.hard = hard or Hard()
        self.shares = Shares(held)
        self._readings = Readings()
        self._wants: dict[str, float] = {}
        self._has_begun = learner is None

    def step(self, t: float, readings: Mapping[str, Reading]) -> Portion:
        """Take in what all pods posted; return what was decided and each pod's share. ``t`` is any clock in seconds."""
        window = self._readings.window(readings, SIGHT.period_s)
        if self.learner is None:
            told = [reading.start for reading in readings.values() if reading.start is not None]
            self.learner = Learner(start=sum(told) or START)
        if self._has_begun:
            decision = self.learner.step(window)
        else:  # all that the pods counted since their start is no window: who takes over begins with the next
            self._has_begun = True
            decision = Decision(max(1, self.learner.slots), self.learner.rate)
        self._wants = {
            pod: fading(reading.wanted, self._wants.get(pod, 0.0)) for pod, reading in readings.items()
        }
        return self.share(t, window.span_s or SIGHT.period_s, decision, readings)

    def share(
        self, t: float, passed_s: float, decision: Decision, readings: Mapping[str, Reading]
    ) -> Portion:
        """Share out what was decided."""
        assert self.learner is not None
        taken = sum(reading.fixed or 0 for reading in readings.values())
        free = {pod: reading for pod, reading in readings.items() if reading.fixed is None}
        slots = min(decision.slots, self.hard.slots or decision.slots)
        rate = min(decision.rate or math.inf, self.hard.rate or math.inf)
        out = Portion(slots, 0.0 if rate == math.inf else rate, self.learner.name, {}, learner=self.learner)
        if not free:
            return out
        most = {pod: reading.most for pod, reading in free.items()}
        inflight = {pod: reading.inflight for pod, reading in free.items()}
        wants = {pod: self._wants.get(pod, 1.0) for pod in free}
        latency_s = self.learner.ground.latency_s
        given = self.shares.give(t, passed_s, max(1, slots - taken), wants, most, inflight, latency_s)
        resting = min(1.0, self.learner.resting / max(1, decision.slots))
        rates = dict.fromkeys(free, 0.0)
        if rate != math.inf:
            asks = {pod: max(0.2, 1.5 * max(1.0, want) / max(latency_s, 0.01)) for pod, want in wants.items()}
            rates = max_min(rate, asks)
        out.leaving = {pod: n for pod, n in self.shares.leaving.items() if n and not decision.rate}
        out.shares = {pod: Share(given[pod], rates[pod], max(1, round(given[pod] * resting))) for pod in free}
        return out
