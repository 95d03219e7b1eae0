"""How many retries there may be for the first tries there are, over a sliding window.

    allowed = ratio * first tries in the window + floor_per_s * window
    a retry may be decided while retries decided in the window < allowed

Counted when decided, not when sent: a thousand failures at once must not all pass while they back off. The window is cut into
ten slots, so the count is exact to a tenth of it. Source: Finagle's RetryBudget, with time in place of tokens that expire.

Without room a retry waits. With no concurrency limit there is nothing else that bounds a storm of retries, and it waits until
there is room. Behind one the budget only spaces retries out: a retry waits until the oldest slot has left the window, a
tenth of it at most, and is then counted whether there is room or not. A pod behind an upstream that fails 30 % of all
attempts needs 0.43 retries a page, and would otherwise be throttled by its budget instead of by what the upstream bears.

Worked example: ratio 0.2, floor 1/s, window 10 s. 100 first tries in the window allow 0.2 * 100 + 1 * 10 = 30 retries.
"""

from __future__ import annotations

_SLOTS = 10


class RetryBudget:
    """Counts first tries and retries of the last ``window_s`` seconds."""

    __slots__ = ("_firsts", "_floor", "_index", "_ratio", "_retries", "_slot_end", "_slot_s")

    def __init__(self, *, ratio: float, floor_per_s: float, window_s: float, now: float) -> None:
        self._ratio = ratio
        self._floor = max(1.0, floor_per_s * window_s)
        self._slot_s = window_s / _SLOTS
        self._slot_end = now + self._slot_s
        self._index = 0
        self._firsts = [0] * _SLOTS
        self._retries = [0] * _SLOTS

    def note_first_try(self, now: float) -> None:
        """Count a first try."""
        if now >= self._slot_end:
            self._turn_to(now)
        self._firsts[self._index] += 1

    def try_spend(self, now: float) -> bool:
        """Count one retry if the budget has room for it; whether it had."""
        if now >= self._slot_end:
            self._turn_to(now)
        if sum(self._retries) + 1 > self._ratio * sum(self._firsts) + self._floor:
            return False
        self._retries[self._index] += 1
        return True

    def overspend(self, now: float) -> None:
        """Count one retry that goes ahead whether there is room or not."""
        if now >= self._slot_end:
            self._turn_to(now)
        self._retries[self._index] += 1

    def wait_s(self, now: float) -> float:
        """Return when it is worth asking again: when the oldest slot leaves the window, a tenth of it at most."""
        return max(0.0, self._slot_end - now) + 0.001

    def _turn_to(self, now: float) -> None:
        passed = min(_SLOTS, 1 + int((now - self._slot_end) / self._slot_s))
        for _ in range(passed):
            self._index = (self._index + 1) % _SLOTS
            self._firsts[self._index] = self._retries[self._index] = 0
        self._slot_end += self._slot_s * (1 + int((now - self._slot_end) / self._slot_s))

    def __repr__(self) -> str:
        return f"<RetryBudget {sum(self._retries)} retries for {sum(self._firsts)} first tries>"
