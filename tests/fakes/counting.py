"""A concurrency limit that counts the starts and ends it hears of."""

from __future__ import annotations

import math

from proxy.admit.limit import UNLIMITED
from proxy.base.outcomes import AttemptOutcome, Verdict


class CountingLimit:
    """A limit of ``value`` that hears what one that learns does; ``fails_at`` "start" or "end" makes it fail there."""

    probes = UNLIMITED
    is_plain = False

    def __init__(self, value: int) -> None:
        self.value = value
        self.nominal = float(value)
        self.starts = 0
        self.ends: list[Verdict] = []
        self.latencies_s: list[float] = []
        self.fails_at = ""

    def next_start_s(self, now: float) -> float:
        return 0.0

    def next_change_s(self, now: float) -> float:
        return math.inf

    def on_start(self, now: float) -> None:
        if self.fails_at == "start":
            raise ZeroDivisionError
        self.starts += 1

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        self.ends.append(verdict)
        self.latencies_s.append(outcome.latency_s)
        if self.fails_at == "end":
            raise ZeroDivisionError

    def on_gate(self, is_closed: bool, now: float) -> None:
        pass
