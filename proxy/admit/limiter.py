"""The gate every attempt passes: a slot, then a token; who cannot go now waits for its turn (``queue`` says whose it is).

States of a caller: let in at once, or queued, then granted (a slot is taken for it by whoever frees one), or it leaves the
queue (deadline, disconnect). The slot comes before the token, so that no token is spent on a call that cannot start. A token
that comes when everybody has left is lost: kept, it would be one more than the burst allows.

The predicted wait of a caller with n ahead of it in the queue is the longest of

    n / rate                        while a rate is set
    n * held_s / limit              held_s: smoothed time a slot is held, once 10 were seen; limit: what was learnt, not
                                    what it is for the moment (``nominal``)
    gate_until - now                while the upstream asked everyone to stay away (Retry-After)

and a call that would wait past its deadline is refused at once, for it costs its caller nothing but the answer.

A limit that depends on time is asked before each start, told of each, and hears of the end of every one it was told of, be it
that nothing came of it. While somebody waits because of it, one timer asks again when time alone may let somebody in.

While the outage gate (``gated``) is closed the queue holds everybody: longest waits in the queue do not count, nobody is
refused for a predicted wait, and each probe is a caller taken out of turn: one that may be sent twice, and of those one that was
has failed least often, so that one page that always fails does not keep the gate shut. With ``fails_at_once`` nobody is held:
who cannot be the probe now is refused.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from proxy.admit.bucket import TokenBucket
from proxy.admit.gated import GatedLimit
from proxy.admit.limit import UNLIMITED, FixedLimit, Limit
from proxy.admit.outage import OutageGate
from proxy.admit.permit import Permit
from proxy.admit.queue import FairQueue
from proxy.admit.waiter import Denied, State, Waiter
from proxy.base.deadlines import Deadlines
from proxy.base.outcomes import FIRST, PROBE, AttemptOutcome, Verdict
from proxy.base.reasons import Reason
from proxy.base.wishes import Priority

_SMOOTHING = 0.05
_SAMPLES_TO_TRUST = 10
_TURNED_AWAY_S = 0.5
"""Who was turned away for a slot counts as waiting for so long, and at most twice as long."""
_TICK_S = 0.001
"""The loop's timers count whole milliseconds: so much later they are not early."""


class Limiter:
    """Slots, tokens and the queue of one route or of all that have none of their own.

    ``try_enter`` and ``enter`` give a Permit, which gives the slot back. ``limit`` is what was configured or learnt,
    ``gated`` the same behind the outage gate. ``max_hold_s`` is the longest hold, ``successes`` counts.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        *,
        monotonic: Callable[[], float],
        limit: Limit | None = None,
        gate: OutageGate | None = None,
        bucket: TokenBucket | None = None,
        max_waiting: int = 1024,
        max_hold_s: float = math.inf,
        fails_at_once: bool = False,
    ) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._monotonic = monotonic
        self.gated = GatedLimit(limit or FixedLimit(UNLIMITED), gate)
        self.max_hold_s = max_hold_s
        self.fails_at_once = fails_at_once
        self._is_holding = False
        self.successes = 0
        self.bucket = bucket
        self.max_waiting = max_waiting
        self.inflight = 0
        self._turned_away = 0
        self._turned_away_from = -math.inf
        self.gate_until = 0.0
        self._gate_timer: asyncio.TimerHandle | None = None
        self._limit_timer: asyncio.TimerHandle | None = None
        self._limit_timer_at = 0.0
        self._queue: FairQueue[Waiter] = FairQueue()
        self._dispatcher: asyncio.Task[None] | None = None
        self._held_s = 0.0
        self._samples = 0

    @property
    def limit(self) -> Limit:
        """The concurrency limit, whatever the outage gate says."""
        return self.gated.inner

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return self._queue.size

    @property
    def is_rate_bound(self) -> bool:
        """Whether it is a token that is missing, and no slot."""
        return self.bucket is not None and self.inflight < self.limit.value

    def waiting_by_priority(self) -> dict[str, int]:
        """Return how many wait, by the word for their priority."""
        counts = {priority.value: 0 for priority in Priority}
        for waiter in self._queue.items():
            counts[waiter.priority.value] += 1
        return counts

    def longest_wait_s(self) -> float:
        """Return how long whoever came first has waited so far, in seconds; 0.0 when nobody waits."""
        came_at = [waiter.came_at for waiter in self._queue.items()]
        return self._monotonic() - min(came_at) if came_at else 0.0

    def try_enter(self) -> Permit | None:
        """Take a slot and a token if both are free and nobody waits; the path of nearly every call. Never as the probe."""
        if self._queue.size or self.gate_until or self._is_holding:
            return None
        gated = self.gated
        if gated.is_plain:
            if self.inflight >= gated.value:
                return None
        elif self._pause_s(self._monotonic()) or self.inflight >= gated.value:
            return None
        bucket = self.bucket
        if bucket is not None and (self._dispatcher is not None or not bucket.try_take()):
            return None
        return self._take_slot(False)

    async def enter(self, waiter: Waiter) -> Permit | Denied:
        """Wait for a slot and a token; a Permit once both are taken. Cancelling gives the slot back."""
        now = self._monotonic()
        is_full = self._queue.size >= self.max_waiting and not waiter.was_accepted
        # In an outage one may be the probe even where nobody may wait: nothing else would ever end it.
        if is_full and (self._queue.size or not self._is_holding):
            self._note_turned_away(now)
            return Denied.QUEUE_FULL
        waiter.come(self, self._loop.create_future(), now)
        self._bound_wait(waiter, now)
        if (
            not self._is_holding
            and not self.gate_until
            and now + self._wait_behind_s(self._queue.ahead_of(waiter.since, waiter.priority), now)
            > waiter.deadline
        ):
            return Denied.TOO_LATE
        self._queue.push(waiter)
        self._deadlines.add(waiter)
        try:
            self._pump()
            if self._is_holding and (is_full or self.fails_at_once):
                # Nothing happens to the one that just became the probe.
                self.dismiss(waiter, Denied.OUTAGE if self.fails_at_once else Denied.QUEUE_FULL)
            return await waiter.ready
        except BaseException:
            waiter.release_permit()  # granted and cancelled in the same step of the loop
            self.dismiss(waiter, Denied.CLOSED)
            raise

    def _note_turned_away(self, now: float) -> None:
        if self.gate_until or self.inflight < self.gated.value:
            return  # it is not a slot that is missing
        if now - self._turned_away_from >= _TURNED_AWAY_S:
            self._turned_away, self._turned_away_from = 0, now
        self._turned_away += 1

    def turned_away(self, now: float) -> int:
        """Return how many were turned away lately for a slot, with no place in the queue: more are wanted, and nobody waits."""
        return self._turned_away if now - self._turned_away_from < 2 * _TURNED_AWAY_S else 0

    def predicted_wait_s(self, now: float) -> float:
        """Return how long one behind all that wait would wait, as far as can be told; 0.0 when nothing speaks for a wait."""
        return self._wait_behind_s(self._queue.size, now)

    def _wait_behind_s(self, ahead: int, now: float) -> float:
        wait_s = max(0.0, self.gate_until - now)
        if self.bucket is not None:
            wait_s = max(wait_s, ahead / self.bucket.rate_per_s if ahead else self.bucket.next_token_s())
        if self._samples >= _SAMPLES_TO_TRUST and self.inflight >= self.limit.value:
            wait_s = max(wait_s, ahead * self._held_s / self.gated.nominal)
        return wait_s

    def take_back(self, outcome: AttemptOutcome, verdict: Verdict, held_s: float) -> None:
        """Take a slot back and learn how its attempt went; for ``Permit.close``, which sees to it that it is once.

        It is taken back even where what learns from it fails.
        """
        try:
            self.gated.on_outcome(outcome, verdict)
            if verdict is Verdict.SUCCESS:
                self.successes += 1
            if self.gated.is_closed != self._is_holding:
                self._gate_turned()
            if self._samples < _SAMPLES_TO_TRUST:
                self._samples += 1
                self._held_s += (held_s - self._held_s) / self._samples
            else:
                self._held_s += _SMOOTHING * (held_s - self._held_s)
        finally:
            self._give_back()

    def answered(self, outcome: AttemptOutcome) -> None:
        """An answer begins to stream. In an outage that is a success already; its slot stays out with its permit."""
        if not self._is_holding:
            return
        self.gated.on_answered(outcome)
        if not self.gated.is_closed:
            self._gate_turned()
            self._pump()

    def dismiss(self, waiter: Waiter, why: Denied) -> None:
        """Take ``waiter`` out of the queue; it is told ``why`` unless it left by itself."""
        self._deadlines.discard(waiter)
        if waiter.state is State.QUEUED:
            waiter.state = State.GONE
            self._queue.discard(waiter)
            if not self._queue.size:
                self._stop_limit_timer()
        if not waiter.ready.done():
            waiter.ready.set_result(why)

    def expire(self, waiter: Waiter) -> None:
        """The waiter's deadline has passed."""
        self.dismiss(waiter, Denied.OUTAGE if self._is_holding else Denied.TIMED_OUT)

    def set_hold(self, max_hold_s: float, fails_at_once: bool) -> None:
        """Put other words for an outage in force; who is held already is held by them."""
        self.max_hold_s = max_hold_s
        self.fails_at_once = fails_at_once
        if self._is_holding:
            self._hold_all()

    def held_s(self, now: float) -> float:
        """Return how long the outage gate has been closed in all; the difference of two is how much of a wait was that."""
        return self.gated.closed_s(now)

    def next_probe_s(self, now: float) -> float:
        """Return how long until somebody may probe, 0.0 while the outage gate is open or when it is due."""
        return self.gated.next_probe_s(now)

    def _gate_turned(self) -> None:
        """The outage gate has closed or opened: those who wait are held, or wait for their turn again."""
        self._is_holding = self.gated.is_closed
        if self._is_holding:
            self._hold_all()
            return
        self._bound_waits()

    def _hold_all(self) -> None:
        if not self.fails_at_once:
            self._bound_waits()
            return
        for waiter in self._queue.items():
            self.dismiss(waiter, Denied.OUTAGE)

    def _bound_waits(self) -> None:
        """A gate has closed or opened: those who wait are held, or wait for their turn again."""
        now = self._monotonic()
        for waiter in self._queue.items():
            self._bound_wait(waiter, now)
            self._deadlines.hurry(waiter.deadline)

    def _bound_wait(self, waiter: Waiter, now: float) -> None:
        if self._is_holding:
            waiter.hold(self.gated.closed_at, self.max_hold_s, now)
        elif self.gate_until:
            waiter.hold(now, math.inf, now)
        else:
            waiter.release(now)

    def close_gate(self, until: float) -> None:
        """Let nobody in before ``until``: the upstream asked for it. Never shortens a longer wait."""
        if until <= self.gate_until:
            return
        is_open = not self.gate_until
        self.gate_until = until
        if is_open:
            self._bound_waits()
        if self._gate_timer is not None:
            self._gate_timer.cancel()
        self._gate_timer = self._loop.call_later(
            max(0.0, until - self._monotonic()) + _TICK_S, self._open_gate
        )

    def _open_gate(self) -> None:
        self._gate_timer = None
        now = self._monotonic()
        if now < self.gate_until:
            self._gate_timer = self._loop.call_later(self.gate_until - now + _TICK_S, self._open_gate)
            return
        self.gate_until = 0.0
        self._bound_waits()
        self._pump()

    def limit_changed(self) -> None:
        """The limit was told another share: let in whoever can go now."""
        self._stop_limit_timer()
        self._pump()

    def reconfigure(self, *, limit: Limit, bucket: TokenBucket | None, max_waiting: int) -> None:
        """Put new limits in force; slots that are out stay out, callers that wait keep their places."""
        if limit is not self.limit:
            self.gated.wrap(limit, self._monotonic(), self.inflight)
            self._stop_limit_timer()
        self.max_waiting = max_waiting
        if bucket is not self.bucket:
            self.bucket = bucket
            if self._dispatcher is not None:
                self._dispatcher.cancel()
                self._dispatcher = None
        self._pump()

    def close(self) -> None:
        """Turn everybody away and stop."""
        for waiter in self._queue.items():
            self.dismiss(waiter, Denied.CLOSED)
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            self._dispatcher = None
        if self._gate_timer is not None:
            self._gate_timer.cancel()
            self._gate_timer = None
        self._stop_limit_timer()

    def _take_slot(self, is_probe: bool) -> Permit:
        if not self.gated.is_plain:
            self.gated.on_start(self._monotonic())
        self.inflight += 1
        return Permit(self, is_probe)

    def take_back_unused(self, is_probe: bool) -> None:
        """Take back the slot of a start that came to nothing, and tell the limit of its end; for ``Permit.release``."""
        try:
            if not self.gated.is_plain:
                kind = PROBE if is_probe else FIRST
                outcome = AttemptOutcome("", kind, self._monotonic(), self.inflight)
                outcome.reason = Reason.CLIENT_GONE
                self.gated.on_outcome(outcome, Verdict.IGNORE)
        finally:
            self._give_back()

    def _give_back(self) -> None:
        self.inflight -= 1
        if self._queue.size:
            self._pump()

    def _can_grant(self) -> bool:
        if self.gate_until or not self._has_waiter():
            return False
        gated = self.gated
        if gated.is_plain:
            return self.inflight < gated.value
        now = self._monotonic()
        pause_s = self._pause_s(now)
        if pause_s or self.inflight >= gated.value:
            self._ask_again(now, pause_s)
            return False
        return True

    def _pause_s(self, now: float) -> float:
        """Return how long until the limit lets anybody start, 0.0 for now; ``gated.value`` is up to date then."""
        return max(0.0, self.gated.next_start_s(now))

    def _ask_again(self, now: float, pause_s: float) -> None:
        """Somebody waits because of the limit: pump when it may have changed by time alone."""
        after_s = self.gated.next_change_s(now)
        if pause_s:
            after_s = min(after_s, pause_s)
        if after_s == math.inf:
            return
        if self._limit_timer is not None:
            if self._limit_timer_at <= now + after_s:
                return  # it comes early, and asks how long it should have been
            self._limit_timer.cancel()
        self._limit_timer_at = now + after_s
        self._limit_timer = self._loop.call_later(max(0.0, after_s) + _TICK_S, self._limit_timer_fired)

    def _limit_timer_fired(self) -> None:
        self._limit_timer = None
        self._pump()

    def _stop_limit_timer(self) -> None:
        if self._limit_timer is not None:
            self._limit_timer.cancel()
            self._limit_timer = None

    def _has_waiter(self) -> bool:
        """Whether somebody waits whose turn it may be. Cancelling ends ``ready`` at once and wakes its caller a turn of the
        loop later; in between the waiter has left as well, and granting it would be an error in the hands of whoever
        frees a slot."""
        queue = self._queue
        while (waiter := queue.peek()) is not None and waiter.ready.done():
            waiter.state = State.GONE
            queue.discard(waiter)
            self._deadlines.discard(waiter)
        if waiter is None:
            self._stop_limit_timer()
        return waiter is not None

    def _pump(self) -> None:
        """Let in whoever can go; where a token is missing, leave a dispatcher waiting for it."""
        if self.bucket is None:
            while self._can_grant():
                self._grant()
        elif self._dispatcher is None:
            while self._can_grant():
                if not self.bucket.try_take():
                    if self._is_holding and (self.fails_at_once or not self.max_waiting):
                        return  # nobody stays to use the token
                    self._dispatcher = self._loop.create_task(self._dispatch(self.bucket))
                    return
                self._grant()

    async def _dispatch(self, bucket: TokenBucket) -> None:
        """Turn tokens into grants, one by one, as long as somebody could use one."""
        while self._can_grant():
            await bucket.take()
            if self._can_grant():
                self._grant()
        self._dispatcher = None

    def _grant(self) -> None:
        permit = self._take_slot(self._is_holding)  # first: should it fail, nobody has left the queue
        if permit.is_probe:
            waiter = self._next_probe()
            self._queue.discard(waiter)
        else:
            waiter = self._queue.pop()
        waiter.state = State.GRANTED
        self._deadlines.discard(waiter)
        waiter.ready.set_result(permit)

    def _next_probe(self) -> Waiter:
        """Return who probes; somebody waits. A scan, but of at most one second."""
        waiters = [waiter for waiter in self._queue.items() if not waiter.ready.done()]
        return min(waiters, key=_reluctance)

    def __repr__(self) -> str:
        return f"<Limiter {self.inflight} of {self.limit.value} in flight, {self.waiting} waiting, {self.bucket}>"


def _reluctance(waiter: Waiter) -> tuple[bool, int]:
    return not waiter.may_probe, waiter.failures
