"""A look at another height: what was seen here before, there, and here again."""

from __future__ import annotations

import math

from msgspec import Struct, field

from proxy.learn.evidence.ground import Ground, Point, joined
from proxy.learn.parameters import HOLDING, SEARCHING


class Visit(Struct):
    """A look elsewhere: how many slots, perhaps a rate, and what was seen."""

    kind: str
    n: int
    home: int
    before: Point
    rate: float = 0.0
    there: Point = field(default_factory=Point)
    after: Point = field(default_factory=Point)
    is_back: bool = False
    windows: int = 0
    """How many it lasts, whatever is seen; 0 where what is seen decides that."""
    rounds: int = 1
    """How often it must show the same."""
    troubled: int = 0
    """Windows back here in which far more failed than is usual."""
    unsettled: int = 0
    """Windows in which what was sent before still ended."""

    def has_seen_enough(self, ground: Ground) -> bool:
        """Whether what was seen there stands out from chance, or it took too long."""
        there = self.there
        if self.windows:
            return there.windows >= self.windows
        if not there.is_turned_over and there.windows < 2 * HOLDING.visit_windows:
            return False
        if there.windows < SEARCHING.windows:
            return False
        sd = math.sqrt(ground.variance(there))
        return sd < HOLDING.blur * abs(math.log(self.n / self.home)) or there.windows >= HOLDING.visit_windows

    @property
    def is_back_for_long(self) -> bool:
        """Whether what is seen here again weighs as much as half of what was seen there."""
        there, after = self.there, self.after
        if self.windows:
            return after.windows >= there.windows
        return (
            after.windows >= max(SEARCHING.windows, there.windows / 2)
            and (after.is_turned_over or after.windows >= there.windows)
            and (2 * after.ok >= there.ok or after.windows >= 2 * there.windows)
        )

    @property
    def here(self) -> Point:
        """What was seen here, before and after."""
        return joined([self.before, self.after])

    @property
    def step(self) -> float:
        """ln of the slots in use there over those here."""
        return math.log(self.there.n / self.here.n)

    @property
    def gain(self) -> float:
        """What worth did there."""
        return self.there.worth - (self.before.worth + self.after.worth) / 2

    @property
    def gain_counted(self) -> float:
        """The same by pages that were counted: right after a step down latencies are those of calls sent before it."""
        return self.there.carried - (self.before.carried + self.after.carried) / 2

    def variance(self, ground: Ground) -> float:
        """Return the variance of either gain."""
        return ground.variance(self.there) + (ground.variance(self.before) + ground.variance(self.after)) / 4
