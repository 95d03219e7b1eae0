"""The gate every attempt passes: a slot, then a token, in the order of arrival; who cannot go now waits.

States of a caller: let in at once, or queued, then granted (a slot is taken for it by whoever frees one), or it leaves the
queue (deadline, disconnect). The slot comes before the token, so that no token is spent on a call that cannot start. A token
that comes when everybody has left is lost: kept, it would be one more than the burst allows.

The predicted wait of the n-th in the queue is the longest of

    n / rate                        while a rate is set
    n * held_s / limit              held_s: smoothed time a slot is held, once 10 were seen
    gate_until - now                while the upstream asked everyone to stay away (Retry-After)

and a call that would wait past its deadline is refused at once, for it costs its caller nothing but the answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum

from proxy.admit.bucket import TokenBucket
from proxy.admit.limit import UNLIMITED, FixedLimit, Limit, Verdict
from proxy.base.deadlines import Deadlines
from proxy.base.outcomes import AttemptOutcome

_SMOOTHING = 0.05
_SAMPLES_TO_TRUST = 10


class Denied(Enum):
    """Why a caller was not let in."""

    QUEUE_FULL = "queue full"
    TOO_LATE = "the wait would pass the deadline"
    TIMED_OUT = "waited too long"
    CLOSED = "closed"


class _State(Enum):
    QUEUED = "queued"
    GRANTED = "granted"
    GONE = "gone"


class Waiter:
    """A caller in the queue. ``deadline`` is monotonic seconds; ``ready`` resolves to None (granted) or why not."""

    __slots__ = ("_limiter", "deadline", "ready", "state")

    def __init__(self, limiter: Limiter, deadline: float, ready: asyncio.Future[Denied | None]) -> None:
        self._limiter = limiter
        self.deadline = deadline
        self.ready = ready
        self.state = _State.QUEUED

    def expire(self, now: float) -> None:
        """The deadline passed while waiting."""
        self._limiter.dismiss(self, Denied.TIMED_OUT)


class Limiter:
    """Slots, tokens and the queue of one route or of all that have none of their own.

    ``enter`` gives a slot that ``leave`` must give back, exactly once, whatever happens in between.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        *,
        monotonic: Callable[[], float],
        limit: Limit | None = None,
        bucket: TokenBucket | None = None,
        max_waiting: int = 1024,
    ) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._monotonic = monotonic
        self.limit: Limit = limit or FixedLimit(UNLIMITED)
        self.bucket = bucket
        self.max_waiting = max_waiting
        self.inflight = 0
        self.gate_until = 0.0
        self._gate_timer: asyncio.TimerHandle | None = None
        self._queue: deque[Waiter] = deque()
        self._left_in_queue = 0
        self._dispatcher: asyncio.Task[None] | None = None
        self._held_s = 0.0
        self._samples = 0

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return len(self._queue) - self._left_in_queue

    def try_enter(self) -> bool:
        """Take a slot and a token if both are free and nobody waits; the path of nearly every call."""
        if self._queue or self.inflight >= self.limit.value or self.gate_until:
            return False
        bucket = self.bucket
        if bucket is not None and (self._dispatcher is not None or not bucket.try_take()):
            return False
        self.inflight += 1
        return True

    async def enter(self, deadline: float) -> Denied | None:
        """Wait for a slot and a token until ``deadline``; None once both are taken. Cancelling gives both back."""
        if self.waiting >= self.max_waiting:
            return Denied.QUEUE_FULL
        now = self._monotonic()
        if now + self.predicted_wait_s(now) > deadline:
            return Denied.TOO_LATE
        waiter = Waiter(self, deadline, self._loop.create_future())
        self._queue.append(waiter)
        self._deadlines.add(waiter)
        self._pump()
        try:
            return await waiter.ready
        except asyncio.CancelledError:
            if waiter.state is _State.GRANTED:
                self._give_back()  # granted and cancelled in the same step of the loop
            self.dismiss(waiter, Denied.CLOSED)
            raise

    def predicted_wait_s(self, now: float) -> float:
        """Return how long a caller that came now would wait, as far as can be told; 0.0 when nothing speaks for a wait."""
        ahead = self.waiting
        wait_s = max(0.0, self.gate_until - now)
        if self.bucket is not None:
            wait_s = max(wait_s, ahead / self.bucket.rate_per_s)
        if self._samples >= _SAMPLES_TO_TRUST and self.inflight >= self.limit.value:
            wait_s = max(wait_s, ahead * self._held_s / self.limit.value)
        return wait_s

    def leave(self, outcome: AttemptOutcome | None, verdict: Verdict, held_s: float) -> None:
        """Give a slot back and say how its attempt went; ``outcome`` is None when there was none to speak of."""
        if outcome is not None:
            self.limit.on_outcome(outcome, verdict)
            if self._samples < _SAMPLES_TO_TRUST:
                self._samples += 1
                self._held_s += (held_s - self._held_s) / self._samples
            else:
                self._held_s += _SMOOTHING * (held_s - self._held_s)
        self._give_back()

    def dismiss(self, waiter: Waiter, why: Denied) -> None:
        """Take ``waiter`` out of the queue; it is told ``why`` unless it left by itself."""
        self._deadlines.discard(waiter)
        if waiter.state is _State.QUEUED:
            waiter.state = _State.GONE
            self._left_in_queue += 1
            self._drop_left()
        if not waiter.ready.done():
            waiter.ready.set_result(why)

    def close_gate(self, until: float) -> None:
        """Let nobody in before ``until``: the upstream asked for it. Never shortens a longer wait."""
        if until <= self.gate_until:
            return
        self.gate_until = until
        if self._gate_timer is not None:
            self._gate_timer.cancel()
        self._gate_timer = self._loop.call_later(max(0.0, until - self._monotonic()) + 0.001, self._open_gate)

    def _open_gate(self) -> None:
        self._gate_timer = None
        now = self._monotonic()
        if now < self.gate_until:
            self._gate_timer = self._loop.call_later(self.gate_until - now + 0.001, self._open_gate)
            return
        self.gate_until = 0.0
        self._pump()

    def reconfigure(self, *, limit: Limit, bucket: TokenBucket | None, max_waiting: int) -> None:
        """Put new limits in force; slots that are out stay out, callers that wait keep their places."""
        self.limit = limit
        self.max_waiting = max_waiting
        if bucket is not self.bucket:
            self.bucket = bucket
            if self._dispatcher is not None:
                self._dispatcher.cancel()
                self._dispatcher = None
        self._pump()

    def close(self) -> None:
        """Turn everybody away and stop."""
        for waiter in list(self._queue):
            self.dismiss(waiter, Denied.CLOSED)
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            self._dispatcher = None
        if self._gate_timer is not None:
            self._gate_timer.cancel()
            self._gate_timer = None

    def _give_back(self) -> None:
        self.inflight -= 1
        if self._queue:
            self._pump()

    def _drop_left(self) -> None:
        """Take those who left off the queue's head. Cancelling ends ``ready`` at once and wakes its caller a turn later;
        in between the waiter has left as well, and granting it would be an error in the hands of whoever frees a slot."""
        queue = self._queue
        while queue and (queue[0].state is _State.GONE or queue[0].ready.done()):
            waiter = queue.popleft()
            if waiter.state is _State.GONE:
                self._left_in_queue -= 1
            else:
                waiter.state = _State.GONE
                self._deadlines.discard(waiter)
        if self._left_in_queue > 64 and self._left_in_queue * 2 > len(queue):
            self._queue = deque(waiter for waiter in queue if waiter.state is _State.QUEUED)
            self._left_in_queue = 0

    def _can_grant(self) -> bool:
        self._drop_left()
        return bool(self._queue) and self.inflight < self.limit.value and not self.gate_until

    def _pump(self) -> None:
        """Let in whoever can go; where a token is missing, leave a dispatcher waiting for it."""
        if self.bucket is None:
            while self._can_grant():
                self._grant()
        elif self._dispatcher is None:
            while self._can_grant():
                if not self.bucket.try_take():
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
        waiter = self._queue.popleft()
        waiter.state = _State.GRANTED
        self.inflight += 1
        self._deadlines.discard(waiter)
        waiter.ready.set_result(None)

    def __repr__(self) -> str:
        return f"<Limiter {self.inflight} of {self.limit.value} in flight, {self.waiting} waiting, {self.bucket}>"
