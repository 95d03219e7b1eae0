"""One call, first byte to last: admit, attempt, judge, perhaps again, respond, observe.

The client's coroutine runs ``Exchange.carry`` for one request after the other. Whatever ends a call, be it an answer, a
refusal, or the client's leaving (which cancels the coroutine), slot, connection and outcomes are settled in the ``finally``
of the attempt. A slot is given back sooner where the app does not take an answer that streams. A permit that an error of our
own kept from being settled there is released at the end of the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from proxy.admit.limit import UNLIMITED
from proxy.admit.permit import Permit
from proxy.admit.waiter import Denied
from proxy.attempt.attempt import Attempt, OutgoingRequest
from proxy.attempt.pool import Pool
from proxy.base.outcomes import PROBE, AttemptOutcome, ExchangeOutcome
from proxy.base.reasons import STATUS_OF_REASON, Reason
from proxy.call import OF_THE_PAGE, Call, Client
from proxy.judge.poison import PoisonRecord
from proxy.judge.retry import Decision, Why
from proxy.observe.access_log import clean_target
from proxy.plan import Plan
from proxy.respond.reply import CLOSES, KEEPS_ALIVE, PERSISTS, LocalReply, Marks, relay, write_whole
from proxy.wire.request_facts import Refusal
from proxy.wire.request_parser import Request
from proxy.wire.response import Response

_STOPPING: Final = LocalReply(503, Reason.DRAINING, "the sidecar is stopping")
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


class Exchange:
    """Carries calls. ``plan`` may be replaced at any time; calls under way keep theirs."""

    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        observer: Observer,
        *,
        poison: PoisonRecord,
        monotonic: Callable[[], float],
    ) -> None:
        self.plan = plan
        self._poison = poison
        self._pool = pool
        self._observer = observer
        self._monotonic = monotonic
        self._marks = Marks(plan.via)
        self.calls_under_way = 0
        self._pauses: set[asyncio.Timeout] = set()
        self._is_over = False

    def end_pauses(self) -> None:
        """The sidecar stops: no call is tried again, and those between two tries are answered with what there is."""
        self._is_over = True
        for pause in self._pauses:
            pause.reschedule(0.0)

    async def carry(self, request: Request, client: Client) -> bool:
        """Carry one call to its end; whether the client's connection may serve another."""
        plan = self.plan
        route = plan.route_of(request) if plan.routes else plan.default
        outcome = ExchangeOutcome(route.name, request.method, request.target, self._monotonic())
        call = Call(plan, route, request, client, outcome)
        self.calls_under_way += 1
        try:
            return await self._carry(call)
        except asyncio.CancelledError:
            outcome.reason = Reason.CLIENT_GONE
            outcome.status = 0
            raise
        except BaseException:
            outcome.reason = Reason.BAD_RESPONSE
            outcome.detail = "failed inside the sidecar"
            outcome.status = 0
            raise
        finally:
            self.calls_under_way -= 1
            if call.permit is not None:
                call.permit.release()
            outcome.ended_at = self._monotonic()
            self._observer.call(outcome)

    async def _carry(self, call: Call) -> bool:
        request = call.request
        refusal = self._read_head(call)
        if refusal is None and request.facts.has_body:
            refusal = await self._read_body(call)
        if refusal is not None:
            return self._reply(call, refusal)
        is_fresh = False
        limiter = call.route.limiter
        while True:
            call.permit = limiter.try_enter()
            if call.permit is None:
                refusal = await self._wait_for_turn(call)
                if refusal is not None:
                    return self._answer_with_what_there_is(call, refusal)
            attempt = self._start(call)
            outcome = attempt.outcome
            decision = Decision.FINAL
            try:
                response = await attempt.run(call.outgoing, is_fresh or outcome.kind == PROBE)
                if response is None or outcome.status >= 400 or call.route.policy.reads_bodies:
                    decision = self._judge(call, outcome, response)
                if response is not None and response.rest is not None and decision is Decision.FINAL:
                    return await self._relay(call, response, outcome)
            except asyncio.CancelledError:
                outcome.reason = Reason.CLIENT_GONE
                outcome.ended_at = self._monotonic()
                raise
            finally:
                attempt.finish()
                call.close_permit(outcome)
                self._observer.attempt(outcome)
            if call.outgoing.source is not None:
                call.outcome.bytes_out = outcome.bytes_out - len(call.outgoing.head)
            if decision is Decision.FINAL:
                return self._answer(call, response, outcome)
            is_fresh = decision is Decision.AGAIN_FRESH
            if decision is Decision.AGAIN and not await self._pause(call, outcome):
                if self._is_over:
                    return self._answer_with_what_there_is(call, _STOPPING)
                return self._answer(call, response, outcome)

    # accept

    def _read_head(self, call: Call) -> LocalReply | None:
        """Turn the request's head into the one to send; a reply where it cannot be carried."""
        request, plan = call.request, call.plan
        facts = request.facts
        path = plan.target_of(request)
        if not facts.is_plain:
            refusal = call.judge_head()
            if refusal is not None:
                return refusal
        if isinstance(path, Refusal):
            return LocalReply(path.status, Reason.BAD_REQUEST, path.detail)
        if plan.hosts:
            misdirected = plan.refuse_host(request)
            if misdirected is not None:
                return LocalReply(misdirected.status, Reason.BAD_REQUEST, misdirected.detail)
        head = plan.encode_head(request, path)
        call.outgoing = OutgoingRequest(head if facts.has_body else head + b"\r\n", request.method == b"HEAD")
        return None

    async def _read_body(self, call: Call) -> LocalReply | None:
        """Take the body in, up to what is kept for a replay; what is larger streams, and is sent once."""
        request, outgoing = call.request, call.outgoing
        facts = request.facts
        cap_bytes = call.plan.replay_bytes
        refusal = await call.client.collect_body(request, cap_bytes, call.route.attempt.body_idle_s)
        if refusal is not None:
            return refusal
        if not request.is_whole or request.waiting_bytes > cap_bytes:
            call.is_replayable = False
            outgoing.source = call.client.body_source(request)
            outgoing.is_chunked = facts.chunked
            outgoing.head += b"Transfer-Encoding: chunked\r\n\r\n" if facts.chunked else b"\r\n"
            return None
        call.outcome.bytes_out = request.waiting_bytes
        outgoing.head += b"Content-Length: %d\r\n\r\n" % request.waiting_bytes if facts.chunked else b"\r\n"
        if request.waiting_bytes:
            outgoing.body = request.take_all()
        return None

    # admit

    async def _wait_for_turn(self, call: Call) -> LocalReply | None:
        """Queue for a slot and a token; a reply when it comes to nothing."""
        limiter = call.route.limiter
        started = self._monotonic()
        held_before_s = limiter.held_s(started)
        is_rate_bound = limiter.bucket is not None and limiter.inflight < limiter.limit.value
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
        if isinstance(turn, Denied):
            return self._refusal(call, turn, is_rate_bound, now - started)
        return None

    def _refusal(self, call: Call, denied: Denied, is_rate_bound: bool, waited_s: float) -> LocalReply:
        limiter = call.route.limiter
        now = self._monotonic()
        retry_after_s = max(1.0, limiter.predicted_wait_s(now))
        if denied is Denied.QUEUE_FULL:
            detail = f"{limiter.waiting} calls are waiting already"
            return LocalReply(503, Reason.QUEUE_FULL, detail, retry_after_s)
        if denied is Denied.CLOSED:
            return _STOPPING
        if denied is Denied.OUTAGE:
            detail = (
                f"everything has failed for {now - limiter.gated.closed_at:.1f} s; held for {waited_s:.1f} s"
            )
            last = limiter.gated.last_failure()
            if last:
                detail += f"; the last attempt: {last}"
            return LocalReply(503, Reason.OUTAGE, detail, max(retry_after_s, limiter.next_probe_s(now)))
        if denied is Denied.TIMED_OUT and now >= call.deadline:
            return LocalReply(504, Reason.DEADLINE, f"no turn within {waited_s:.1f} s")
        status = 429 if is_rate_bound else 503
        detail = f"{limiter.waiting} calls wait at a limit of {limiter!r}"
        return LocalReply(status, Reason.QUEUE_TIMEOUT, detail, retry_after_s)

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
        route = call.route
        now = self._monotonic()
        if not call.tries:
            route.policy.budget.note_first_try(now)
        outcome = AttemptOutcome(route.name, call.next_kind(), now, route.limiter.inflight)
        return Attempt(self._pool, call.client.signal, outcome, route.attempt, call.deadline, self._monotonic)

    # judge

    def _judge(self, call: Call, outcome: AttemptOutcome, response: Response | None) -> Decision:
        """Decide what follows an attempt, and say so to whoever counts."""
        policy = call.route.policy
        if response is not None:
            policy.read(outcome, response)
        if outcome.reason is Reason.OK:
            return Decision.FINAL
        call.note_failure()
        if outcome.retry_after_s:
            self._close_gates(call.plan, outcome.ended_at + outcome.retry_after_s)
        if response is not None and response.rest is None:
            call.last = response
        if not policy.classifier.is_worth_retrying(outcome):
            return Decision.FINAL
        is_probe = outcome.kind == PROBE
        if (
            not is_probe
            and call.stale_replays == 0
            and policy.may_replay_stale(outcome, repeatable=call.is_repeatable, replayable=call.is_replayable)
        ):
            call.stale_replays += 1
            call.forget_try()
            return Decision.AGAIN_FRESH
        why = policy.why_not(
            outcome,
            tries=0 if is_probe and call.allowed > 1 else call.counted_tries,
            allowed=call.allowed,
            repeatable=call.is_repeatable,
            replayable=call.is_replayable,
        )
        if why is not None:
            self._observer.retry_denied(why)
            if why is Why.ATTEMPTS and outcome.reason in OF_THE_PAGE and call.others_since:
                self._poison.note(
                    call.request.method, clean_target(call.request.target), outcome, call.counted_tries
                )
            return Decision.FINAL
        if is_probe:
            call.failed_probes += 1
            call.forget_try()
            return Decision.HELD
        return Decision.AGAIN

    def _close_gates(self, plan: Plan, until: float) -> None:
        for route in (plan.default, *plan.routes):
            route.limiter.close_gate(until)

    async def _pause(self, call: Call, outcome: AttemptOutcome) -> bool:
        """Wait for budget, then back off; False when the deadline leaves no time for it, or the sidecar stops."""
        policy = call.route.policy
        started = self._monotonic()
        pause_s = policy.pause_s(call.counted_tries, outcome)
        pause = asyncio.timeout(0.0 if self._is_over else None)
        try:
            if started + pause_s >= call.deadline:
                self._observer.retry_denied(Why.DEADLINE)
                return False
            is_strict = call.route.limiter.limit.value >= UNLIMITED
            async with pause:
                self._pauses.add(pause)
                if not await policy.budget_by(call.deadline - pause_s, self._monotonic, is_strict=is_strict):
                    self._observer.retry_denied(Why.BUDGET)
                    return False
                self._observer.retried(outcome.reason)
                await asyncio.sleep(pause_s)
            return True
        except TimeoutError:
            return False
        finally:
            self._pauses.discard(pause)
            waited_s = self._monotonic() - started
            call.outcome.backoff_s += waited_s
            self._observer.waited("backoff", waited_s)

    # respond

    def _answer(self, call: Call, response: Response | None, outcome: AttemptOutcome) -> bool:
        """Answer with the last attempt's answer, or an earlier one's, or say what went wrong."""
        if response is None or response.rest is not None:
            response = call.last
        if outcome.reason is not Reason.OK:
            call.outcome.reason = outcome.reason
            call.outcome.detail = outcome.error
        if response is not None:
            return self._write(call, response)
        detail = outcome.error or "the upstream gave no answer"
        return self._reply(
            call, LocalReply(STATUS_OF_REASON.get(outcome.reason, 502), outcome.reason, detail)
        )

    def _answer_with_what_there_is(self, call: Call, refusal: LocalReply) -> bool:
        """Answer a call that may not be tried again: the upstream's last word if it ever spoke."""
        if call.last is None:
            return self._reply(call, refusal)
        call.outcome.reason = refusal.reason
        call.outcome.detail = refusal.detail
        return self._write(call, call.last)

    def _write(self, call: Call, response: Response) -> bool:
        client = call.client
        request = call.request
        result = call.outcome
        closes = client.needs_close(request)
        persistence = _persistence(request, closes)
        result.status = response.head.status
        result.bytes_in = write_whole(client, response, self._marks.lines(result.attempts, persistence))
        return not closes

    def _reply(self, call: Call, reply: LocalReply) -> bool:
        outcome = call.outcome
        outcome.status = reply.status
        outcome.reason = reply.reason
        outcome.detail = reply.detail
        outcome.local = True
        request = call.request
        closes = call.client.needs_close(request) or request.facts.refusal is not None
        marks = self._marks.lines(outcome.attempts, _persistence(request, closes))
        call.client.write(reply.encode(marks, answers_head=request.method == b"HEAD"))
        return not closes

    async def _relay(self, call: Call, response: Response, outcome: AttemptOutcome) -> bool:
        """Pass an answer on that is too large to verify; a cut ends as a cut."""
        client = call.client
        may_chunk = call.request.facts.speaks_1_1
        closes = client.needs_close(call.request) or (response.head.content_length is None and not may_chunk)
        result = call.outcome
        result.status = response.head.status
        result.reason = outcome.reason
        marks = self._marks.lines(result.attempts, _persistence(call.request, closes))
        if outcome.reason is Reason.OK:
            call.route.limiter.answered(outcome)
        result.bytes_in, is_complete = await relay(
            client,
            response,
            marks,
            may_chunk=may_chunk,
            on_paused=lambda: self._give_back_early(call, outcome),
        )
        if not is_complete:
            if outcome.reason in (Reason.OK, Reason.UPSTREAM_STATUS):
                outcome.reason = Reason.CLIENT_GONE
            result.reason = outcome.reason
            result.detail = outcome.error
            client.break_off()
            return False
        return not closes

    def _give_back_early(self, call: Call, outcome: AttemptOutcome) -> None:
        """The app does not take, so the upstream has nothing to do: the slot is another call's from here on.

        The limit goes by the head then. How the body ends is in the attempt's outcome, and no news to the limit.
        """
        permit = call.permit
        if permit is not None and permit.is_out:
            outcome.ended_at = self._monotonic()
            call.close_permit(outcome)


def _persistence(request: Request, closes: bool) -> bytes:
    """Return the Connection line of an answer, empty where HTTP/1.1's default says it already."""
    if closes:
        return CLOSES
    return PERSISTS if request.facts.speaks_1_1 else KEEPS_ALIVE
