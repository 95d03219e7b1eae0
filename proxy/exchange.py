"""One call, first byte to last: admit, attempt, judge, perhaps again, respond, observe.

The client's coroutine runs ``Exchange.carry`` for one request after the other. Whatever ends a call, be it an answer, a
refusal, or the client's leaving (which cancels the coroutine), slot, connection and outcomes are settled in the ``finally``
of the attempt. A slot is given back sooner where the app does not take an answer that streams. An error of our own is
answered as ``internal``, tells nothing of the upstream, and keeps nothing: its permit is released at the end of the call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from proxy.admit.denial import STOPPING, Denial, denial
from proxy.admit.limit import UNLIMITED
from proxy.admit.permit import Permit
from proxy.admit.waiter import Denied
from proxy.attempt.attempt import Attempt
from proxy.attempt.elsewhere import Elsewhere
from proxy.base.errors import ConnectError
from proxy.base.held import HeldBytes
from proxy.base.outcomes import PROBE, AttemptOutcome, ExchangeOutcome
from proxy.base.reasons import Problem, Reason
from proxy.call import Call, Client
from proxy.judge.poison import PoisonRecord
from proxy.judge.retry import Decision
from proxy.pauses import Pauses
from proxy.plan import Plan
from proxy.respond.local import LocalReply
from proxy.respond.reply import SWITCHED, Responder
from proxy.wire.request_facts import Refusal
from proxy.wire.request_parser import Request
from proxy.wire.response import Response

_log = logging.getLogger("sidegate.exchange")

_NO_ROOM: Final = Denial(Reason.DEADLINE, "no room for the answer in time (body.held_in_all)")
_SMALL_BYTES: Final = 16 << 10
"""Answers up to this size are not accounted for: the limit bounds how many there are."""
_READ_AHEAD_BYTES: Final = 128 << 10
"""What is held of an answer that streams, about."""
_SHORTEST_S: Final = 0.001
"""A call that was held has waited for its turn as well when that took this long."""


class Observer(Protocol):
    """Hears what happened."""

    def attempt(self, outcome: AttemptOutcome) -> None:
        """One attempt has ended."""

    def call(self, outcome: ExchangeOutcome) -> None:
        """One call has ended."""

    def retried(self, reason: Reason) -> None:
        """A retry was decided."""

    def retry_denied(self, why: str) -> None:
        """A failure stands, for this reason."""

    def waited(self, stage: str, seconds: float) -> None:
        """A call waited."""

    def shown_target(self, target: bytes) -> str:
        """Return a target without secrets."""


class Exchange:
    """Carries calls. ``plan`` may be replaced at any time; calls under way keep theirs."""

    def __init__(
        self,
        plan: Plan,
        observer: Observer,
        *,
        responder: Responder,
        elsewhere: Elsewhere,
        bodies: HeldBytes,
        answers: HeldBytes,
        poison: PoisonRecord,
        monotonic: Callable[[], float],
    ) -> None:
        self.plan = plan
        self._poison = poison
        self._observer = observer
        self._monotonic = monotonic
        self._responder = responder
        self._elsewhere = elsewhere
        self.bodies = bodies
        self.answers = answers
        self.pauses = Pauses(observer, monotonic)
        self.calls_under_way = 0

    async def carry(self, request: Request, client: Client, refusal: Refusal | None = None) -> bool:
        """Carry one call to its end, or answer the refusal; whether the client's connection may serve another."""
        plan = self.plan
        upstream = plan.upstream
        if request.elsewhere is not None:
            route, upstream = plan.passthrough, self._elsewhere.of(request.elsewhere)
        else:
            route = plan.route_of(request) if plan.routes else plan.default
        outcome = ExchangeOutcome(route.name, request.method, request.target, self._monotonic())
        call = Call(upstream, route, request, client, outcome)
        self.calls_under_way += 1
        try:
            if refusal is not None:
                return self._refuse(call, refusal)
            if request.method == b"CONNECT":
                return await self._tunnel(call)
            return await self._carry(call)
        except asyncio.CancelledError:
            outcome.reason = Reason.CLIENT_GONE
            raise
        except Exception as error:
            return self._fail(call, error)
        finally:
            self.calls_under_way -= 1
            if call.permit is not None:
                call.permit.release()
            if call.body_bytes:
                self.bodies.give(call.body_bytes)
            if call.answer_bytes:
                client.hold(call.answer_bytes)
            outcome.ended_at = self._monotonic()
            self._observer.call(outcome)

    async def _carry(self, call: Call) -> bool:
        if call.request.facts.has_body:
            refusal = await self._read_body(call)
            if refusal is not None:
                return self._refuse(call, refusal)
        # Elsewhere nothing is tried twice, so what may not be lost goes on a connection that cannot be stale.
        is_fresh = call.request.elsewhere is not None and not (
            call.trial.is_repeatable and call.trial.is_replayable
        )
        limiter = call.route.limiter
        while True:
            if not call.answer_bytes and self.answers.usual > _SMALL_BYTES:
                count = min(int(self.answers.usual), call.route.attempt.verify_bytes)
                if not self.answers.try_take(count) and not await self._wait_for_room(
                    self.answers, count, call.deadline
                ):
                    return self._answer_with_what_there_is(call, _NO_ROOM)
                call.answer_bytes = count
            call.permit = limiter.try_enter()
            if call.permit is None:
                denied = await self._wait_for_turn(call)
                if denied is not None:
                    return self._answer_with_what_there_is(call, denied)
            attempt = self._start(call)
            outcome = attempt.outcome
            decision = Decision.FINAL
            try:
                response = await attempt.run(call.outgoing, is_fresh or outcome.kind == PROBE)
                if response is None or response.rest is not None or response.body_bytes > _SMALL_BYTES:
                    self._note_size(call, response)
                else:
                    self.answers.note(response.body_bytes)
                if response is None or outcome.status >= 400 or call.route.policy.reads_bodies:
                    decision = self._judge(call, outcome, response)
                if outcome.status == SWITCHED and response is not None:
                    return await self._switch(call, attempt, response)
                if response is not None and response.rest is not None and decision is Decision.FINAL:
                    return await self._relay(call, response, outcome)
            except asyncio.CancelledError:
                outcome.reason = Reason.CLIENT_GONE
                outcome.ended_at = self._monotonic()
                raise
            except Exception:
                outcome.reason = Reason.INTERNAL
                raise
            finally:
                attempt.finish()
                call.close_permit(outcome)
                self._observer.attempt(outcome)
            if call.outgoing.source is not None:
                call.outcome.bytes_out = outcome.bytes_out - outcome.head_out
            if decision is Decision.FINAL:
                return self._answer(call, response, outcome)
            is_fresh = decision is Decision.AGAIN_FRESH
            if decision is Decision.AGAIN and not await self._pause(call, outcome):
                if self.pauses.is_over:
                    return self._answer_with_what_there_is(call, STOPPING)
                return self._answer(call, response, outcome)

    # accept

    async def _read_body(self, call: Call) -> Refusal | None:
        """Take the body in, up to what is kept for a replay; what is larger streams, and is sent once."""
        request, outgoing = call.request, call.outgoing
        if request.elsewhere is not None:
            # Framed as it came, and asked for by whom it is for: nobody here has a word in it.
            call.trial.is_replayable = False
            outgoing.source = call.client.body_source(request)
            outgoing.waits_for_100 = request.facts.expects_continue
            return None
        cap_bytes = call.route.replay_bytes
        size = request.facts.content_length
        if size is None or size <= cap_bytes:
            # Of a body without a length as much may be kept as of any.
            wanted = cap_bytes if size is None else size
            if not self.bodies.try_take(wanted) and not await self._wait_for_room(
                self.bodies, wanted, call.deadline
            ):
                return Refusal(Problem.SLOW, "no room for the body in time (body.held_in_all)")
            call.body_bytes = wanted
        refusal = await call.client.collect_body(
            request, cap_bytes, call.route.attempt.body_idle_s, call.deadline
        )
        if refusal is not None:
            return refusal
        if not request.is_whole or request.waiting_bytes > cap_bytes:
            call.trial.is_replayable = False
            outgoing.source = call.client.body_source(request)
            facts = request.facts
            outgoing.waits_for_100 = (
                facts.expects_continue and not facts.chunked and not request.waiting_bytes
            )
        else:
            call.outcome.bytes_out = request.waiting_bytes
            self.bodies.grow(request.waiting_bytes - call.body_bytes)
            call.body_bytes = request.waiting_bytes
            outgoing.body = request.take_all()
        return None

    # admit

    async def _wait_for_room(self, held: HeldBytes, count: int, deadline: float) -> bool:
        """Take room for ``count`` bytes; False where there is none by the deadline."""
        started = self._monotonic()
        try:
            async with asyncio.timeout(deadline - started):
                await held.take(count)
            return True
        except TimeoutError:
            return False
        finally:
            self._observer.waited("queue", self._monotonic() - started)

    def _note_size(self, call: Call, response: Response | None) -> None:
        """What was taken for the answer becomes what it is: one that streams holds what is read ahead of the app."""
        size = _READ_AHEAD_BYTES
        if response is None:
            size = 0
        elif response.rest is None:
            size = response.body_bytes
            self.answers.note(size)
        self.answers.grow(size - call.answer_bytes)
        call.answer_bytes = size

    async def _wait_for_turn(self, call: Call) -> Denial | None:
        """Queue for a slot and a token; a denial when it comes to nothing."""
        limiter = call.route.limiter
        started = self._monotonic()
        held_before_s = limiter.held_s(started)
        is_rate_bound = limiter.is_rate_bound
        waiter = call.waiter()
        turn: Permit | Denied = Denied.CLOSED
        try:
            turn = await limiter.enter(waiter)
            if isinstance(turn, Permit):
                call.permit = turn
        finally:
            now = self._monotonic()
            if turn is not Denied.QUEUE_FULL and turn is not Denied.TOO_LATE:  # those did not wait
                self._note_wait(call, is_rate_bound, now - started, limiter.held_s(now) - held_before_s)
        if isinstance(turn, Permit):
            return None
        return denial(
            limiter,
            turn,
            now=now,
            waited_s=now - started,
            is_late=now >= call.deadline,
            is_rate_bound=is_rate_bound,
        )

    def _note_wait(self, call: Call, is_rate_bound: bool, waited_s: float, held_s: float) -> None:
        """Count a wait: as the outage's what passed while its gate was closed, and the rest, if any, as the queue's."""
        if held_s > 0.0:
            waited_s -= held_s
            if held_s >= _SHORTEST_S:
                call.outcome.outage_s += held_s
                self._observer.waited("outage", held_s)
            if waited_s < _SHORTEST_S:
                return
        if is_rate_bound:
            call.outcome.token_s += waited_s
        else:
            call.outcome.queue_s += waited_s
        self._observer.waited("token" if is_rate_bound else "queue", waited_s)

    # attempt

    def _start(self, call: Call) -> Attempt:
        route, trial, permit = call.route, call.trial, call.permit
        now = self._monotonic()
        if not trial.tries:
            route.policy.budget.note_first_try(now)
        kind = trial.begin_try(permit is not None and permit.is_probe)
        call.outcome.attempts = trial.counted_tries
        outcome = AttemptOutcome(route.name, kind, now, route.limiter.inflight)
        client = call.client
        return Attempt(
            call.upstream,
            client.signal,
            client,
            client if call.request.facts.speaks_1_1 else None,
            outcome,
            route.attempt,
            call.deadline,
            self._monotonic,
        )

    # judge

    def _judge(self, call: Call, outcome: AttemptOutcome, response: Response | None) -> Decision:
        """Decide what follows an attempt, and say so to whoever counts."""
        trial, successes = call.trial, call.route.limiter.successes
        decision = trial.decide(outcome, response, successes)
        if outcome.reason is Reason.OK:
            return decision
        call.outcome.attempts = trial.counted_tries
        if outcome.retry_after_s:
            call.route.limiter.close_gate(outcome.ended_at + outcome.retry_after_s)
        if response is not None and response.rest is None:
            call.last = response
        if trial.why is not None:
            self._observer.retry_denied(trial.why)
            if trial.is_poison(outcome, successes):
                target = self._observer.shown_target(call.request.target)
                self._poison.note(call.request.method, target, outcome, trial.counted_tries)
        return decision

    async def _pause(self, call: Call, outcome: AttemptOutcome) -> bool:
        """Back off; False when the deadline leaves no time for it, or the sidecar stops."""
        started = self._monotonic()
        try:
            return await self.pauses.wait(
                call.route.policy,
                outcome,
                call.trial.counted_tries,
                call.deadline,
                is_strict=call.route.limiter.limit.value >= UNLIMITED,
            )
        finally:
            waited_s = self._monotonic() - started
            call.outcome.backoff_s += waited_s
            self._observer.waited("backoff", waited_s)

    # respond

    def _answer(self, call: Call, response: Response | None, outcome: AttemptOutcome) -> bool:
        """Answer with the last attempt's answer, or an earlier one's, or say what went wrong."""
        if response is None or response.rest is not None:
            response = call.last
        if response is None:
            detail = outcome.error or "the upstream gave no answer"
            return self._reply(call, LocalReply(outcome.reason, detail))
        if outcome.reason is not Reason.OK:
            call.outcome.reason = outcome.reason
            call.outcome.detail = outcome.error
        return self._responder.whole(call.client, call.request, response, call.outcome)

    def _answer_with_what_there_is(self, call: Call, denied: Denial) -> bool:
        """Answer a call that may not be tried again: the upstream's last word if it ever spoke."""
        reply = LocalReply(denied.why, denied.detail, denied.retry_after_s)
        if call.last is None:
            return self._reply(call, reply)
        call.outcome.reason = reply.reason
        call.outcome.detail = reply.detail
        return self._responder.whole(call.client, call.request, call.last, call.outcome)

    def _refuse(self, call: Call, refusal: Refusal) -> bool:
        return self._reply(call, LocalReply(refusal.problem, refusal.detail))

    def _reply(self, call: Call, reply: LocalReply) -> bool:
        return self._responder.local(call.client, call.request, reply, call.outcome)

    def _fail(self, call: Call, error: Exception) -> bool:
        """Answer a call that an error of our own has ended; one that is half answered breaks off."""
        _log.error("a call failed inside the sidecar", exc_info=error)
        if not call.outcome.status:
            self._reply(call, LocalReply(Reason.INTERNAL, f"{type(error).__name__} inside the sidecar"))
            return False
        call.outcome.reason = Reason.INTERNAL
        call.outcome.detail = f"{type(error).__name__} inside the sidecar"
        call.client.break_off()
        return False

    async def _relay(self, call: Call, response: Response, outcome: AttemptOutcome) -> bool:
        """Pass an answer on as it comes."""
        result = call.outcome
        result.reason = outcome.reason
        if outcome.reason is Reason.OK:
            call.route.limiter.answered(outcome)
        may_go_on = await self._responder.streaming(
            call.client,
            call.request,
            response,
            result,
            on_paused=lambda: self._give_back_early(call, outcome),
            patience_s=call.route.attempt.body_idle_s,
        )
        if result.is_cut:
            if outcome.reason in (Reason.OK, Reason.UPSTREAM_STATUS):
                outcome.reason = Reason.CLIENT_GONE
            result.reason = outcome.reason
            result.detail = outcome.error or "the app took no more of the answer"
        return may_go_on

    async def _switch(self, call: Call, attempt: Attempt, response: Response) -> bool:
        """The upstream has switched protocols: from here on it is a tunnel, which holds no slot."""
        attempt.outcome.ended_at = self._monotonic()
        call.close_permit(attempt.outcome)
        self._responder.switched(call.client, response.head, call.outcome)
        splice = await call.client.join(attempt.switch(), response.chunks)
        call.outcome.bytes_out, call.outcome.bytes_in = splice.counts
        return False

    async def _tunnel(self, call: Call) -> bool:
        """CONNECT: bytes both ways, to a host that the app names."""
        pool = call.upstream.pool
        try:
            connection = await pool.open_raw(call.route.attempt.connect_s)
        except ConnectError as error:
            return self._reply(call, LocalReply(error.reason, error.detail))
        try:
            self._responder.connected(call.client, call.outcome)
            early, connection.early = connection.early or [], None
            splice = await call.client.join(connection, early)
            call.outcome.bytes_out, call.outcome.bytes_in = splice.counts
        finally:
            pool.discard(connection, "tunnel")
        return False

    def _give_back_early(self, call: Call, outcome: AttemptOutcome) -> None:
        """The app does not take, so the upstream has nothing to do: the slot is another call's from here on.

        The limit goes by the head then. How the body ends is in the attempt's outcome, and no news to the limit.
        """
        permit = call.permit
        if permit is not None and permit.is_out:
            outcome.ended_at = self._monotonic()
            call.close_permit(outcome)
