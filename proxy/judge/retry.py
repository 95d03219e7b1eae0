"""Again, or is that the answer? The rules, in the order in which they speak."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from enum import Enum, StrEnum

from proxy.base.outcomes import AttemptOutcome
from proxy.base.reasons import NOTHING_WAS_SENT, Reason
from proxy.judge.backoff import pause_s
from proxy.judge.budget import RetryBudget
from proxy.judge.classify import Classifier
from proxy.judge.retry_after import parse_retry_after
from proxy.wire.response import Response


class Why(StrEnum):
    """Why a failed attempt is not followed by another: the label of ``sidegate_retry_denied_total``."""

    ATTEMPTS = "attempts"
    BUDGET = "budget"
    METHOD = "method"
    BODY = "body"
    DEADLINE = "deadline"


class Decision(Enum):
    """What follows an attempt."""

    FINAL = "final"
    AGAIN = "again"
    AGAIN_FRESH = "again at once on a fresh connection"
    HELD = "again when the outage is over"


class RetryPolicy:
    """One route's rules. Pure but for the budget, which counts and may have to be waited for."""

    def __init__(
        self,
        classifier: Classifier,
        budget: RetryBudget,
        *,
        attempts: int,
        methods: frozenset[bytes],
        base_s: float,
        max_s: float,
        rng: random.Random,
        wall: Callable[[], float],
        heeds_pauses: bool = True,
    ) -> None:
        self._heeds_pauses = heeds_pauses
        self.classifier = classifier
        self.reads_bodies = classifier.reads_bodies
        self.budget = budget
        self._turn = asyncio.Lock()
        self.attempts = attempts
        self._methods = methods
        self._base_s = base_s
        self._max_s = max_s
        self._rng = rng
        self._wall = wall

    def is_repeatable(self, method: bytes, has_idempotency_key: bool) -> bool:
        """Whether a request may be sent twice (RFC 9110 §9.2.2, or the app's own word for it)."""
        return method in self._methods or has_idempotency_key

    def read(self, outcome: AttemptOutcome, response: Response) -> None:
        """Complete an outcome: what its answer means, and how long the upstream asks for patience."""
        self.classifier.read_status(outcome, response)
        if outcome.status == 408 and outcome.uses and not response.head.keep_alive:
            # RFC 9110 §15.5.9: said of the idle connection, before the request came.
            outcome.reason = Reason.STALE_CONNECTION
        if (
            response.head.retry_after is not None
            and self._heeds_pauses
            and outcome.reason is Reason.UPSTREAM_STATUS
        ):
            outcome.retry_after_s = parse_retry_after(response.head.retry_after, self._wall)

    def why_not(
        self, outcome: AttemptOutcome, *, tries: int, allowed: int, repeatable: bool, replayable: bool
    ) -> Why | None:
        """Return what forbids another try after ``tries``, None when nothing does. For failures worth retrying."""
        if tries >= allowed:
            return Why.ATTEMPTS
        if outcome.reason in NOTHING_WAS_SENT:
            return None
        if not repeatable:
            return Why.METHOD
        return None if replayable else Why.BODY

    def may_replay_stale(self, outcome: AttemptOutcome, *, repeatable: bool, replayable: bool) -> bool:
        """Whether a connection that died without an answer byte gives the right to one more try, beside the others.

        A reused connection that the upstream closed as the request was on its way is nobody's failure.
        """
        return outcome.reason is Reason.STALE_CONNECTION and repeatable and replayable

    async def budget_by(
        self, deadline: float, monotonic: Callable[[], float], *, is_strict: bool = True
    ) -> bool:
        """Count a retry against the budget; False when it may not be before ``deadline``.

        An empty budget is waited for, in the order of arrival, where nothing else bounds the retries (``is_strict``). Behind a
        concurrency limit, which bounds all attempts, it only spaces them out: by a tenth of its window at most.
        """
        now = monotonic()
        if not self._turn.locked() and self.budget.try_spend(now):
            return True
        if not is_strict:
            wait_s = self.budget.wait_s(now)
            if now + wait_s >= deadline:
                return False
            await asyncio.sleep(wait_s)
            self.budget.overspend(monotonic())
            return True
        try:
            async with asyncio.timeout(deadline - monotonic()), self._turn:
                while not self.budget.try_spend(now := monotonic()):  # noqa: ASYNC110 - time is what is waited for
                    await asyncio.sleep(self.budget.wait_s(now))
        except TimeoutError:
            return False
        return True

    def pause_s(self, retry: int, outcome: AttemptOutcome) -> float:
        """Return how long to wait before retry number ``retry``, in seconds; never less than the upstream asked for."""
        pause = pause_s(retry, base_s=self._base_s, max_s=self._max_s, rng=self._rng)
        return max(pause, outcome.retry_after_s or 0.0)
