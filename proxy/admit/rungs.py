"""What the way up says about failures: no pod ever sees load vary as much again as while it climbs.

An upstream fails some share b whatever the load, and what goes beyond its capacity C. The pair that fits best is looked for, and
what is held against it is that b is nothing and a lower C explains all:

    ok share at height L = (1 - b) min(1, C / L)
    odds                 = ln likelihood of the best (b, C) - ln likelihood of the best (0, C)

Worked example: 12 attempts at each of 1.0, 1.25, 1.56, 1.95, 2.44, of which 4, 3, 4, 4, 3 failed. With b = 0.3 and enough
capacity the ln likelihood is -36.7. With b = 0 the best C is 0.86, by which 1.6, 3.7, 5.4, 6.7 and 7.7 should have failed: -43.5.
The odds are 6.8 that three in ten fail whatever the load. Above 10, with 15 failures or more at 4 heights, they are acquitted.
Behind one bad address of four odds of 20 to 100 are usual. Failures that come one after the other, or in less than half the time
of an answer, prove nothing: who climbs alone in front of a quota that all have used up sees the same share at every height.
"""

from __future__ import annotations

import math
from typing import Final

_LEAST_FAILURES: Final = 15
_LEAST_HEIGHTS: Final = 4
_SURE: Final = 10.0
MOST: Final = 0.5
"""Half or more is never nobody's fault."""
_CLUSTERED: Final = 0.7
_FAST: Final = 0.5
_CERTAIN: Final = 0.02
"""Nothing is surer than that one in fifty goes the other way."""
_COARSE: Final = 1.15
_FINE: Final = 6
_LOWEST: Final = 0.3
"""The lowest capacity that is looked at, in the lowest height."""


class Rungs:
    """Attempts that went well and not at each height of one climb. Heights are attempts in flight of this pod."""

    def __init__(self) -> None:
        self.ok = 0
        self.bad = 0
        self.steady = 0.0
        """Share that seems to fail whatever the height."""
        self.odds = 0.0
        self._seen: list[tuple[float, int, int]] = []
        self._ok_s = 0.0
        self._bad_s = 0.0
        self._turns = 0
        self._latest = True

    @property
    def heights(self) -> int:
        """How many heights were seen."""
        return len(self._seen)

    @property
    def is_acquitted(self) -> bool:
        """Whether ``steady`` hardly answers to the load."""
        enough = sum(bad for _, _, bad in self._seen) >= _LEAST_FAILURES and self.heights >= _LEAST_HEIGHTS
        is_steady = self.odds > _SURE and self.steady < MOST
        return enough and is_steady and not self.is_clustered and not self.is_refusal

    @property
    def is_clustered(self) -> bool:
        """Whether failures come one after the other more often than chance would have it."""
        ok, bad = self.ok, self.bad
        return bad > 4 and (not ok or self._turns * (ok + bad) < _CLUSTERED * 2.0 * ok * bad)

    @property
    def is_refusal(self) -> bool:
        """Whether failures come so much faster than answers that they may well be refusals of work."""
        return self._bad_s * self.ok < _FAST * self._ok_s * self.bad

    def note_one(self, succeeded: bool, took_s: float) -> None:
        """Count an attempt, in the order in which they end."""
        if succeeded:
            self.ok += 1
            self._ok_s += took_s
        else:
            self.bad += 1
            self._bad_s += took_s
        self._turns += succeeded is not self._latest
        self._latest = succeeded

    def note(self, height: float, ok: int, bad: int) -> None:
        """Add what was seen at a height, and judge."""
        if self._seen and self._seen[-1][0] == height:
            _, ok_before, bad_before = self._seen.pop()
            ok, bad = ok + ok_before, bad + bad_before
        self._seen.append((height, ok, bad))
        self._judge()

    def _judge(self) -> None:
        self.steady = self.odds = 0.0
        shares: set[float] = set()
        sum_ok = sum_bad = 0
        for number, (_, ok, bad) in enumerate(self._seen):
            sum_ok += ok
            sum_bad += bad
            is_last = number == len(self._seen) - 1
            if sum_bad and (is_last or number % 3 == 2):
                shares.add(sum_bad / (sum_ok + sum_bad))  # of the heights up to here
        if not shares:
            return
        without = self._best(0.0)
        for share in sorted(shares):
            odds = self._best(share) - without
            if odds > self.odds:
                self.odds, self.steady = odds, share

    def _best(self, share: float) -> float:
        """Return ln likelihood of the capacity that fits best where ``share`` fails whatever the load."""
        top = self._seen[-1][0]
        least = _LOWEST * self._seen[0][0]
        capacity = best_capacity = top
        best = self._likelihood(share, top)
        while capacity > least:
            capacity /= _COARSE
            value = self._likelihood(share, capacity)
            if value > best:
                best, best_capacity = value, capacity
        for number in range(1, _FINE):
            for part in (number / _FINE, -number / _FINE):
                best = max(best, self._likelihood(share, best_capacity * _COARSE**part))
        return best

    def _likelihood(self, share: float, capacity: float) -> float:
        total = 0.0
        for height, ok, bad in self._seen:
            fine = (1.0 - share) * min(1.0, capacity / height)
            fine = min(1.0 - _CERTAIN, max(_CERTAIN, fine))
            total += ok * math.log(fine) + bad * math.log(1.0 - fine)
        return total
