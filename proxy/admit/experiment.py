"""The experiment that tells what load does: every pod of the fleet raises and lowers its limit at the same instants.

One pod of eight moves the upstream's load by an eighth, so alone it cannot see what load does; and a pod that raises only its
own limit sees its own goodput rise whatever happens, for it takes the others' share. When all pods move together, at instants
that follow from the wall clock alone, each sees the answer of the whole fleet's load without a word between them.

Time is cut into halves of ``period_s``, two make a pair. In an active pair one half runs at L (1 + EPS) and the other at
L (1 - EPS); which comes first is the same coin on every pod: a hash of the pair's number and the upstream's name.

The answer is the elasticity of goodput: by how many per cent it moves when the load moves by one.

    d    = (S_hi - S_lo) - (E_hi - E_lo)         S: successes, E: failures in excess of the base rate
    r    = ln(load_hi / load_lo)                 of the attempts that really were in flight; about 0.28
    A, B = sums of d and mean(S) r over pairs, older ones fading
    eta  = (1 - w) A / B + w prior               w: share of what is known beforehand, by the variances

1 means more load is more goodput; 0 that it is at its best; below, that less would be more. Worked example: 40 successes in the
high half and 30 in the low one, none failed: d = 10, mean(S) r = 35 * 0.28 = 9.8, so this pair alone says eta = 1.02.
"""

from __future__ import annotations

import math
from typing import Final
from zlib import crc32

EPS: Final = 0.14
PERIOD_S: Final = 2.0
_PRIOR_VARIANCE: Final = 0.25
_MAX_IMBALANCE: Final = 0.12
_IN_USE: Final = 0.75
_LASTING: Final = 0.95


class Schedule:
    """Which half of which pair it is. Pods agree as far as their wall clocks do; ``wall`` is Unix seconds."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self.period_s = PERIOD_S
        self.duty = 1

    def half_at(self, wall: float) -> int:
        """Return the number of the half that ``wall`` is in."""
        return int(wall // self.period_s)

    def end_of(self, half: int) -> float:
        """Return the wall time at which a half ends."""
        return (half + 1) * self.period_s

    def phase_of(self, half: int) -> int:
        """Return 1, -1 or 0: high, low, or no experiment in this half."""
        pair = half >> 1
        if pair % self.duty:
            return 0
        sign = 1 if crc32(b"%d/%b" % (pair, self._salt)) & 1 else -1
        return sign if half & 1 == 0 else -sign

    def adopt(self, latency_s: float) -> bool:
        """Take a period that suits the latency: 2, 4, 8 s…, about three times as long, with hysteresis; whether it changed.

        The periods are multiples of one another, so that pods which differ still move together for part of the time.
        """
        period_s = self.period_s
        while latency_s * 3.0 > period_s * 1.25 and period_s < 64.0:
            period_s *= 2.0
        while period_s > PERIOD_S and latency_s * 3.0 < period_s / 2.0 / 1.25:
            period_s /= 2.0
        changed = period_s != self.period_s
        self.period_s = period_s
        return changed


class Half:
    """What was seen in one half of a pair, from ``since`` on (monotonic seconds): before, the change of load is too fresh.

    ``took_s`` is the sum of the successes' times, ``spanned_s`` the seconds looked at; ``phase`` 0 is a half without experiment.
    """

    def __init__(self, phase: int, limit: float, since: float) -> None:
        self.phase = phase
        self.limit = limit
        self.since = since
        self.successes = 0
        self.failures = 0
        self.was_binding = False
        self.is_clean = True
        self._held_s = 0.0
        self.took_s = 0.0
        self._failed_s = 0.0
        self.spanned_s = 0.0

    @property
    def load(self) -> float:
        """Mean attempts in flight."""
        return self._held_s / self.spanned_s if self.spanned_s else 0.0

    def stay(self, now: float, dt: float, inflight: int) -> None:
        """``inflight`` attempts were under way for the ``dt`` seconds up to ``now``."""
        if now - dt >= self.since:
            self._held_s += dt * inflight
            self.spanned_s += dt

    def note(self, now: float, succeeded: bool, took_s: float) -> None:
        """Count an outcome, unless the change of load is too fresh to have reached it."""
        if now >= self.since:
            if succeeded:
                self.successes += 1
                self.took_s += took_s
            else:
                self.failures += 1
                self._failed_s += took_s

    @property
    def was_used(self) -> bool:
        """Whether the limit was what held the traffic, or nearly so: apps of few threads wait elsewhere now and then."""
        return self.was_binding or self.load > _IN_USE * self.limit

    @property
    def carried(self) -> float:
        """Successes; by Little's law where nearly all succeed, for counting a handful is coarser than timing it."""
        n = self.successes
        if n and self.failures <= 0.1 * n and self.took_s > 0.0:
            return max(0.0, self._held_s - self._failed_s) * n / self.took_s
        return float(n)


class Sums:
    """A, B and the sum of B's squared parts over pairs, older ones fading."""

    def __init__(self) -> None:
        self.a = 0.0
        self.b = 0.0
        self.v = 0.0

    def add(self, d: float, weight: float, fading: float) -> None:
        """Add a pair whose goodput moved by ``d`` where it would have moved by ``weight`` at an elasticity of 1."""
        self.a = fading * self.a + d
        self.b = fading * self.b + weight
        self.v = fading * fading * self.v + weight * weight

    def fade(self, factor: float) -> None:
        """Trust what was added so far less."""
        self.a *= factor
        self.b *= factor
        self.v *= factor * factor


class Elasticity:
    """The evidence of the pairs, and what it says."""

    def __init__(self) -> None:
        self._sums = Sums()
        self._lasting = Sums()
        self._spread = 0.5
        self.pairs = 0
        self.fading = 0.75
        self.stale = 0.12
        self.value = 0.35
        self.error = 0.5
        self.latest = 0.0
        self.lasting = 0.5
        """The same from about 20 pairs, which is a few while the limit moves."""
        self.lasting_error = 1.0

    def take(self, high: Half, low: Half, base_rate: float) -> bool:
        """Add a pair; False when it cannot be used: unbalanced, empty, far from the limit when low, or disturbed."""
        if not (high.is_clean and low.is_clean and low.was_used):
            return False
        if abs(math.log(high.limit / low.limit)) > _MAX_IMBALANCE:
            return False
        mean_s = (high.carried + low.carried) / 2.0
        if mean_s < 1.0:
            return False
        if not (high.load and low.load and high.successes and low.successes):
            return False
        r = math.log(high.load / low.load)
        if r < 0.08:
            return False
        excess_high = high.failures - base_rate * (high.failures + high.successes)
        excess_low = low.failures - base_rate * (low.failures + low.successes)
        d = (high.carried - low.carried) - (excess_high - excess_low)
        x = self.latest = d / (mean_s * r)
        if self.pairs:
            deviation = x - self.value
            self._spread = max(0.02, 0.85 * self._spread + 0.15 * deviation * deviation)
        else:
            # Counts of n spread by about sqrt(n) / 2 at the least where calls take turns at a limit.
            self._spread = max(0.1, 0.5 / (mean_s * r * r))
        self.pairs += 1
        lasting = self._lasting
        self._sums.add(d, mean_s * r, self.fading)
        lasting.add(d, mean_s * r, _LASTING)
        self.lasting = lasting.a / lasting.b
        self.lasting_error = math.sqrt(self._spread * lasting.v) / lasting.b
        return True

    def estimate(self, prior: float) -> None:
        """Set ``value`` and ``error`` from the evidence and what is believed without it."""
        sums = self._sums
        if sums.b <= 0.0:
            self.value = prior
            self.error = math.sqrt(_PRIOR_VARIANCE)
            return
        variance = self._spread * sums.v / (sums.b * sums.b)
        weight = variance / (variance + _PRIOR_VARIANCE)
        self.value = (1.0 - weight) * sums.a / sums.b + weight * prior
        self.error = math.sqrt(_PRIOR_VARIANCE * variance / (variance + _PRIOR_VARIANCE))

    def remember(self, *, long: bool) -> None:
        """Keep evidence for about 4 pairs, or for 20 where answers are few."""
        self.fading = 0.95 if long else 0.75
        self.stale = 0.3 if long else 0.12

    def fade(self, factor: float) -> None:
        """Trust what was seen so far less: the limit has moved."""
        self._sums.fade(factor)
        self._lasting.fade(factor)

    def note_move(self, ratio: float) -> None:
        """Fade by how far the limit moved: evidence was gathered at another one."""
        self.fade(math.exp(-abs(math.log(ratio)) / self.stale))
