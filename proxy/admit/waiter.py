"""A caller at the limiter: what it brings, how long it waits, and what came of it."""

from __future__ import annotations

import asyncio
import math
from enum import Enum
from typing import Protocol

from proxy.admit.permit import Permit
from proxy.admit.queue import Queued
from proxy.base.wishes import Priority


class Denied(Enum):
    """Why a caller was not let in."""

    QUEUE_FULL = "queue full"
    TOO_LATE = "the wait would pass the deadline"
    TIMED_OUT = "waited too long"
    OUTAGE = "the outage gate is closed"
    CLOSED = "closed"


class State(Enum):
    """Where a caller is: asking or in the queue, let in, or gone."""

    QUEUED = "queued"
    GRANTED = "granted"
    GONE = "gone"


class Queue(Protocol):
    """Where waiters stand."""

    def expire(self, waiter: Waiter) -> None:
        """Its deadline has passed."""


class Waiter(Queued):
    """A caller. All times are monotonic seconds, all spans seconds.

    ``until`` is when it gives up whatever happens, ``max_wait_s`` how long it waits in the queue, which does not count while the
    outage gate is closed; ``deadline`` is what follows from both now. ``since`` is when the caller last had something, and
    decides its turn; None: just now. ``called_at`` is when it came first, from which its hold is counted. ``may_probe`` is
    false when it may be sent only once, ``failures`` how often it has failed so far, ``was_accepted`` spares it a full queue.
    """

    __slots__ = (
        "called_at",
        "came_at",
        "deadline",
        "failures",
        "left_s",
        "limiter",
        "max_wait_s",
        "may_probe",
        "ready",
        "state",
        "turn_by",
        "until",
        "was_accepted",
    )  # fmt: skip

    def __init__(
        self,
        until: float,
        since: float | None = None,
        priority: Priority = Priority.NORMAL,
        *,
        max_wait_s: float = math.inf,
        called_at: float | None = None,
        may_probe: bool = True,
        failures: int = 0,
        was_accepted: bool = False,
    ) -> None:
        super().__init__(math.inf if since is None else since, priority)
        self.until = until
        self.max_wait_s = max_wait_s
        self.called_at = math.inf if called_at is None else called_at
        self.may_probe = may_probe
        self.failures = failures
        self.was_accepted = was_accepted
        self.came_at = 0.0
        self.turn_by = 0.0
        self.left_s = max_wait_s
        self.deadline = until
        self.state = State.QUEUED

    def come(self, limiter: Queue, ready: asyncio.Future[Permit | Denied], now: float) -> None:
        """Come to a limiter's queue; ``ready`` will resolve to a permit or why not."""
        self.limiter = limiter
        self.ready = ready
        self.came_at = now
        self.since = min(self.since, now)
        self.called_at = min(self.called_at, now)
        self.turn_by = math.inf
        self.release(now)

    def hold(self, closed_at: float, max_hold_s: float, now: float) -> None:
        """A gate is closed: wait as long as that allows; longest waits in the queue do not count meanwhile."""
        if self.turn_by != math.inf:
            self.left_s = self.turn_by - now
            self.turn_by = math.inf
        self.deadline = min(self.until, max(closed_at, self.called_at) + max_hold_s)

    def release(self, now: float) -> None:
        """The gates are open: wait as long as a turn may take."""
        if self.turn_by == math.inf:
            self.turn_by = now + self.left_s
        self.deadline = min(self.until, self.turn_by)

    def release_permit(self) -> None:
        """Give back the permit of one that was let in and will not go."""
        if self.state is State.GRANTED:
            permit = self.ready.result()
            if isinstance(permit, Permit):
                permit.release()

    def expire(self, now: float) -> None:
        """The deadline passed while waiting."""
        self.limiter.expire(self)
