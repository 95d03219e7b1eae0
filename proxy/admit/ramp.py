"""The way up after a start, when nothing is known yet: a step a second until the upstream shows resistance.

Steps are taken as the wall clock turns a second, so pods that start together climb together, see the same latencies, and stop
at about the same height: that is where fairness between pods that cannot see each other begins.

A step is judged by the attempts that began on it: 12 of them, fewer where they are slow to come, none at all after 6.5 s (an
upstream that takes long is not one that is full). Where 24 ended within a quarter of a second, that is a step.

    ratio = mean latency / lowest mean so far           stop when > 1.5 (1 + 0.5 / sqrt(n)); 5 ms are added to both
    failed share                                        stop when 4 or more and > 10 % + 0.5 / sqrt(n), stay when > 20 %

A share of failures that does not rise with the height is taken out of that share first (rungs.py, ``borne``).

Who stops holds its height for 6 s, up to 12 s until 40 came back. Whoever stopped before the others by chance would make room
for them else, and they would climb on into it: pods ended between 3 and 9 in flight. If in the meantime no more than 20 %
failed and latency is less than a fifth above the mean of all steps before, it was chance, and the climb goes on. Else the limit
goes back to 0.8 of its height; at once where more than half fails. Worked example: at 2.0 in flight 12 answers took 100 ms, at
2.5 they take 102 ms, at 3.1 they take 178 ms: 183 / 105 = 1.74 > 1.5 * 1.14 = 1.72, stop, go on with 2.5 after the hold.
"""

from __future__ import annotations

import math
from typing import Final

from proxy.admit.rungs import MOST, Rungs
from proxy.admit.traffic import JITTER_S

STEP: Final = 1.25
BACK: Final = 0.8
HIGHEST: Final = 64.0
UP: Final = "up"
UNOPPOSED: Final = "nothing stood in the way"
_PATIENCE_S: Final = 30.0
_STOP: Final = 1.5
_CHANCE: Final = 1.2
_HOLD_S: Final = 6.0
_ENOUGH: Final = 40
_MEAN_OF_LOWEST: Final = 1.06
_FAILS: Final = 0.1
_FAILS_ERROR: Final = 0.5
_LEAST_BAD: Final = 4
_STAY: Final = 0.2
_LIKELY: Final = 8.0
"""Odds against the load from which failures do not stop the climb; fewer are asked for while few heights were seen."""
_FIRST: Final = 3
_LEAST_KNOWN: Final = 12


class Ramp:
    """One climb. ``verdict`` says what to do at each second: "" nothing, UP a step, anything else is why it ends."""

    def __init__(self, now: float, floor_s: float = 0.0) -> None:
        self.floor_s = floor_s
        self.rungs = Rungs()
        self._why = ""
        self._release_at = 0.0
        self._started_at = now
        self._step_at = now
        self._quarter = 0
        self._sum_s = 0.0
        self._ok = 0
        self._bad = 0
        self._before_s = 0.0
        self._before = 0

    def note(self, started_at: float, succeeded: bool, took_s: float) -> None:
        """Count an attempt, if it began on this step."""
        if started_at < self._step_at:
            return
        self.rungs.note_one(succeeded, took_s)
        if succeeded:
            self._ok += 1
            self._sum_s += took_s
        else:
            self._bad += 1

    def verdict(self, now: float, wall: float, height: float) -> str:
        """Judge the step to ``height``, as the wall clock turns a second; a quarter of one where answers abound."""
        quarter = int(wall * 4.0)
        if quarter == self._quarter:
            return ""
        self._quarter = quarter
        if self._release_at:
            return self._release(now)
        n = self._ok + self._bad
        waited_s = now - self._step_at
        if now - self._started_at > _PATIENCE_S:
            return UNOPPOSED
        if n < 24 and quarter % 4:
            return ""
        if n >= 12 or (n >= 6 and waited_s > 2.5) or (n >= 3 and waited_s > 4.5) or waited_s > 6.5:
            excess = self._excess()
            self.rungs.note(height, self._ok, self._bad)
            if self._fails(excess) or self._is_slow():
                if self._bad > MOST * n:
                    return self._why
                self._release_at = now + _HOLD_S
                return ""
            self._end_step(now)
            if excess <= _STAY:
                return UP
        return ""

    @property
    def borne(self) -> float:
        """Share of failures that is no reason to stop nor to cut: it does not rise, or there is no height to compare with yet.

        The more heights were seen, the surer that must be. Half or more is never borne, on the first steps but for chance.
        """
        rungs = self.rungs
        if rungs.is_clustered:
            return 0.0
        if rungs.heights >= _FIRST:
            is_likely = rungs.odds >= min(_LIKELY, float(rungs.heights - _FIRST))
            return rungs.steady if is_likely and not rungs.is_refusal and rungs.steady < MOST else 0.0
        n = max(_LEAST_KNOWN, rungs.ok + rungs.bad)
        return rungs.bad / n if rungs.bad / n < MOST + 0.5 / math.sqrt(n) else 0.0

    def _excess(self) -> float:
        """Return which share of the attempts that would go well otherwise fails on this step."""
        n = self._ok + self._bad
        borne = self.borne
        return (self._bad / n - borne) / (1.0 - borne) if n else 0.0

    def _release(self, now: float) -> str:
        """Say why the climb ends when the height was held for long enough, unless that was chance."""
        is_early = self._ok + self._bad < _ENOUGH and now < self._release_at + _HOLD_S
        if now < self._release_at or is_early:
            return ""
        if self._excess() > _STAY or not self._was_chance():
            return self._why
        self._release_at = 0.0
        self._end_step(now)
        return UP

    def _end_step(self, now: float) -> None:
        self._step_at = now
        self._before_s += self._sum_s
        self._before += self._ok
        self._sum_s = 0.0
        self._ok = self._bad = 0

    def _fails(self, excess: float) -> bool:
        self._why = f"{self._bad} of {self._ok + self._bad} attempts failed"
        return self._bad >= _LEAST_BAD and excess > _FAILS + _FAILS_ERROR / math.sqrt(self._ok + self._bad)

    def _is_slow(self) -> bool:
        ok = self._ok
        ratio = self._slowness()
        if not ok or ratio <= _STOP * (1 + 0.5 / math.sqrt(ok)):
            return False
        self._why = f"latency is {self._sum_s / ok * 1000:.0f} ms, {ratio:.1f} times the lowest seen"
        return True

    def _was_chance(self) -> bool:
        """Whether what looked slow is not, now that more came back; held against all steps, for the lowest is low by chance."""
        mean_s = self._sum_s / max(1, self._ok)
        return not self._before or mean_s * self._before < _CHANCE * self._before_s

    def _slowness(self) -> float:
        """Return the mean latency of this step over the lowest mean so far, and bring that up to date; 1.0 for no answer."""
        ok = self._ok
        if not ok:
            return 1.0
        mean_s = self._sum_s / ok
        before_s = self.floor_s * _MEAN_OF_LOWEST or mean_s or 1e-9
        self.floor_s = min(before_s, 0.5 * (mean_s + before_s)) / _MEAN_OF_LOWEST
        return (mean_s + JITTER_S) / (before_s + JITTER_S)
