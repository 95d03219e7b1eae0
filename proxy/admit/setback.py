"""An upstream that is suddenly much slower: is it too much for what is left of it, or slow whatever is asked?

A sixth of the usual answers come, each after six times as long, and none fails: either its work became dearer, and then to ask
for less is to get less; or it lost capacity and drowns in what is asked of it (locks, a cache that thrashes), and then to ask for
half is to get more. The experiment would take a minute to tell, for in its halves there is nearly nothing left to count. So ask:

    a half brings less than 0.38 of the usual answers per slot, and less than half of those before it      it is sudden
    and so does the next                                                                                  it lasts
    limit / 2, and once the crowd has drained, 2.5 s later at the earliest, 3 to 8 answers
    eta = 1 - ln(latency / latency before) / ln 0.5        1: it got no faster, so less is less; 0: half would do

    eta < 0.3         stay down
    eta < -0.3        and slowness is shown to be the load's, for a minute (``is_proven``). Half may not be little enough, but
                      now it is known how latency answers to the load: down to where it would be 1.1 of what was usual,
                      (latency / (1.1 usual))^(-1 / (1 - eta)) of the half, 0.5 at the least (``factor``)
    else              back up

Who is not held by its limit asks too, if its threads use up three quarters of it. All pods see it in the same halves and ask at
the end of the second, by the wall clock. Who asked waits 18 s before it asks again, then three times as long each time, up to 5
minutes: an upstream that does so by nature is not to be asked for ever.
Worked example: 0.75 s where 0.12 s were usual; at half the limit 0.19 s: eta = 1 - 1.95 = -0.95.
"""

from __future__ import annotations

import math
from typing import Final

from proxy.admit.experiment import Half
from proxy.admit.traffic import JITTER_S, elasticity_by_latency

DOWN: Final = 0.5
_SLOW: Final = 0.38
_SUDDEN: Final = 0.5
_EXPECTED: Final = 10.0
_SPANNED_S: Final = 0.8
_TARGET: Final = 1.1
_LEAST_FACTOR: Final = 0.5
_FAILING: Final = 0.15
_SMOOTHING: Final = 0.2
_SMOOTHING_SLOW: Final = 0.03
_HALF_WOULD_DO: Final = 0.3
_DROWNED: Final = -0.3
_DRAINED: Final = 1.8
_LEAST_S: Final = 2.5
"""Who is a half ahead of the others waits for them to ask as well."""
_ENOUGH: Final = 8
_FEW: Final = 3
_FIRST_GAP_S: Final = 6.0
_WIDER: Final = 3.0
_LONGEST_GAP_S: Final = 300.0
_PROVEN_S: Final = 60.0
_SHIFTED_DOWN: Final = 0.6
_SHIFTED_UP: Final = 1.6


class Setback:
    """What is usual, and the question while it is asked. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.is_on = False
        self.limit = 0.0
        """Where the question began."""
        self.began_at = 0.0
        self.elasticity = 0.0
        self.factor = 1.0
        """What to stay at, of the half."""
        self._is_slow = False
        self._is_sudden = False
        self._per_answer_s = 0.0
        self._per_slot = 0.0
        self._per_slot_before = 0.0
        self._usual_s = 0.0
        self._latest_s = 0.0
        self._since = 0.0
        self._before_s = 0.0
        self._ok = 0
        self._took_s = 0.0
        self._ended_at = -math.inf
        self._gap_s = _FIRST_GAP_S
        self._proven_until = -math.inf

    def note_answer(self, started_at: float, took_s: float) -> None:
        """A success."""
        self._latest_s += (0.3 if self._latest_s else 1.0) * (took_s - self._latest_s)
        if self.is_on and started_at > self._since:
            self._ok += 1
            self._took_s += took_s

    def note(self, half: Half) -> bool:
        """Take in a half that was held by the limit; whether latency has shifted from what was usual, no question being due."""
        self._is_slow = False
        if not half.is_clean or not half.was_used:
            return False
        if half.spanned_s > _SPANNED_S:
            self._note_rate(half)
        if half.successes < 5:
            return False
        mean_s = half.took_s / half.successes
        usual_s = self._usual_s or mean_s
        has_shifted = not _SHIFTED_DOWN < (mean_s + JITTER_S) / (usual_s + JITTER_S) < _SHIFTED_UP
        self._usual_s = mean_s if has_shifted else usual_s + _SMOOTHING * (mean_s - usual_s)
        return has_shifted and not self._is_sudden

    def _note_rate(self, half: Half) -> None:
        slots_s = half.spanned_s * half.limit
        rate = (half.successes + 0.5) / slots_s
        if rate < _SLOW * self._per_slot and self._per_slot * slots_s > _EXPECTED:
            fails = half.failures > _FAILING * half.successes + 1
            self._is_slow = self._is_sudden and not fails
            self._is_sudden = self._is_sudden or rate < _SUDDEN * self._per_slot_before
            self._per_answer_s = 1.0 / rate
            self._per_slot += _SMOOTHING_SLOW * (rate - self._per_slot)
        else:
            self._is_sudden = False
            self._per_slot += (_SMOOTHING if self._per_slot else 1.0) * (rate - self._per_slot)
        before = self._per_slot_before
        self._per_slot_before = 0.5 * (before + rate) if rate < before else rate

    def is_due(self, now: float) -> bool:
        """Whether to ask now."""
        return self._is_slow and now - self._ended_at > self._gap_s

    def begin(self, now: float, limit: float) -> None:
        """The limit is halved now, from ``limit``."""
        self.is_on = True
        self.limit = limit
        self.began_at = now
        self._is_sudden = False
        self._before_s = max(self._latest_s, self._per_answer_s)  # the slowest have not come back yet
        self._since = now + max(_LEAST_S, _DRAINED * self._before_s)
        self._ok = 0
        self._took_s = 0.0

    def has_answer(self, now: float) -> bool:
        """Whether enough came back, or nothing more is to be hoped for."""
        waited_s = now - self._since
        if self._ok >= _ENOUGH or (self._ok >= _FEW and waited_s > 2.0 + 1.5 * self._before_s):
            return True
        return waited_s > 8.0 + 3.0 * self._before_s

    def end(self, now: float) -> bool:
        """Return whether to stay down."""
        self.is_on = False
        is_again = now - self._ended_at < 2.0 * _LONGEST_GAP_S
        self._gap_s = min(_LONGEST_GAP_S, _WIDER * (self._gap_s if is_again else _FIRST_GAP_S))
        self._ended_at = now
        self.elasticity = 1.0
        self.factor = 1.0
        latency_s = self._took_s / max(1, self._ok)
        if self._ok:
            self.elasticity = elasticity_by_latency(latency_s, self._before_s, DOWN)
        if self.elasticity < _DROWNED:
            self._proven_until = now + _PROVEN_S
            slower = latency_s * self._per_slot / _TARGET
            if slower > 1.0:
                self.factor = max(_LEAST_FACTOR, slower ** (-1.0 / (1.0 - self.elasticity)))
        return self.elasticity < _HALF_WOULD_DO

    def is_proven(self, now: float) -> bool:
        """Whether slowness was shown to be the load's lately."""
        return now < self._proven_until
