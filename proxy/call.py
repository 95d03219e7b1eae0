"""One call between its attempts: what the app asked for and wished, who the app is, what came of it so far."""

from __future__ import annotations

from typing import Protocol

from proxy.admit.permit import Permit
from proxy.admit.waiter import Waiter
from proxy.attempt.connection import Connection
from proxy.attempt.outgoing import BodySource, Outgoing
from proxy.attempt.upstream import Upstream
from proxy.base.outcomes import AttemptOutcome, ExchangeOutcome
from proxy.base.reasons import Reason
from proxy.base.splice import Splice
from proxy.base.wishes import Priority
from proxy.judge.trial import Trial
from proxy.plan import RoutePlan
from proxy.respond.client import ClientStream
from proxy.wire.request_facts import Refusal
from proxy.wire.request_parser import Request
from proxy.wire.response import Response


class Client(ClientStream, Protocol):
    """The app's connection, with its request bodies."""

    tied: Connection | None

    def hold(self, answer_bytes: int) -> None:
        """So many bytes of an answer are held until the app has taken them."""

    @property
    def idle_since(self) -> float:
        """Monotonic seconds: when its last answer ended, or it was opened. Stays while a call is under way."""

    def body_source(self, request: Request) -> BodySource:
        """Return the rest of a request's body as it arrives."""

    async def join(self, other: Connection, first: list[bytes]) -> Splice:
        """Become one with ``other`` until both have ended; ``first`` came from there before."""

    async def collect_body(
        self, request: Request, cap_bytes: int, idle_s: float, deadline: float
    ) -> Refusal | None:
        """Wait until the body is whole or larger than the cap; a refusal when the app broke off, or was too slow."""


class Call:
    """The state of one call. ``deadline`` is monotonic seconds, ``permit`` that of the attempt under way or of the last one."""

    def __init__(
        self,
        upstream: Upstream,
        route: RoutePlan,
        request: Request,
        client: Client,
        outcome: ExchangeOutcome,
    ) -> None:
        self.last: Response | None = None
        self.body_bytes = 0
        """Bytes taken for the request's body."""
        self.answer_bytes = 0
        """Bytes taken for the answer."""
        self.permit: Permit | None = None
        self.upstream = upstream
        self.route = route
        self.request = request
        self.outgoing = Outgoing(request)
        self.client = client
        self.outcome = outcome
        self.deadline = outcome.started_at + route.total_s
        self.priority = Priority.NORMAL
        self.trial = Trial(route.policy, request.method, request.facts.has_idempotency_key)
        wishes = request.wishes
        if wishes is not None:
            self.priority = wishes.priority
            if wishes.attempts is not None:
                self.trial.allowed = wishes.attempts
            if wishes.timeout_s is not None:
                self.deadline = outcome.started_at + min(route.total_s, wishes.timeout_s)

    def waiter(self) -> Waiter:
        """Return the call as the limiter's queue knows it. One that failed as the probe stands behind those that wait."""
        trial = self.trial
        return Waiter(
            self.deadline,
            None if trial.failed_probes else self.client.idle_since,
            self.priority,
            max_wait_s=self.route.max_wait_s,
            called_at=self.outcome.started_at,
            may_probe=trial.may_be_sent_again,
            failures=trial.failures,
            was_accepted=trial.tries > 0,
        )

    def close_permit(self, outcome: AttemptOutcome) -> None:
        """Write an attempt's verdict, give its slot back and tell the limit; nothing where that is done."""
        permit = self.permit
        if permit is None or not permit.is_out:
            return
        if outcome.reason is not Reason.OK:
            limiter = self.route.limiter
            outcome.verdict = self.trial.verdict(
                outcome,
                successes=limiter.successes,
                usual_s=limiter.gated.usual_s,
                is_sending=self.outgoing.source is not None,
            )
        permit.close(outcome, outcome.verdict, outcome.ended_at - outcome.started_at)

    def __repr__(self) -> str:
        return f"<Call {self.request!r} {self.trial!r}>"
