"""How many attempts may be under way: the algorithm behind the limiter, and the simplest one.

The split is Netflix concurrency-limits': a Limit decides, the Limiter enforces, a permit reports back with success, ignore or
dropped. The adaptive limit will be another Limit.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from proxy.base.outcomes import AttemptOutcome

UNLIMITED = 1 << 30


class Verdict(Enum):
    """What an attempt tells a limit."""

    SUCCESS = "success"
    IGNORE = "ignore"
    DROPPED = "dropped"


class Limit(Protocol):
    """A concurrency limit that may learn."""

    @property
    def value(self) -> int:
        """Attempts that may be under way now, at least 1."""

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        """Learn from one finished attempt."""


class FixedLimit:
    """A limit that was told and stays."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        """Nothing to learn."""

    def __repr__(self) -> str:
        return f"<FixedLimit {self.value}>"
