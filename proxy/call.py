"""One call between its attempts: what the app asked for and wished, who the app is, what came of it so far."""

from __future__ import annotations

from typing import Final, Protocol

from proxy.admit.limit import Verdict
from proxy.admit.permit import Permit
from proxy.admit.queue import Priority
from proxy.admit.waiter import Waiter
from proxy.attempt.attempt import BodySource, OutgoingRequest
from proxy.base.outcomes import FIRST, PROBE, RETRY, AttemptOutcome, ExchangeOutcome
from proxy.base.reasons import Reason
from proxy.config.units import parse_duration
from proxy.plan import Plan, RoutePlan
from proxy.respond.client import ClientStream
from proxy.respond.reply import LocalReply
from proxy.wire.request_parser import Request
from proxy.wire.response import Response

_PRIORITIES: Final = {priority.value.encode(): priority for priority in Priority}

_GIVEN_UP: Final = frozenset({Reason.CLIENT_GONE, Reason.DEADLINE})
"""The caller's doing, unless the upstream kept it waiting for long."""
_LONG_S: Final = 1.0
_LONG: Final = 4.0
"""An attempt that was given up lasted long when it took more than so many usual latencies, and more than ``_LONG_S``."""
OF_THE_PAGE: Final = frozenset(
    {Reason.UPSTREAM_STATUS, Reason.UPSTREAM_JSON, Reason.TRUNCATED, Reason.BAD_RESPONSE}
)
"""Failures that may be the page's own, for the upstream did answer."""
_TRIES_TO_SUSPECT: Final = 3
_SUCCESSES_TO_SUSPECT: Final = 5


class Client(ClientStream, Protocol):
    """The app's connection, with its request bodies."""

    @property
    def idle_since(self) -> float:
        """Monotonic seconds: when its last answer ended, or it was opened. Stays while a call is under way."""

    def body_source(self, request: Request) -> BodySource:
        """Return the rest of a request's body as it arrives."""

    async def collect_body(self, request: Request, cap_bytes: int, idle_s: float) -> LocalReply | None:
        """Wait until the body is whole or larger than the cap; a reply when the app broke off."""

    def needs_close(self, request: Request) -> bool:
        """Whether the connection ends with this request's answer."""


class Call:
    """The state of one call. ``deadline`` is monotonic seconds, ``allowed`` how many tries there may be.

    ``permit`` is that of the attempt under way, or of the last one. A failed probe is none of its tries, but where one try is
    all there may be.
    """

    tries: int = 0
    stale_replays: int = 0
    failed_probes: int = 0
    failures: int = 0
    others_before: int = 0
    is_replayable: bool = True
    outgoing: OutgoingRequest

    def __init__(
        self, plan: Plan, route: RoutePlan, request: Request, client: Client, outcome: ExchangeOutcome
    ) -> None:
        self.last: Response | None = None
        self.permit: Permit | None = None
        self.plan = plan
        self.route = route
        self.request = request
        self.client = client
        self.outcome = outcome
        self.deadline = outcome.started_at + route.total_s
        self.allowed = route.policy.attempts
        self.priority = Priority.NORMAL

    @property
    def is_repeatable(self) -> bool:
        """Whether the request may be sent twice."""
        request = self.request
        return self.route.policy.is_repeatable(request.method, request.facts.has_idempotency_key)

    @property
    def may_be_sent_again(self) -> bool:
        """Whether the call may be sent twice, by the request's nature and by what the app or the settings allow."""
        return self.allowed > 1 and self.is_replayable and self.is_repeatable

    @property
    def counted_tries(self) -> int:
        """Tries so far, replays on a fresh connection and failed probes not counted."""
        return self.tries - self.stale_replays - self.failed_probes

    def waiter(self) -> Waiter:
        """Return the call as the limiter's queue knows it. One that failed as the probe stands behind those that wait."""
        return Waiter(
            self.deadline,
            None if self.failed_probes else self.client.idle_since,
            self.priority,
            max_wait_s=self.route.max_wait_s,
            called_at=self.outcome.started_at,
            may_probe=self.may_be_sent_again,
            failed_probes=self.failed_probes,
            was_accepted=self.tries > 0,
        )

    def next_kind(self) -> str:
        """Count one more try, and return of which kind it is."""
        is_probe = self.permit is not None and self.permit.is_probe
        kind = PROBE if is_probe else RETRY if self.counted_tries else FIRST
        self.tries += 1
        self.outcome.attempts = self.counted_tries
        return kind

    def forget_try(self) -> None:
        """The last try does not count after all; ``stale_replays`` or ``failed_probes`` says why."""
        self.outcome.attempts = self.counted_tries

    def note_failure(self) -> None:
        """Count a failed attempt, whatever kind."""
        if not self.failures:
            self.others_before = self.route.limiter.successes
        self.failures += 1

    @property
    def others_since(self) -> int:
        """How many other calls' attempts have succeeded since this call failed first."""
        return self.route.limiter.successes - self.others_before if self.failures else 0

    def verdict(self, outcome: AttemptOutcome) -> Verdict:
        """Return what an attempt tells the concurrency limit and the outage gate.

        A page that fails for the third time while five others went well tells of itself, not of the load; an attempt that its
        caller gave up tells of the upstream only where that had been silent for long.
        """
        reason = outcome.reason
        if reason is Reason.OK:
            return Verdict.SUCCESS
        if reason is Reason.STALE_CONNECTION:
            return Verdict.IGNORE
        if reason in _GIVEN_UP:
            return Verdict.DROPPED if self._was_silent_for_long(outcome) else Verdict.IGNORE
        if not self.route.policy.classifier.tells_of_upstream(outcome):
            return Verdict.SUCCESS
        is_suspect = self.failures >= _TRIES_TO_SUSPECT and reason in OF_THE_PAGE
        if is_suspect and self.others_since >= _SUCCESSES_TO_SUSPECT:
            return Verdict.IGNORE
        return Verdict.DROPPED

    def close_permit(self, outcome: AttemptOutcome) -> None:
        """Give the attempt's slot back and tell the limit how it went; nothing where that is done."""
        permit = self.permit
        if permit is not None and permit.is_out:
            permit.close(outcome, self.verdict(outcome), outcome.ended_at - outcome.started_at)

    def _was_silent_for_long(self, outcome: AttemptOutcome) -> bool:
        """Whether it was the upstream that an attempt waited for, and longer than is usual: not a body on its way."""
        if outcome.head_at or self.outgoing.source is not None:
            return False
        return outcome.latency_s > max(_LONG_S, _LONG * self.route.limiter.gated.usual_s)

    def judge_head(self) -> LocalReply | None:
        """Look at what only some heads hold; a reply where one cannot be carried."""
        facts = self.request.facts
        if facts.refusal is not None:
            return LocalReply(facts.refusal.status, Reason.BAD_REQUEST, facts.refusal.detail)
        if facts.via and self.plan.is_loop(facts.via):
            return LocalReply(508, Reason.BAD_REQUEST, "the call has come through this sidecar before")
        if facts.stops_here:
            return LocalReply(400, Reason.BAD_REQUEST, "Max-Forwards is used up at this sidecar")
        return self._read_wishes()

    def _read_wishes(self) -> LocalReply | None:
        """Obey the app's Sidegate-* headers; a reply that names the one that makes no sense."""
        facts = self.request.facts
        if facts.wanted_timeout is not None:
            try:
                wanted_s = parse_duration(facts.wanted_timeout.decode("latin-1"))
            except ValueError as error:
                return LocalReply(400, Reason.BAD_REQUEST, f"Sidegate-Timeout: expected {error}")
            if wanted_s <= 0:
                return LocalReply(400, Reason.BAD_REQUEST, "Sidegate-Timeout: expected more than 0")
            self.deadline = self.outcome.started_at + min(self.route.total_s, wanted_s)
        if facts.wanted_attempts is not None:
            if not facts.wanted_attempts.isdigit() or not 1 <= int(facts.wanted_attempts[:6]) <= 1000:
                return LocalReply(
                    400, Reason.BAD_REQUEST, "Sidegate-Attempts: expected a number from 1 to 1000"
                )
            self.allowed = int(facts.wanted_attempts)
        if facts.wanted_priority is not None:
            priority = _PRIORITIES.get(facts.wanted_priority)
            if priority is None:
                return LocalReply(400, Reason.BAD_REQUEST, "Sidegate-Priority: expected high, normal or low")
            self.priority = priority
        return None
