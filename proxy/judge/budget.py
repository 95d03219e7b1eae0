"""How many retries there may be for the first tries there are, over a sliding window.

    allowed = ratio * first tries in the window + floor_per_s * window
    a retry may be decided while retries decided in the window < allowed

Counted when decided, not when sent: a thousand failures at once must not all pass while they back off. The window is cut into
ten slots, so the count is exact to a tenth of it. Source: Finagle's RetryBudget, with time in place of tokens that expire.

Worked example: ratio 0.2, floor 1/s, window 10 s. 100 first tries in the window allow 0.2 * 100 + 1 * 10 = 30 retries.
"""

from __future__ import annotations

from collections.abc import Callable

_SLOTS = 10


class RetryBudget:
    """Counts first tries and retries of the last ``window_s`` seconds."""

    __slots__ = ("_firsts", "_floor", "_monotonic", "_ratio", "_retries", "_slot", "_slot_s")

    def __init__(
        self, *, ratio: float, floor_per_s: float, window_s: float, monotonic: Callable[[], float]
    ) -> None:
        self._ratio = ratio
        self._floor = max(1.0, floor_per_s * window_s)
        self._slot_s = window_s / _SLOTS
        self._monotonic = monotonic
        self._firsts = [0] * _SLOTS
        self._retries = [0] * _SLOTS
        self._slot = int(monotonic() / self._slot_s)

    def note_first_try(self, now: float) -> None:
        """Count a first try."""
        slot = int(now / self._slot_s)
        if slot != self._slot:
            self._turn_to(slot)
        self._firsts[slot % _SLOTS] += 1

    def try_spend(self, now: float) -> bool:
        """Count one retry if the budget has room for it; whether it had."""
        slot = int(now / self._slot_s)
        if slot != self._slot:
            self._turn_to(slot)
        if sum(self._retries) + 1 > self._ratio * sum(self._firsts) + self._floor:
            return False
        self._retries[slot % _SLOTS] += 1
        return True

    def wait_s(self, now: float) -> float:
        """Return when it is worth asking again: when the oldest slot leaves the window."""
        return self._slot_s - now % self._slot_s + 0.001

    def _turn_to(self, slot: int) -> None:
        for passed in range(max(self._slot + 1, slot - _SLOTS + 1), slot + 1):
            self._firsts[passed % _SLOTS] = self._retries[passed % _SLOTS] = 0
        self._slot = slot

    def __repr__(self) -> str:
        return f"<RetryBudget {sum(self._retries)} retries for {sum(self._firsts)} first tries>"
