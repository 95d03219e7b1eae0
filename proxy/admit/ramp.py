"""The way up after a start, when nothing is known yet: a step a second until the upstream shows resistance.

Steps are taken as the wall clock turns a second, so pods that start together climb together, see the same latencies, and stop
at about the same height: that is where fairness between pods that cannot see each other begins.

A step is judged by the attempts that began on it: 12 of them, fewer where they are slow to come, none at all after 6.5 s (an
upstream that takes long is not one that is full). Where 24 ended within a quarter of a second, that is a step.

    ratio = mean latency / lowest mean so far           stop when > 1.5 (1 + 0.5 / sqrt(n)); 5 ms are added to both
    failed share                                        stop when 6 or more and > 30 %, stay when > 20 %

On stopping the limit goes back to 0.8 of where it stopped. Worked example: at 2.0 in flight 12 answers took 100 ms, at 2.5 they
take 102 ms, at 3.1 they take 178 ms: 183 / 105 = 1.74 > 1.5 * 1.14 = 1.72, stop, go on with 2.5.
"""

from __future__ import annotations

import math
from typing import Final

from proxy.admit.traffic import JITTER_S

STEP: Final = 1.25
BACK: Final = 0.8
HIGHEST: Final = 64.0
UP: Final = "up"
UNOPPOSED: Final = "nothing stood in the way"
_PATIENCE_S: Final = 30.0
_STOP: Final = 1.5
_MEAN_OF_LOWEST: Final = 1.06


class Ramp:
    """One climb. ``verdict`` says what to do at each second: "" nothing, UP a step, anything else is why it ends."""

    def __init__(self, now: float, floor_s: float = 0.0) -> None:
        self.floor_s = floor_s
        self._started_at = now
        self._step_at = now
        self._quarter = 0
        self._sum_s = 0.0
        self._ok = 0
        self._bad = 0

    def note(self, started_at: float, succeeded: bool, took_s: float) -> None:
        """Count an attempt, if it began on this step."""
        if started_at < self._step_at:
            return
        if succeeded:
            self._ok += 1
            self._sum_s += took_s
        else:
            self._bad += 1

    def verdict(self, now: float, wall: float) -> str:
        """Judge the step, as the wall clock turns a second; a quarter of one where answers abound."""
        quarter = int(wall * 4.0)
        if quarter == self._quarter:
            return ""
        self._quarter = quarter
        ok, bad = self._ok, self._bad
        n = ok + bad
        waited_s = now - self._step_at
        if now - self._started_at > _PATIENCE_S:
            return UNOPPOSED
        if n < 24 and quarter % 4:
            return ""
        if n >= 12 or (n >= 6 and waited_s > 2.5) or (n >= 3 and waited_s > 4.5) or waited_s > 6.5:
            why = self._judge(ok, bad)
            if why:
                return why
            self._step_at = now
            self._sum_s = 0.0
            self._ok = self._bad = 0
            if bad <= 0.2 * n:
                return UP
        return ""

    def _judge(self, ok: int, bad: int) -> str:
        if ok:
            mean_s = self._sum_s / ok
            before_s = self.floor_s * _MEAN_OF_LOWEST or mean_s or 1e-9
            ratio = (mean_s + JITTER_S) / (before_s + JITTER_S)
            self.floor_s = min(before_s, 0.5 * (mean_s + before_s)) / _MEAN_OF_LOWEST
            if ratio > _STOP * (1 + 0.5 / math.sqrt(ok)):
                return f"latency is {mean_s * 1000:.0f} ms, {ratio:.1f} times the lowest seen"
        if bad >= 6 and bad > 0.3 * (ok + bad):
            return f"{bad} of {ok + bad} attempts failed"
        return ""
