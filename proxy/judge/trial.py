"""One call before the judge: its tries so far, what each meant, and what follows.

A page that fails for the third time while five others went well is suspect: it tells of itself, not of the load. A call that
is suspect and has used up its tries goes on record as poison.
"""

from __future__ import annotations

from typing import Final

from proxy.base.outcomes import FIRST, PROBE, RETRY, AttemptOutcome, Verdict
from proxy.base.reasons import Reason
from proxy.judge.retry import Decision, RetryPolicy, Why
from proxy.wire.response import Response

_GIVEN_UP: Final = frozenset({Reason.CLIENT_GONE, Reason.DEADLINE})
"""The caller's doing, unless the upstream kept it waiting for long."""
_LONG_S: Final = 1.0
_LONG: Final = 4.0
"""An attempt that was given up lasted long when it took more than so many usual latencies, and more than ``_LONG_S``."""
_NOT_OF_UPSTREAM: Final = frozenset({Reason.STALE_CONNECTION, Reason.INTERNAL, Reason.BAD_RESPONSE})
"""Nothing of its health: a connection that had died, an error of our own, and words that are no HTTP whatever the load is."""
_TIMEOUTS: Final = frozenset({Reason.HEAD_TIMEOUT, Reason.BODY_TIMEOUT})
_OF_THE_PAGE: Final = _TIMEOUTS | {
    Reason.UPSTREAM_STATUS,
    Reason.UPSTREAM_JSON,
    Reason.TRUNCATED,
    Reason.BAD_RESPONSE,
}
"""Failures that may be the page's own: others are answered meanwhile."""
_NONSENSE_TRIES: Final = 2
"""Tries where the answer is no HTTP: it may have been damaged once, and is the server's habit the second time."""
_TRIES_TO_SUSPECT: Final = 3
_SUCCESSES_TO_SUSPECT: Final = 5


class Trial:
    """The judge's record of one call. ``allowed`` is how many tries there may be, ``why`` what forbade the last retry.

    ``successes`` in the methods counts the attempts of all calls that went well so far. A failed probe is none of a call's tries,
    but where one try is all there may be.
    """

    tries: int = 0
    failed_probes: int = 0
    is_replayable: bool = True
    why: Why | None = None
    _stale_replays: int = 0
    failures: int = 0
    _others_before: int = 0

    def __init__(self, policy: RetryPolicy, method: bytes, has_idempotency_key: bool) -> None:
        self.allowed = policy.attempts
        self._policy = policy
        self._method = method
        self._has_idempotency_key = has_idempotency_key

    @property
    def is_repeatable(self) -> bool:
        """Whether the request may be sent twice."""
        return self._policy.is_repeatable(self._method, self._has_idempotency_key)

    @property
    def may_be_sent_again(self) -> bool:
        """Whether the call may be sent twice, by the request's nature and by what the app or the settings allow."""
        return self.allowed > 1 and self.is_replayable and self.is_repeatable

    @property
    def counted_tries(self) -> int:
        """Tries so far, replays on a fresh connection and failed probes not counted."""
        return self.tries - self._stale_replays - self.failed_probes

    def begin_try(self, is_probe: bool) -> str:
        """Count one more try, and return of which kind it is."""
        kind = PROBE if is_probe else RETRY if self.counted_tries else FIRST
        self.tries += 1
        return kind

    def decide(self, outcome: AttemptOutcome, response: Response | None, successes: int) -> Decision:
        """Complete the outcome of an attempt, and return what follows it."""
        policy = self._policy
        self.why = None
        if response is not None:
            policy.read(outcome, response)
        if outcome.reason is Reason.OK:
            return Decision.FINAL
        if not self.failures:
            self._others_before = successes
        self.failures += 1
        if not policy.classifier.is_worth_retrying(outcome):
            return Decision.FINAL
        is_probe = outcome.kind == PROBE
        if not is_probe and not self._stale_replays and self._may_replay_stale(outcome):
            self._stale_replays += 1
            return Decision.AGAIN_FRESH
        self.why = policy.why_not(
            outcome,
            tries=0 if is_probe and self.allowed > 1 else self.counted_tries,
            allowed=self._allowed_after(outcome, successes),
            repeatable=self.is_repeatable,
            replayable=self.is_replayable,
        )
        if self.why is not None:
            return Decision.FINAL
        if is_probe:
            self.failed_probes += 1
            return Decision.HELD
        return Decision.AGAIN

    def _allowed_after(self, outcome: AttemptOutcome, successes: int) -> int:
        """Return how many tries there may be: fewer where another would cost much and bring nothing."""
        if outcome.reason is Reason.BAD_RESPONSE:
            return min(self.allowed, _NONSENSE_TRIES)
        if outcome.reason in _TIMEOUTS and self._is_suspect(outcome, successes):
            return min(self.allowed, self.counted_tries)
        return self.allowed

    def _is_suspect(self, outcome: AttemptOutcome, successes: int) -> bool:
        return (
            self.failures >= _TRIES_TO_SUSPECT
            and outcome.reason in _OF_THE_PAGE
            and self._others_since(successes) >= _SUCCESSES_TO_SUSPECT
        )

    def _may_replay_stale(self, outcome: AttemptOutcome) -> bool:
        return self._policy.may_replay_stale(
            outcome, repeatable=self.is_repeatable, replayable=self.is_replayable
        )

    def is_poison(self, outcome: AttemptOutcome, successes: int) -> bool:
        """Whether a call that is given up failed by itself: others went well meanwhile."""
        return (
            self.why is Why.ATTEMPTS and outcome.reason in _OF_THE_PAGE and self._others_since(successes) > 0
        )

    def _others_since(self, successes: int) -> int:
        return successes - self._others_before if self.failures else 0

    def verdict(
        self, outcome: AttemptOutcome, *, successes: int, usual_s: float, is_sending: bool
    ) -> Verdict:
        """Return what a failed attempt tells the concurrency limit and the outage gate.

        ``usual_s`` is what an attempt usually takes; ``is_sending`` says that the app's body went along as it came. An attempt
        that its caller gave up tells of the upstream only where that had been silent for long.
        """
        reason = outcome.reason
        if reason in _NOT_OF_UPSTREAM or outcome.is_local:
            return Verdict.IGNORE
        if reason in _GIVEN_UP:
            was_silent = (
                not outcome.head_at and not is_sending and outcome.latency_s > max(_LONG_S, _LONG * usual_s)
            )
            return Verdict.DROPPED if was_silent else Verdict.IGNORE
        if not self._policy.classifier.tells_of_upstream(outcome):
            return Verdict.SUCCESS
        return Verdict.IGNORE if self._is_suspect(outcome, successes) else Verdict.DROPPED

    def __repr__(self) -> str:
        return f"<Trial {self.counted_tries} of {self.allowed} tries, {self.failed_probes} failed probes>"
