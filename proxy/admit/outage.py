"""The outage gate: when everything fails, callers are held, single probes test the water, and what follows is a slow start.

    open        closes after n failures in a row, n = max(6, 2 * limit, ln(1e-6) / ln(p))
    closed      one probe at a time; from the end of one to the start of the next
                min(2.5 s, max(1 s, 2 * latency) * 1.3^fails) * uniform(1, 1.3); where 2 * latency is more, that, up to 4 s
    slow start  2^(t / doubling) attempts in flight at most, t since it opened, doubling = max(50 ms, latency)

- A failure is what tells of the upstream (refused, timeout, 5xx, cut, …); what its caller gave up counts as neither,
  unless that had waited for long: ``Call.verdict``.
- ``limit`` is how many may be in flight, or lately were: twice as many failures, so that those of one moment, all sent before
  the first came back, are not enough.
- p is the usual share of failures (smoothed over 100 attempts, clamped to 0.1 … 0.8). An upstream that fails that often at
  random has n failures in a row once in a million attempts. Above 0.8 nobody can tell a bad upstream from a dead one.
- Any success opens, a probe's or that of an attempt still out from before. In the slow start, which lasts until it allows
  ``limit``, 3 failures in a row close it again.
- Counted from the end of a probe, two never start within a second, however quickly they are refused. One that is out still when
  the gate has opened without it and closed again is waited for.

Worked example: limit 4, p 0.1: closes at max(6, 8, 6) = 8 failures in a row. p 0.5: at 13.8 / 0.69, that is 20. Latency
100 ms: probes 1 … 1.3 s apart, 1.3 … 1.69 after the first failed one, 2.5 … 3.25 from the fourth on; then 1, 2, 4, 8 in flight
after 0, 100, 200, 300 ms.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Final

from proxy.base.outcomes import PROBE, AttemptOutcome

_FEWEST: Final = 6.0
_AGAIN: Final = 3.0
"""Failures in a row that close the gate in the slow start."""
_CHANCE: Final = math.log(1e-6)
_LONGEST: Final = 2.5
"""Longest pause between probes, in shortest ones: a quota may be used up again 5 s after it opens, before the next probe."""
_LONGEST_SLOW: Final = 4.0
"""The same where an answer takes longer than half of it."""
_GROWTH: Final = 1.3
_JITTER: Final = 1.3
_DOUBLING_S: Final = 0.05
_MOST_DOUBLINGS: Final = 30.0
_SHARE_SMOOTHING: Final = 0.01
_LATENCY_SMOOTHING: Final = 0.05


class OutageGate:
    """Open or closed. Pure: every ``now`` is monotonic seconds. ``notes`` are its decisions, (seconds, words), newest last.

    ``latency`` is a success's usual one in seconds, ``failing`` the usual share of failures, ``probes`` how many there
    were since it last closed, ``ramp_from`` when it last opened, ``spacing_s`` the shortest pause between two probes.
    """

    def __init__(self, *, rng: random.Random, spacing_s: float = 1.0) -> None:
        self._rng = rng
        self.spacing_s = spacing_s
        self.is_off = False
        """Whether failures never close it; what closed it before is over with the next outcome."""
        self.is_closed = False
        self.closed_at = 0.0
        self.ramp_from = -math.inf
        self.latency = 0.1
        self.failing = 0.0
        self.failures = 0
        self.probes = 0
        self.notes: deque[tuple[float, str]] = deque(maxlen=200)
        self._last: AttemptOutcome | None = None
        self._doubling_s = _DOUBLING_S
        self._is_probing = False
        self._probe_at = 0.0
        self._failed_probes = 0
        self._next_probe = 0.0
        self._successes = 0

    def threshold(self, limit: float) -> float:
        """Return how many failures in a row close it outside the slow start; ``limit`` is in attempts."""
        share = min(0.8, max(0.1, self.failing))
        return max(_FEWEST, 2.0 * limit, _CHANCE / math.log(share))

    def next_start_s(self, now: float) -> float:
        """Return how long until somebody may start: 0.0 while open or when a probe is due, infinity while one is out."""
        if not self.is_closed:
            return 0.0
        return math.inf if self._is_probing else max(0.0, self._next_probe - now)

    def most(self, now: float) -> float:
        """Return how many attempts the slow start allows in flight; beyond any limit once it is long over."""
        return float(2.0 ** min(_MOST_DOUBLINGS, (now - self.ramp_from) / self._doubling_s))

    def next_more_s(self, now: float) -> float:
        """Return how long until the slow start allows one more, in seconds."""
        more = math.floor(self.most(now)) + 1.0
        return max(0.0, self.ramp_from + self._doubling_s * math.log2(more) - now)

    def on_start(self, now: float) -> None:
        """An attempt starts; while closed it is the probe."""
        if self.is_closed:
            self._is_probing = True
            self._probe_at = now
            self.probes += 1

    def on_outcome(
        self,
        now: float,
        started_at: float,
        succeeded: bool,
        limit: float,
        outcome: AttemptOutcome | None = None,
    ) -> str:
        """Take in how an attempt went; return "closed" or "opened" when that changes the state, else "".

        ``outcome`` tells a probe from an attempt that was out before; without it the time of its start does.
        """
        is_probe = self._is_probing and self._ends_probe(started_at, outcome)
        if self.is_off and not succeeded:
            self._last = outcome
            return self._open(now, started_at) if self.is_closed else ""
        if succeeded:
            self.failures = 0
            self.failing -= _SHARE_SMOOTHING * self.failing
            self._note_latency(now - started_at if outcome is None else outcome.latency_s)
            return self._open(now, started_at) if self.is_closed else ""
        self._last = outcome
        if self.is_closed:
            if is_probe:
                self._failed_probes += 1
                self._plan_probe(now)
            return ""
        self.failures += 1
        is_slow_start = self.most(now) < limit
        if self.failures >= (_AGAIN if is_slow_start else self.threshold(limit)):
            self._close(now, is_slow_start)
            return "closed"
        self.failing += _SHARE_SMOOTHING * (1.0 - self.failing)
        return ""

    def on_ignored(self, now: float, started_at: float) -> None:
        """A probe ended and told nothing: its caller left, or its page is known to fail."""
        if started_at >= self._probe_at:
            self._is_probing = False
            if self.is_closed:
                self._plan_probe(now)

    def _ends_probe(self, started_at: float, outcome: AttemptOutcome | None) -> bool:
        """Note the end of the probe that is out, if this is it: an earlier one, whose answer streamed, may end meanwhile."""
        if outcome is None:
            is_it = started_at == self._probe_at
        else:
            is_it = outcome.kind == PROBE and started_at >= self._probe_at
        self._is_probing = not is_it
        return is_it

    def last_failure(self) -> str:
        """Return what went wrong last, in words; "" before the first failure."""
        return "" if self._last is None else _words(self._last)

    def _note_latency(self, took_s: float) -> None:
        self._successes = min(20, self._successes + 1)
        self.latency += max(_LATENCY_SMOOTHING, 1.0 / self._successes) * (took_s - self.latency)

    def _close(self, now: float, is_slow_start: bool) -> None:
        self.is_closed = True
        self.closed_at = now
        count, self.failures = self.failures, 0
        self.probes = self._failed_probes = 0
        self._plan_probe(now)
        where = " of the slow start" if is_slow_start else ""
        last = f", the last: {_words(self._last)}" if self._last is not None else ""
        self.notes.append((now, f"closed: {count} failures in a row{where}{last}"))

    def _open(self, now: float, started_at: float) -> str:
        self.is_closed = False
        self.ramp_from = now
        self._doubling_s = max(_DOUBLING_S, self.latency)
        probes = "1 probe" if self.probes == 1 else f"{self.probes} probes"
        whose = ", by an attempt from before" if started_at < self.closed_at else ""
        self.notes.append((now, f"open again after {probes} in {now - self.closed_at:.1f} s{whose}"))
        return "opened"

    def _plan_probe(self, now: float) -> None:
        shortest_s = max(self.spacing_s, min(_LONGEST_SLOW * self.spacing_s, 2.0 * self.latency))
        longest_s = max(_LONGEST * self.spacing_s, shortest_s)
        spacing_s = min(longest_s, shortest_s * _GROWTH ** min(20, self._failed_probes))
        self._next_probe = now + spacing_s * self._rng.uniform(1.0, _JITTER)

    def __repr__(self) -> str:
        if self.is_closed:
            return f"<OutageGate closed, {self.probes} probes>"
        return f"<OutageGate open, {self.failures} failures in a row>"


def _words(outcome: AttemptOutcome) -> str:
    """Return what went wrong in a few words: the reason, the status or the start of the error, and where."""
    detail = str(outcome.status) if outcome.status else outcome.error[:120]
    where = f"at {outcome.address}" if outcome.address else ""
    return " ".join(word for word in (outcome.reason.value, detail, where) if word)
