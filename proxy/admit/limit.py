"""How many attempts may be under way: the algorithm behind the limiter, and the simplest one.

The split is Netflix concurrency-limits': a Limit decides, the Limiter enforces, a permit reports back with success, ignore or
dropped. What depends on time is asked for before each start: ``next_start_s`` first, then ``value``.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

from proxy.base.outcomes import AttemptOutcome, Verdict

UNLIMITED: Final = 1 << 30


class Limit(Protocol):
    """A concurrency limit. All times are monotonic seconds, all spans seconds."""

    @property
    def is_plain(self) -> bool:
        """Whether time plays no part: nothing but ``value`` and ``on_outcome`` needs to be asked."""

    @property
    def value(self) -> int:
        """Attempts that may be under way now, as of the last ``next_start_s``; may be 0 for a while."""

    @property
    def nominal(self) -> float:
        """Attempts that may be under way over time, more than 0: ``value`` without what is so for the moment only."""

    @property
    def probes(self) -> int:
        """Attempts under way beyond which not even a probe may start."""

    def next_start_s(self, now: float) -> float:
        """Bring ``value`` up to date; 0.0 when an attempt may start now, slots permitting, else when to ask again."""

    def next_change_s(self, now: float) -> float:
        """Return when ``value`` may change by time alone; infinity when only outcomes change it."""

    def on_start(self, now: float) -> None:
        """An attempt starts."""

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        """Take in one finished attempt."""

    def on_gate(self, is_closed: bool, now: float) -> None:
        """The outage gate has closed or opened."""


class FixedLimit:
    """A limit that was told and stays."""

    __slots__ = ("nominal", "value")

    is_plain: Final = True
    probes: Final = UNLIMITED

    def __init__(self, value: int) -> None:
        self.value = value
        self.nominal = float(max(1, value))

    def next_start_s(self, now: float) -> float:
        """Now."""
        return 0.0

    def next_change_s(self, now: float) -> float:
        """Never."""
        return math.inf

    def on_start(self, now: float) -> None:
        """Nothing to count."""

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        """Nothing to count."""

    def on_gate(self, is_closed: bool, now: float) -> None:
        """Nothing to count."""

    def __repr__(self) -> str:
        return f"<FixedLimit {self.value}>"
