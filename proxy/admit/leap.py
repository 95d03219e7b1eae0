"""The leap: half as much again for a second, by all pods at once, to see whether more is to be had at all.

The experiment's 14 % find the way near an optimum, but three times the capacity is many of its steps away, and asking each of
them takes minutes where asking is rare. So at the beginning of every fourth pair, each 16 s, every pod goes up by half, for 1 s;
for the whole half of 2 s where answers take longer than a sixth of that, for too few would come back in 1 s:

    eta    = 1 - ln(latency / latency before) / ln 1.5        by Little's law: 1 is no dearer, 0 no more goodput
    passed = eta - error > 0.6, where error = 0.4 / sqrt(answers) / ln 1.5, and no more attempts failed than before

Who passes stays up and leaps on at once; who does not goes back to where it was. What half as much again does to latency is
four times what 14 % do, so one leap tells a pod as much as several pairs. It must be everybody's: a pod that leaps
alone in a crowd finds it cheap, whatever it does to the others. Hence the slots follow from the wall clock, and nothing that pods
see differently decides who takes part, but that a pod is held by its limit and was not cut just now.

Worked example: 0.12 s before, 0.125 s over 40 answers: eta = 0.90, error 0.16: passed. With 0.18 s eta is 0.03.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from proxy.admit.experiment import Half
from proxy.admit.traffic import elasticity_by_latency

LEAP: Final = 1.5
_EVERY: Final = 4
_AT: Final = 3
"""Pair 3 of 4 is never one of the calm pairs, each sixth, that experiment."""
_PASSED: Final = 0.6
_SPREAD: Final = 0.4
"""Standard deviation of a latency over its mean, as it usually is; more would ask more of small pods than of large ones."""
_LEAST: Final = 8
_MORE_FAILING: Final = 0.02
_BEFORE: Final = 4
_HOPELESS: Final = 8


class Leap:
    """What was seen before, the half that is a leap now, and whether the last one passed."""

    def __init__(self) -> None:
        self.half: Half | None = None
        self.has_passed = False
        self.passed = 0
        """Leaps of this row that passed."""
        self.elasticity = 0.0
        self._before: deque[Half] = deque(maxlen=_BEFORE)
        self._latency_s = 0.0
        self._failing = 0.0

    def note(self, half: Half) -> None:
        """Remember a half in which the limit held the traffic, as what is usual."""
        if half.is_clean and half.was_binding and half.successes >= 5:
            self._before.append(half)

    def forget(self) -> None:
        """What is usual is about to change."""
        self._before.clear()

    def is_due(self, number: int) -> bool:
        """Whether the half of that number is one in which all leap."""
        return not number & 1 and (number >> 1) % _EVERY == _AT and bool(self._before)

    def begin(self, half: Half) -> None:
        """``half`` is a leap, from ``half.limit``; compare it with what was before the first of a row."""
        if not self.has_passed:
            self.passed = 0
            successes = sum(one.successes for one in self._before)
            failures = sum(one.failures for one in self._before)
            self._latency_s = sum(one.took_s for one in self._before) / successes
            self._failing = failures / (successes + failures)
        self.has_passed = False
        self.half = half

    def is_hopeless(self) -> bool:
        """Whether so much fails that the rest of the leap can be spared."""
        half = self.half
        if half is None or not half.is_clean or half.failures < _HOPELESS:
            return False
        return half.failures > (0.5 + self._failing) * (half.failures + half.successes)

    def end(self) -> float:
        """Judge the leap that ends; return the limit that it began from."""
        half = self.half
        assert half is not None
        self.half = None
        self.has_passed = self._judge(half)
        if self.has_passed:
            self.passed += 1
            self._before.clear()
        return half.limit

    def _judge(self, half: Half) -> bool:
        ok, bad = half.successes, half.failures
        if not half.is_clean or not half.was_binding or ok < _LEAST:
            return False
        n = ok + bad
        if bad - self._failing * n > _MORE_FAILING * n + math.sqrt(0.05 * n):
            return False
        self.elasticity = elasticity_by_latency(half.took_s / ok, self._latency_s, LEAP)
        return self.elasticity - _SPREAD / math.sqrt(ok) / math.log(LEAP) > _PASSED
