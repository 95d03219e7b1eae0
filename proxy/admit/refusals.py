"""A rate found by refusals: a short quota, of 100 calls in any second for instance, refuses at once and lets go on at once.

A limit on what is in flight holds such an upstream badly. Attempts that take 50 ms start by chance, so at the rate the quota
allows on average every tenth finds it used up; started evenly, hardly one does. What is beyond a quota looks so:

    refusals take less than half the time of an answer, answers take what they take at best, and a twentieth is refused
    answers near a refusal take no longer than others, and who is alone in flight is refused as well: where a queue or room is
    what is full, refusals come amid answers that waited, and never to who is alone

Then the attempts of this pod start evenly at the rate that went well so far, and with each pair of the experiment it follows
what is refused, as TCP follows losses:

    refused > 4 %     rate * (1 - min(0.25, 0.7 refused f))           f = rate / 12, from 0.5 to 2: large pods give more
    else              rate * (1 + min(0.3, 0.01 g 2^n))               g = 12 / rate, from 0.1 to 2; n pairs in a row without
    never below       0.7 of its own mean over the last 20 pairs       so that no pod gives way to one that does not

The halves of a pair run 5 % faster and slower, as all pods do at the same instants; the votes of blame.py say whether it is the
rate that is refused. If it is not, or if most attempts are refused, the rate goes, and is not tried again for 30 s, then 60 s,
up to 5 minutes.

Worked example: eight pods share 100/s. At 8 % refused a pod at 13/s goes to 13 (1 - 0.7 * 0.08 * 1.08) = 12.2/s; after three
pairs with less it is at 12.2 * 1.01 * 1.02 * 1.04 = 13.1/s.
"""

from __future__ import annotations

import math
from typing import Final

_FAST: Final = 0.5
_REFUSED: Final = 0.05
_FADING: Final = 0.99
_SMOOTHING: Final = 0.05
_HARDLY_SLOWER: Final = 1.05
_SLOWER: Final = 1.25
"""Answers near a refusal that take so much longer than others had a queue before them."""
_FEW: Final = 10.0
_AS_OFTEN: Final = 0.5
_EVER: Final = 0.03
_SELDOM: Final = 0.35
_LEAST_SEEN: Final = 20
_MOST_REFUSED: Final = 0.5
_BORNE: Final = 0.04
_YIELD: Final = 0.7
_MOST_AT_ONCE: Final = 0.25
_AT_ALARM: Final = 0.75
_LEAST: Final = 0.7
_MEAN: Final = 0.05
_GROW: Final = 0.01
_MOST_GROWTH: Final = 0.3
_MOST_DOUBLINGS: Final = 10
_EVEN_PER_S: Final = 12.0
_LEAST_PAIRS: Final = 3
_BARRED_S: Final = 30.0
_MOST_BARRED_S: Final = 300.0


class Refusals:
    """What answers and refusals look like, and the rate that follows from it: attempts a second, 0.0 while there is none."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._mean_rate = 0.0
        self._refusal_s = 0.0
        self._refused_at = -math.inf
        self._ok_alone = 0.0
        self._refused_alone = 0.0
        self._near = 0.0
        self._near_s = 0.0
        self._others = 0.0
        self._others_s = 0.0
        self._ok = 0
        self._refused = 0
        self._pairs = 0
        self._streak = 0
        self._barred_until = -math.inf
        self._barred_s = _BARRED_S

    def note(self, now: float, succeeded: bool, took_s: float, usual_s: float, others: int) -> None:
        """Count an attempt that ended at ``now`` and left ``others`` in flight; ``usual_s`` is how long an answer takes."""
        alone = 1.0 if others == 0 else 0.0
        if not succeeded:
            self._refused += 1
            self._refused_alone += _SMOOTHING * (alone - self._refused_alone)
            self._refused_at = now
            self._refusal_s += (_SMOOTHING if self._refusal_s else 1.0) * (took_s - self._refusal_s)
            return
        self._ok += 1
        self._ok_alone += _SMOOTHING * (alone - self._ok_alone)
        if now - self._refused_at < took_s + usual_s:
            self._near = _FADING * self._near + 1.0
            self._near_s = _FADING * self._near_s + took_s
        else:
            self._others = _FADING * self._others + 1.0
            self._others_s = _FADING * self._others_s + took_s

    def look_like_a_rate(self, now: float, usual_s: float, refused: float) -> bool:
        """Whether the ``refused`` share is likely beyond a rate, rather than turned away from a full queue."""
        return (
            _REFUSED < refused < _MOST_REFUSED
            and self._refusal_s < _FAST * usual_s
            and now >= self._barred_until
            and not self._is_queue()
        )

    def begin(self, rate: float) -> str:
        """Go by a rate from now on; return what there is to say."""
        self.rate = self._mean_rate = rate
        self._ok = self._refused = 0
        self._pairs = self._streak = 0
        return f"pace {rate:.2f}/s: what is beyond is refused at once"

    def turn(self, now: float, base: float, is_disproved: bool, is_used_up: bool = True) -> str:
        """Follow what was refused since the last turn beyond the ``base`` share; return what there is to say.

        A rate that is not used up does not grow.
        """
        seen = self._ok + self._refused
        if seen < _LEAST_SEEN:
            return ""
        refused = (self._refused / seen - base) / (1.0 - base)
        self._ok = self._refused = 0
        self._pairs += 1
        if refused > _MOST_REFUSED or (is_disproved and self._pairs >= _LEAST_PAIRS):
            self.rate = 0.0
            self._barred_until = now + self._barred_s
            self._barred_s = min(_MOST_BARRED_S, 2.0 * self._barred_s)
            return "pacing ends: it is not the rate that is refused"
        rate = self.rate
        self._mean_rate += _MEAN * (rate - self._mean_rate)
        if refused > _BORNE:
            self._streak = 0
            down = _YIELD * refused * min(2.0, max(0.5, rate / _EVEN_PER_S))
            self.rate = min(rate, max(_LEAST * self._mean_rate, rate * (1.0 - min(_MOST_AT_ONCE, down))))
        elif is_used_up:
            self._streak = min(_MOST_DOUBLINGS, self._streak + 1)
            up = _GROW * min(2.0, max(0.1, _EVEN_PER_S / rate)) * 2.0 ** (self._streak - 1)
            self.rate = rate * (1.0 + min(_MOST_GROWTH, up))
        return ""

    def cut(self, ok_per_s: float) -> None:
        """Far too much is refused, all of a sudden: go back to what went well."""
        self._streak = 0
        self.rate = min(self.rate, max(ok_per_s, _AT_ALARM * self.rate))

    def _is_queue(self) -> bool:
        """Whether refusals come amid answers, or answers near one are slower: then it is room that is used up, not a rate."""
        if self._refused_alone < _AS_OFTEN * self._ok_alone:
            return True
        is_seldom = self._near < _SELDOM * self._others
        if is_seldom and self._near < _FEW:
            return False
        if not is_seldom and self._ok_alone < _EVER:
            return True  # amid answers, and never alone: nothing tells a rate from room
        slower = self._near_s * self._others / (self._near * self._others_s) if self._others else 1.0
        return slower > (_SLOWER if is_seldom else _HARDLY_SLOWER)
