"""Too many failures: when to cut, and how high to come back. A CUSUM alarm, and CUBIC's memory of where it hurt.

    s += ln((1 - p1) / (1 - p0)) on a success, ln(p1 / p0) on a failure, never below 0; alarm when s > 5.45
    p0 = base + 0.10        the share of failures that is borne; base + 0.03 while paced
    p1 = max(2.5 p0, p0 + 0.15)

so it takes six failures in a row, or a few dozen attempts of which a third fail. An alarm cuts the limit by a fifth. In the 8 s
after, the limit comes back along a cubic towards the height ``top`` of the cut; beyond it, it may grow only as slowly as time
passes without a new one:

    t < 8 s:   top + 0.2 top ((t - 8) / 8)^3             later:   top (0.95 + 0.05 (t / knee)^3)

``knee`` is 10 s at first and longer each time it hurts at the same height, up to 40 s. A cut is also the moment to grow equal:
of a limit above 2.9, ``top`` is less by 0.2 (1 - 1.7 / sqrt(limit)), at most a tenth. Sources:
Page's CUSUM; CUBIC (RFC 9438).
"""

from __future__ import annotations

import math
from typing import Final

CUT: Final = 0.8
_HEIGHT: Final = 5.45
_LEVEL: Final = 0.2
_LEVELLED: Final = 0.1
_LEVEL_AT: Final = 1.7
_BORNE: Final = 0.10
_BORNE_PACED: Final = 0.03
_RECOVERY_S: Final = 8.0
_FIRST_KNEE_S: Final = 10.0
_LONGEST_KNEE_S: Final = 40.0


class Ceiling:
    """The alarm and the memory. Times are monotonic seconds, limits attempts in flight."""

    def __init__(self, now: float) -> None:
        self.top = math.inf
        self.cut_at = -math.inf
        """The latest alarm."""
        self.lowered_at = -math.inf
        """The latest alarm that cut the limit, rather than a rate."""
        self.before_cuts = 0.0
        """The limit before the first of the latest cuts."""
        self._knee_s = _FIRST_KNEE_S
        self._hold_until = now
        self._sum = 0.0

    def is_alarming(self, now: float, succeeded: bool, base: float, paced: bool) -> bool:
        """Count an attempt that began after the last cut; whether that is too many failures."""
        p0 = min(0.6, max(1.25 * base, base + (_BORNE_PACED if paced else _BORNE)))
        p1 = min(0.95, max(2.5 * p0, p0 + 0.15))
        if succeeded:
            self._sum = max(0.0, self._sum + math.log((1.0 - p1) / (1.0 - p0)))
            return False
        self._sum += math.log(p1 / p0)
        return self._sum > _HEIGHT and now >= self._hold_until

    def cut(self, now: float, limit: float, share_failed: float, lowest: float, latency_s: float) -> float:
        """Remember a cut from ``limit``; return how low it may go."""
        if now - self.lowered_at > 10.0:
            same = self.top * 0.75 < limit < self.top * 1.25
            self._knee_s = min(_LONGEST_KNEE_S, 1.5 * self._knee_s) if same else _FIRST_KNEE_S
            self.before_cuts = limit
            self.top = limit * (1.0 - min(_LEVELLED, _LEVEL * max(0.0, 1.0 - _LEVEL_AT / math.sqrt(limit))))
        elif limit < 0.98 * self.top and now - self.lowered_at > 4.0:
            self.top = 0.95 * limit
        self.lowered_at = now
        self.note_alarm(now, latency_s)
        return lowest if share_failed > 0.3 else 0.4 * self.before_cuts

    def note_alarm(self, now: float, latency_s: float) -> None:
        """Begin to count anew, once what is under way has ended."""
        self.cut_at = now
        self._hold_until = now + max(1.0, 2.0 * latency_s)
        self._sum = 0.0

    def restart(self, now: float, top: float) -> None:
        """Come back from an outage to what was carried before it."""
        self.top = self.before_cuts = top
        self.cut_at = self.lowered_at = self._hold_until = now
        self._sum = 0.0

    def recovery(self, now: float, limit: float) -> float:
        """Return where the limit is on its way back; itself when it is not on the way."""
        t = now - self.cut_at
        if limit >= self.top or self.top == math.inf or now < self._hold_until or t >= _RECOVERY_S:
            return limit
        target = self.top + self.top * (1.0 - CUT) * ((t - _RECOVERY_S) / _RECOVERY_S) ** 3
        return max(limit, min(limit * 1.04, target))

    def cap(self, now: float) -> float:
        """Return how high the limit may grow by now."""
        age = (now - self.cut_at) / self._knee_s
        return self.top * (0.95 + 0.05 * age * age * age) if self.top < math.inf else math.inf

    def is_recovering(self, now: float) -> bool:
        """Whether the last cut is so fresh that the limit is on its way back."""
        return now - self.cut_at < _RECOVERY_S
