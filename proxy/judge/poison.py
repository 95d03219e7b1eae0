"""Requests that always fail: those whose calls used up their tries while other calls went well.

The upstream's own answer went to the app each time; here the operator finds which pages they are. At most ``MOST`` are kept,
the least recently seen goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from proxy.base.outcomes import AttemptOutcome

MOST: Final = 256


class Poison:
    """One such request. Times are monotonic seconds, ``attempts`` the sum over all its calls, ``status`` 0 without one."""

    __slots__ = ("attempts", "count", "first_at", "last_at", "method", "reason", "status", "target")

    def __init__(self, method: str, target: str, first_at: float) -> None:
        self.method = method
        self.target = target
        self.first_at = first_at
        self.last_at = first_at
        self.count = 0
        self.attempts = 0
        self.status = 0
        self.reason = ""

    def __repr__(self) -> str:
        return f"<Poison {self.method} {self.target} {self.status} {self.reason} {self.count} times>"


class PoisonRecord:
    """The bounded record. Targets come redacted: the record must not know secrets either."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._by_request: OrderedDict[tuple[str, str], Poison] = OrderedDict()

    def note(self, method: bytes, target: str, outcome: AttemptOutcome, attempts: int) -> None:
        """Note a call that was given up after so many attempts; ``outcome`` is that of the last."""
        key = (method.decode("latin-1"), target)
        poison = self._by_request.get(key)
        if poison is None:
            poison = self._by_request[key] = Poison(key[0], target, outcome.ended_at)
            if len(self._by_request) > self._most:
                self._by_request.popitem(last=False)
        self._by_request.move_to_end(key)
        poison.last_at = outcome.ended_at
        poison.count += 1
        poison.attempts += attempts
        poison.status = outcome.status
        poison.reason = outcome.reason.value

    def latest_first(self) -> list[Poison]:
        """Return all of them, the most recently seen first."""
        return list(reversed(self._by_request.values()))

    def __repr__(self) -> str:
        return f"<PoisonRecord of {len(self._by_request)}>"
