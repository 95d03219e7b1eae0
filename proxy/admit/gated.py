"""A concurrency limit behind an outage gate: while the gate is closed it alone says who may start, one at a time.

The gate itself is in ``outage``; here a limit is put behind it. Open and past its slow start it costs a plain limit nothing
before an attempt: ``is_plain`` is true then, and changes only in ``on_outcome`` and ``next_start_s``.
"""

from __future__ import annotations

import math
from typing import Final

from proxy.admit.limit import UNLIMITED, Limit
from proxy.admit.outage import OutageGate
from proxy.base.outcomes import PROBE, AttemptOutcome, Verdict

_PEAK_S: Final = 10.0
"""The recent peak in flight is that of the last one to two of these."""


class GatedLimit:
    """``inner`` behind ``gate``; behind no gate it is as it is."""

    def __init__(self, limit: Limit, gate: OutageGate | None) -> None:
        self.gate = gate
        self.is_closed = False
        self.closed_at = 0.0
        self._is_slow = False
        self._closed_s = 0.0
        self._peak = 0
        self._peak_before = 0
        self._peak_until = 0.0
        self._put(limit)

    def wrap(self, limit: Limit, now: float, inflight: int) -> None:
        """Put another limit behind the gate; it is told of those under way, whose ends it will hear, and of the gate."""
        self._put(limit)
        if not limit.is_plain:
            for _ in range(inflight):
                limit.on_start(now)
        if self.is_closed:
            limit.on_gate(True, now)

    @property
    def nominal(self) -> float:
        """Attempts that may be under way over time, more than 0."""
        return self.inner.nominal

    @property
    def usual_s(self) -> float:
        """The usual latency of a success in seconds; 0.0 behind no gate."""
        return self.gate.latency if self.gate is not None else 0.0

    def _put(self, limit: Limit) -> None:
        self.inner = limit
        self.value = limit.value
        self.is_plain = limit.is_plain and not self.is_closed and not self._is_slow

    def next_start_s(self, now: float) -> float:
        """Bring ``value`` up to date; 0.0 when an attempt may start now, slots permitting, else when to ask again."""
        inner = self.inner
        pause_s = inner.next_start_s(now)
        self.value = inner.value
        gate = self.gate
        if gate is None:
            return pause_s
        if self.is_closed:
            if inner.is_plain:
                return gate.next_start_s(now)
            self.value = inner.probes  # slots that are out or cool would keep the probe waiting
            # The rate of a lease holds for probes as well.
            return max(pause_s if self.value < UNLIMITED else 0.0, gate.next_start_s(now))
        if self._is_slow:
            most = gate.most(now)
            if most < self.nominal:
                self.value = min(self.value, int(most))
            else:
                self._is_slow = False
                self.is_plain = inner.is_plain
        return pause_s

    def next_change_s(self, now: float) -> float:
        """Return when ``value`` may change by time alone; infinity when only outcomes change it."""
        if self.is_closed:
            return math.inf
        change_s = self.inner.next_change_s(now)
        gate = self.gate
        if gate is not None and self._is_slow:
            return min(change_s, gate.next_more_s(now))
        return change_s

    def on_start(self, now: float) -> None:
        """An attempt starts; the probe while the gate is closed."""
        if not self.inner.is_plain:
            self.inner.on_start(now)
        gate = self.gate
        if gate is not None and self.is_closed:
            gate.on_start(now)

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        """Learn from one finished attempt."""
        self.inner.on_outcome(outcome, verdict)
        gate = self.gate
        if gate is None:
            return
        now = outcome.ended_at
        if verdict is Verdict.IGNORE:
            if outcome.kind == PROBE:
                gate.on_ignored(now, outcome.started_at)
            return
        if outcome.inflight > self._peak or now >= self._peak_until:
            self._note_peak(outcome.inflight, now)
        succeeded = verdict is Verdict.SUCCESS
        limit = 0.0 if succeeded else min(self.nominal, float(max(self._peak, self._peak_before)))
        change = gate.on_outcome(now, outcome.started_at, succeeded, limit, outcome)
        if change:
            self._turn(change == "closed", now)

    def on_answered(self, outcome: AttemptOutcome) -> None:
        """The head of an answer that streams is in while the gate is closed: that opens it, the body may take minutes.

        The limit behind hears of a success and of a start, so that the attempt's end is one end still.
        """
        now = outcome.ended_at
        self.on_outcome(outcome, Verdict.SUCCESS)
        if not self.inner.is_plain:
            self.inner.on_start(now)

    def closed_s(self, now: float) -> float:
        """Return how long the gate has been closed in all, in seconds: the difference of two is how much of a wait was that."""
        return self._closed_s + now - self.closed_at if self.is_closed else self._closed_s

    def next_probe_s(self, now: float) -> float:
        """Return how long until somebody may probe, as far as can be told; 0.0 while the gate is open or when it is due."""
        gate = self.gate
        if gate is None or not self.is_closed:
            return 0.0
        pause_s = gate.next_start_s(now)
        return 1.0 if pause_s == math.inf else pause_s

    def last_failure(self) -> str:
        """Return what the gate saw go wrong last, in words; "" behind no gate or before the first failure."""
        return self.gate.last_failure() if self.gate is not None else ""

    def _note_peak(self, inflight: int, now: float) -> None:
        if now >= self._peak_until:
            is_recent = now < self._peak_until + _PEAK_S
            self._peak_before = self._peak if is_recent else 0
            self._peak = 0
            self._peak_until = now + _PEAK_S
        self._peak = max(self._peak, inflight)

    def _turn(self, is_closed: bool, now: float) -> None:
        if is_closed:
            self.closed_at = now
        else:
            self._closed_s = self.closed_s(now)
        self.is_closed = is_closed
        self._is_slow = not is_closed
        self.is_plain = False
        self.inner.on_gate(is_closed, now)

    def __repr__(self) -> str:
        return f"<GatedLimit {self.inner!r} behind {self.gate!r}>"
