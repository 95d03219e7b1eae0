"""A look at another height, and what such looks have shown of one side: a slope."""

from __future__ import annotations

import math

from msgspec import Struct, field

from proxy.learn.evidence.ground import Point
from proxy.learn.parameters import HOLDING


class Visit(Struct):
    """A look elsewhere: how many slots, perhaps a rate, and what was seen here before, there, and here again."""

    kind: str
    n: int
    home: int
    before: Point
    rate: float = 0.0
    there: Point = field(default_factory=Point)
    after: Point = field(default_factory=Point)
    is_back: bool = False
    windows: int = HOLDING.visit_windows
    """The most windows of it; as many as that with a rate, whatever is seen."""
    rounds: int = 1
    """How often it must show the same."""
    began_at: float = 0.0
    unsettled: int = 0
    """Windows in which what was sent before still ended."""


class Slope(Struct):
    """d worth / d ln n of one side: weighted sums of what visits showed."""

    rise: float = 0.0
    weight: float = 0.0

    def note(self, step: float, gain: float, variance: float) -> None:
        """Take in a visit: ``step`` is ln of the ratio, ``gain`` what worth did. No visit shows more than is plausible."""
        most = HOLDING.plausible * abs(step)
        gain = min(most, max(-most, gain))
        if self.weight:
            surprise = abs(gain / step - self.rise / self.weight)
            if surprise > HOLDING.surprised_sd * math.sqrt(variance / step**2 + 1 / self.weight):
                self.fade(HOLDING.surprise)  # what was known was known of another upstream
        self.rise += step * gain / variance
        self.weight += step * step / variance

    def fade(self, share: float) -> None:
        """Forget."""
        self.rise *= share
        self.weight *= share

    def known(self, is_contended: bool) -> tuple[float, float]:
        """Return the slope and its standard deviation; without evidence what is usual of upstreams."""
        prior = 1.0 / HOLDING.belief**2
        hope = 0.0 if is_contended else HOLDING.hope
        weight = self.weight + prior
        return (self.rise + hope * prior) / weight, math.sqrt(1.0 / weight)
