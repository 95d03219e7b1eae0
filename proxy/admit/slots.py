"""Slots for a limit that is not a whole number, and that gives no new slot to who has just failed fast.

A limit of 2.4 is two slots that are always there and a third that may be in use four tenths of the time. The third keeps an
account in seconds: it earns ``part`` a second and pays one a second while it is used, and may be taken while it is not in debt.
Over time exactly 2.4 attempts are in flight, whatever the latencies. Below 1 it is the only slot, and the pod sends now and then.

An attempt that fails faster than others succeed keeps its slot cooling until it would have succeeded: else an upstream that
fails in 5 ms gets twenty times the attempts of one that answers in 100 ms, from the same limit. A slot that cools is paid for.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_LEAST_PART: Final = 0.02
_SAVED: Final = 0.1
_OWED: Final = 2.0


class Slots:
    """Whole and part-time slots, and who is cooling. ``now`` is monotonic seconds; ``usual_s`` an attempt's usual latency."""

    def __init__(self, now: float, limit: float) -> None:
        self.inflight = 0
        self.usual_s = 0.0
        self.at = now
        """Up to when the account is settled."""
        self._whole = 0
        self._part = 0.0
        self._account_s = 0.0
        self._cooling: deque[float] = deque()
        self.set_limit(limit)

    def set_limit(self, limit: float) -> None:
        """Put another limit in force; settle what accrued under the one before first."""
        self._whole = int(limit)
        part = limit - self._whole
        self._part = part if part >= _LEAST_PART else 0.0

    def settle(self, now: float) -> float:
        """Bring the account up to date; return the seconds since it was last."""
        passed_s = now - self.at
        if passed_s <= 0.0:
            return 0.0
        cooling = self._cooling
        while cooling and cooling[0] <= now:
            self._accrue(cooling[0])
            cooling.popleft()
        self._accrue(now)
        return passed_s

    def _accrue(self, now: float) -> None:
        """Bring the account up to ``now``; nobody came, went or was done cooling in between."""
        passed_s = now - self.at
        if passed_s <= 0.0:
            return
        self.at = now
        part = self._part
        if part:
            held = self.inflight + len(self._cooling)
            account = self._account_s + (part - 1.0 if held > self._whole else part) * passed_s
            self._account_s = min(max(account, -_OWED * self.usual_s / part), _SAVED * self.usual_s)

    def cool(self, until: float) -> None:
        """Keep a slot empty until then."""
        cooling = self._cooling
        index = len(cooling)
        while index and cooling[index - 1] > until:
            index -= 1
        cooling.insert(index, until)

    def open_slots(self, now: float) -> int:
        """Return how many attempts may be in flight now, 0 or more."""
        cooling = self._cooling
        while cooling and cooling[0] <= now:
            cooling.popleft()
        slots = self._whole - len(cooling)
        if self._part and (self._account_s >= 0.0 or self.inflight + len(cooling) > self._whole):
            slots += 1
        return slots if slots > 0 else 0

    def next_change_at(self, now: float) -> float:
        """Return when ``open_slots`` may next be more than it is, were nothing to end; infinity when never."""
        at = self._cooling[0] if self._cooling else float("inf")
        if self._part and self._account_s < 0.0:
            at = min(at, now - self._account_s / self._part)
        return at
