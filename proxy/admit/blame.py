"""Does load make the attempts fail? The arms of the experiment answer; failures that do not answer to it are acquitted.

An upstream that is full serves no more when it is asked for more, so its failures fall on the high half of a pair:

    ok            share of successes over all
    swing         what was tried more in the high half, at most EPS
    r_hi, r_lo    1 - ok / (1 + swing), 1 - ok / (1 - swing)     what would fail in each half, were the upstream full
    expected      failures the high half has beyond its share of attempts, if so
    seen          failures it does have beyond its share

Every pair has one vote, however many failures it brings: a burst that happens to fall into a high half is one vote. The odds of
a full upstream against chance are those of two normal distributions with the votes' own variance:

    ln odds = (seen * expected - expected^2 / 2) / sum(max(vote^2, chance))

Worked example: 30 % fail, and of 100 failures 52 fell on high halves that had 55 % of the attempts: seen = -3. A full upstream
would have put 12 more there. With a variance of 25, ln odds = (-36 - 72) / 25 = -4.3: it is hardly the load.

Failures in clusters (a quota that is used up, a schedule) do not answer to the arms either and are no chance: where the counts of
halves spread more than 2.5 times as wide as chance would have it, silence proves nothing.
"""

from __future__ import annotations

import math
from typing import Final

from proxy.admit.experiment import EPS, Half

_FADING: Final = 0.97
_LEAST_VOTES: Final = 8
_LEAST_RATIO: Final = 1.3
_MOST_RATIO: Final = 3.0
_CLUSTERED: Final = 2.5
_STRICT: Final = 25.0
_LEANS: Final = 1.0
_LEAN: Final = 4.0
"""What the way up counts for at most: enough to begin with, too little to acquit by itself what fails often."""


class Blame:
    """The votes so far. ``value`` is the probability that load is behind the failures; 0.5 is not known."""

    def __init__(self) -> None:
        self.value = 0.5
        self.odds = 0.0
        self.high_attempts = 0.0
        self.high_failures = 0.0
        self.low_attempts = 0.0
        self.low_failures = 0.0
        self._seen = 0.0
        self._expected = 0.0
        self._variance = 0.0
        self._dispersion = 1.0
        self._lean = 0.0
        self._votes = 0

    def lean(self, odds: float) -> None:
        """Begin with what the way up said: ``odds`` that it is not the load."""
        self._lean = -min(odds, _LEAN)
        self._believe(self._lean)

    @property
    def is_known(self) -> bool:
        """Whether enough pairs have voted, or the way up and some, for ``value`` to be more than chance."""
        return self._votes >= _LEAST_VOTES or self._lean < -_LEANS

    @property
    def is_clustered(self) -> bool:
        """Whether failures come in clusters."""
        return self._dispersion > _CLUSTERED

    def is_disproved(self, failing: float) -> bool:
        """Whether load is out of the question for that share of failures; the more fail, the surer it must be."""
        enough = self.high_failures + self.low_failures > 15.0
        return (
            enough
            and self.is_known
            and not self.is_clustered
            and self.odds < -2.7 - _STRICT * max(0.0, failing - 0.1)
        )

    def take(self, high: Half, low: Half) -> None:
        """Add one pair's vote."""
        self.high_attempts = _FADING * self.high_attempts + high.successes + high.failures
        self.high_failures = _FADING * self.high_failures + high.failures
        self.low_attempts = _FADING * self.low_attempts + low.successes + low.failures
        self.low_failures = _FADING * self.low_failures + low.failures
        failures = float(high.failures + low.failures)
        if not failures:
            return
        share_failed = (self.high_failures + self.low_failures) / (self.high_attempts + self.low_attempts)
        self._note_spread(high, share_failed)
        self._note_spread(low, share_failed)
        n_hi, n_lo = float(high.successes + high.failures), float(low.successes + low.failures)
        share = n_hi / (n_hi + n_lo)
        swing = min(EPS, abs(n_hi - n_lo) / (n_hi + n_lo))
        r_hi = 1.0 - (1.0 - share_failed) / (1.0 + swing)
        r_lo = max(1.0 - (1.0 - share_failed) / (1.0 - swing), r_hi / _MOST_RATIO)
        ratio = max(_LEAST_RATIO, r_hi / r_lo)
        if_full = ratio * n_hi / (ratio * n_hi + n_lo)
        vote = high.failures - failures * share
        self._votes += 1
        self._seen = _FADING * self._seen + vote
        self._expected = _FADING * self._expected + failures * (if_full - share)
        by_chance = failures * share * (1.0 - share)
        self._variance = _FADING * _FADING * self._variance + max(vote * vote, by_chance)
        self._lean *= _FADING
        self._judge()

    def describe(self) -> str:
        """Say what fell where."""
        return (
            f"{self.high_failures:.0f} of {self.high_attempts:.0f} at more load, "
            f"{self.low_failures:.0f} of {self.low_attempts:.0f} at less"
        )

    def _note_spread(self, half: Half, share_failed: float) -> None:
        n = float(half.successes + half.failures)
        if n:
            p = min(0.98, max(0.02, share_failed))
            off = half.failures - n * p
            self._dispersion += 0.1 * (off * off / (n * p * (1.0 - p)) - self._dispersion)

    def _judge(self) -> None:
        if self._variance >= 1.0:
            self._believe((self._seen - 0.5 * self._expected) * self._expected / self._variance + self._lean)

    def _believe(self, odds: float) -> None:
        self.odds = odds
        self.value = 1.0 / (1.0 + math.exp(max(-20.0, min(20.0, -odds))))
