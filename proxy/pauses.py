"""The pause between two tries: for the retry budget, then for the upstream's sake. A sidecar that stops ends all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from proxy.base.outcomes import AttemptOutcome
from proxy.base.reasons import Reason
from proxy.judge.retry import RetryPolicy, Why


class RetryObserver(Protocol):
    """Hears of retries."""

    def retried(self, reason: Reason) -> None:
        """A retry was decided."""

    def retry_denied(self, why: str) -> None:
        """A failure stands, for this reason."""


class Pauses:
    """The pauses that calls are in. ``is_over`` says that there will be no other."""

    def __init__(self, observer: RetryObserver, monotonic: Callable[[], float]) -> None:
        self._observer = observer
        self._monotonic = monotonic
        self._under_way: set[asyncio.Timeout] = set()
        self.is_over = False

    def end(self) -> None:
        """The sidecar stops: whoever pauses is woken, and nobody pauses again."""
        self.is_over = True
        for pause in self._under_way:
            pause.reschedule(0.0)

    async def wait(
        self, policy: RetryPolicy, outcome: AttemptOutcome, tries: int, deadline: float, *, is_strict: bool
    ) -> bool:
        """Wait until another try may follow the last of ``tries``; False where none may before ``deadline``, or at a stop.

        ``is_strict``: nothing else bounds the retries, so an empty budget is waited for.
        """
        pause_s = policy.pause_s(tries, outcome)
        if self._monotonic() + pause_s >= deadline:
            self._observer.retry_denied(Why.DEADLINE)
            return False
        pause = asyncio.timeout(0.0 if self.is_over else None)
        try:
            async with pause:
                self._under_way.add(pause)
                if not await policy.budget_by(deadline - pause_s, self._monotonic, is_strict=is_strict):
                    self._observer.retry_denied(Why.BUDGET)
                    return False
                self._observer.retried(outcome.reason)
                await asyncio.sleep(pause_s)
            return True
        except TimeoutError:
            return False
        finally:
            self._under_way.discard(pause)

    def __repr__(self) -> str:
        return f"<Pauses {len(self._under_way)} under way>"
