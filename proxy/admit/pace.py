"""A rate learned from an upstream that stops altogether and comes back, again and again: that is what a quota does.

A limit on what is in flight turns a quota of 1000 in 10 s into a burst and a stop. What was carried from one opening of the gate
to the next is the quota's share of this pod, so the pace is that over the time in between. Whether it is a quota shows in the
count: two stretches in a row that carried about as much. An outage ends a stretch of any length.

    pace = carried / seconds * 2^(t / 5 s)                    after the first stretch, until that is as fast as it was at best
    pace = 0.98 * carried / seconds, over two stretches        when they agree within a factor of 2.5, or
                                                            the pace is over a tenth of the best 15 s
    later: pace = start * (1 + 0.02 * (t / scale)^2)          scale: the stretch, at least 20 s

The first is a trial: after an outage it costs a few seconds, and a quota that would be used up in 5 s lasts for 15, so that no
pod misses the opening between two of its probes and waits for the next. Who waited for the opening need not wait for the pace
as well: in its first 3 s a tenth of a stretch's calls, a fifth in a trial, may start beyond the pace, and the rest of the stretch
goes so much slower. A cut takes a quarter at most. The pace goes when it has tripled without an objection, or when it was twice
no help. Worked example: 120 calls of a pod went through in the 60 s between two openings, and 131 in the 60 s before: 0.98 * 251
/ 120 = 2.05/s; a minute later 2.09/s.
"""

from __future__ import annotations

import math
from typing import Final

_SAFE: Final = 0.98
_AFTER_CUT: Final = 0.96
_AGREE: Final = math.log(2.5)
_SHORTEST_S: Final = 3.0
_LONGEST_S: Final = 300.0
_BURST_S: Final = 0.15
_WINDOW_S: Final = 15.0
_BEST_FADES: Final = 0.98
_LEAST_SHARE: Final = 0.1
_LEAST_LEFT: Final = 0.75
_TRIFLE: Final = 0.03
_LEAST_CARRIED: Final = 20
_OPENING_S: Final = 3.0
_OPENING_SHARE: Final = 0.1
_TRIAL_SHARE: Final = 0.2
_DOUBLES_S: Final = 5.0
_MOST_DOUBLINGS: Final = 50.0
_LEAST_TRIAL_S: Final = 8.0


class Pace:
    """The learned rate, in attempts a second; 0.0 is none."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._is_told = False
        self._has_held = False
        self._start_rate = 0.0
        self._since = 0.0
        self._scale_s = 20.0
        self._next_at = 0.0
        self._is_trial = False
        self._goal = 0.0
        self._spare = 0
        self._spare_until = 0.0
        self._owed = 0
        self._stretch_s = 0.0
        self._opened_at = -1.0
        self._carried = 0
        self._carried_before = 0
        self._stretch_before_s = 0.0
        self._best = 0.0
        self._in_window = 0
        self._window_end = 0.0
        self._misses = 0
        self._barred_until = -math.inf
        self._barred_s = 300.0

    def wait_s(self, now: float) -> float:
        """Return how long until the next attempt may start."""
        if not self.rate or now >= self._next_at or (self._spare and now < self._spare_until):
            return 0.0
        self._has_held = True
        return self._next_at - now

    def has_held(self) -> bool:
        """Return whether anybody had to wait for the rate since this was last asked."""
        held, self._has_held = self._has_held, False
        return held

    def follow(self, now: float, rate: float) -> None:
        """Go by a rate that somebody else found; 0.0 ends it."""
        self._is_told = rate > 0.0
        self.rate = 0.0
        self._is_trial = False
        self._spare = self._owed = 0
        if self._is_told:
            self._set(now, rate)

    def on_start(self, now: float, faster: float = 1.0) -> None:
        """An attempt starts, in a half in which they do so ``faster`` times as fast."""
        if not self.rate:
            return
        if now < self._next_at and self._spare and now < self._spare_until:
            self._spare -= 1
            self._owed += 1
            return
        rate = self.rate * faster
        if self._owed and now < self._since + self._stretch_s:
            rate = max(0.5 * rate, rate - self._owed / self._stretch_s)
        self._next_at = max(self._next_at, now - _BURST_S) + 1.0 / rate

    def on_success(self, now: float) -> None:
        """One was carried."""
        self._carried += 1
        if self._opened_at < 0.0:
            self._opened_at = now
        if now >= self._window_end:
            self._best = max(self._best * _BEST_FADES, self._in_window / _WINDOW_S)
            self._in_window = 0
            self._window_end = now + _WINDOW_S
        self._in_window += 1

    def grow(self, now: float) -> str:
        """Raise the rate with time; return what there is to say."""
        if not self.rate or self._is_told:
            return ""
        if self._is_trial:
            self.rate = self._start_rate * 2.0 ** min(_MOST_DOUBLINGS, (now - self._since) / _DOUBLES_S)
            if self.rate > self._goal:
                self._is_trial = False
                self.rate = 0.0
            return ""
        age = (now - self._since) / self._scale_s
        self.rate = self._start_rate * (1.0 + 0.02 * age * age)
        if self.rate <= 3.0 * self._start_rate:
            return ""
        self.rate = 0.0
        return "pacing ends: the rate tripled without an objection"

    def cut(self, now: float, ok_per_s: float) -> None:
        """Failures say it is too much: go back to what succeeded."""
        self._spare = 0
        if self.rate and not self._is_trial and not self._is_told:
            self._set(now, max(_AFTER_CUT * ok_per_s, _LEAST_LEFT * self.rate))

    def on_open(self, now: float) -> str:
        """The gate opens again: learn from the stretch that ended; return what there is to say."""
        stretch_s = now - self._opened_at
        if self._opened_at >= 0.0 and stretch_s <= _SHORTEST_S:
            return ""  # it had not opened for good
        carried, before, before_s = self._carried, self._carried_before, self._stretch_before_s
        self._opened_at = self._since = now
        self._carried_before, self._stretch_before_s = carried, stretch_s
        self._carried = 0
        if self._is_trial:
            self._is_trial = False
            self.rate = 0.0
        if stretch_s > _LONGEST_S or now < self._barred_until:
            return ""
        if not before_s or before_s > _LONGEST_S:
            return self._try(now, carried, stretch_s)
        rate = (carried + before) / (stretch_s + before_s)
        if not self._is_quota(carried, before, rate):
            return ""
        if self.rate and rate < 0.8 * self._start_rate:
            self._misses += 1
            if self._misses >= 2:
                return self._give_up(now)
        else:
            self._misses = 0
        self._set(now, _SAFE * rate)
        self._scale_s = max(20.0, stretch_s)
        self._spare_some(now, stretch_s, _OPENING_SHARE)
        return (
            f"pace {self.rate:.2f}/s: {before} and {carried} attempts went well in the {before_s:.0f} and "
            f"{stretch_s:.0f} s before the upstream opened again"
        )

    def _try(self, now: float, carried: int, stretch_s: float) -> str:
        """Begin slowly: one stretch says how much a quota would allow, if it is one."""
        if carried < _LEAST_CARRIED or stretch_s < _LEAST_TRIAL_S:
            return ""
        self._is_trial = True
        self._set(now, carried / stretch_s)
        self._goal = max(self._best, 4.0 * self.rate)
        self._spare_some(now, stretch_s, _TRIAL_SHARE)
        return f"begins at {self.rate:.2f}/s, as on average since the last opening, and twice as fast every {_DOUBLES_S:.0f} s"

    def _spare_some(self, now: float, stretch_s: float, share: float) -> None:
        """Let who waited for the opening start beyond the rate; the next ``stretch_s`` pay for it."""
        self._stretch_s = stretch_s
        self._spare = int(share * self.rate * stretch_s)
        self._spare_until = now + _OPENING_S
        self._owed = 0

    def _is_quota(self, carried: int, before: int, rate: float) -> bool:
        """Whether the stretches look like a quota's: no trifle, and as much as before or no small part of the best."""
        if carried + before < _LEAST_CARRIED or rate < _TRIFLE * self._best:
            return False
        agrees = min(before, carried) > 0 and abs(math.log(carried / before)) < _AGREE
        return agrees or rate > _LEAST_SHARE * self._best

    def _give_up(self, now: float) -> str:
        self._misses = 0
        self.rate = 0.0
        self._barred_until = now + self._barred_s
        self._barred_s *= 2.0
        return "pacing ends: it was no help, so it is not the volume that fails"

    def _set(self, now: float, rate: float) -> None:
        self.rate = self._start_rate = max(rate, 0.05)
        self._since = now
        self._next_at = min(self._next_at, now + 1.0 / self.rate)
