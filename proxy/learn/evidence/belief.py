"""What all comparisons say together of how worth follows the slots: a weight for each of some shapes.

A shape is a tent with a rounded top, over u = ln(slots in use):

    f(u) = 0.92 u - drop / 4 ln(1 + exp(4 (u - knee)))

Below the knee more slots carry more; above it worth changes by 0.92 - drop per ln of slots. A drop of 1 is a pool whose
queue grows, 1.6 a kink, 2.5 and 4 a collapse or a pool that refuses. A comparison of two heights multiplies each weight by how
likely it is under that shape. As time passes the knees drift apart: what was seen long ago says little.
"""

from __future__ import annotations

import math
import operator
from functools import lru_cache

from msgspec import Struct

from proxy.learn.parameters import BELIEF, WORTH

_COUNT = round(BELIEF.highest / BELIEF.grid)
_SHAPES = [(BELIEF.grid * i, drop) for drop in BELIEF.drops for i in range(_COUNT)]
_RISE = 1 - WORTH.thrift
_MOST_SHARE = 0.25
"""Of a weight that goes to each neighbour in one pass: more would make waves."""


@lru_cache(maxsize=512)
def _excesses(hundredths: int) -> list[float]:
    out = []
    for knee, drop in _SHAPES:
        x = BELIEF.edge * (hundredths / 100 - knee)
        out.append(drop / BELIEF.edge * (max(x, 0.0) + math.log1p(math.exp(-abs(x)))))
    return out


def _excess(u: float) -> list[float]:
    """Return what contention takes of worth at a height, for each shape."""
    return _excesses(round(100 * u))


class Belief(Struct):
    """Weights of the shapes. Heights are ln of slots in use, gains are of worth (ln)."""

    shares: list[float] = []

    def weights(self, u: float = 0.0, strain: float | None = None) -> list[float]:
        """Return the weight of each shape, their sum 1; ``strain`` is ln of the latency at u over its floor."""
        known = self.shares or [1 / len(_SHAPES)] * len(_SHAPES)
        if strain is None:
            return known
        return _normal(
            [
                weight * math.exp(-0.5 * ((strain - excess) / BELIEF.strain_sd) ** 2)
                for weight, excess in zip(known, _excess(u), strict=True)
            ]
        )

    def note(self, before: float, there: float, gain: float, variance: float) -> None:
        """Take in a comparison of two heights."""
        step = _RISE * (there - before)
        scale = BELIEF.tail * variance
        power = -(BELIEF.tail + 1) / 2
        raw = [
            weight * (1 + (gain - step + after - here) ** 2 / scale) ** power
            for weight, here, after in zip(self.weights(), _excess(before), _excess(there), strict=True)
        ]
        even = BELIEF.doubt / len(raw)
        self.shares = [(1 - BELIEF.doubt) * each + even for each in _normal(raw)]

    def spread(self, sd: float) -> None:
        """Let the knees drift by so much (ln)."""
        if not self.shares:
            return
        left = sd * sd / (2 * BELIEF.grid**2)
        while left > 0:
            share = min(_MOST_SHARE, left)
            left -= share
            old = self.shares
            new = []
            for first in range(0, len(old), _COUNT):
                row = old[first : first + _COUNT]
                padded = [row[0], *row, row[-1]]
                new += [
                    (1 - 2 * share) * b + share * (a + c)
                    for a, b, c in zip(padded[:-2], row, padded[2:], strict=True)
                ]
            self.shares = new


def _normal(raw: list[float]) -> list[float]:
    total = sum(raw)
    return [each / total for each in raw] if total > 0.0 else [1 / len(raw)] * len(raw)


def expected(weights: list[float], before: float, there: float) -> tuple[float, float]:
    """Return the gain to be expected of another height, and its variance."""
    step = _RISE * (there - before)
    gains = [step - after + here for here, after in zip(_excess(before), _excess(there), strict=True)]
    mean = sum(map(operator.mul, weights, gains))
    return mean, max(
        0.0, sum(weight * gain * gain for weight, gain in zip(weights, gains, strict=True)) - mean * mean
    )


def promise(mean: float, spread: float, variance: float) -> float:
    """Return what a look is worth: the gain of being able to choose the better of two heights after it, on average."""
    sd = spread / math.sqrt(spread + variance) if spread > 0.0 else 0.0
    if sd < 1e-9:
        return max(0.0, mean)
    z = mean / sd
    return sd * math.exp(-z * z / 2) / math.sqrt(2 * math.pi) + mean * 0.5 * math.erfc(-z / math.sqrt(2))


def best(weights: list[float], low: float, high: float) -> float:
    """Return the height between two at which most worth is to be expected."""
    count = max(1, math.ceil((high - low) / BELIEF.fine))
    heights = [low + (high - low) * i / count for i in range(count + 1)]
    return max(heights, key=lambda u: _RISE * u - sum(map(operator.mul, weights, _excess(u))))
