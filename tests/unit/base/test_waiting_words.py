"""Deadlines, signals, and the promise that reasons make."""

from __future__ import annotations

import asyncio

from proxy.base.deadlines import NEVER, TICK_S, Deadlines
from proxy.base.reasons import Reason
from proxy.base.signal import Signal
from tests.fakes.loop import soon
from tests.fakes.virtual import now, run

REASONS = """ok upstream_status upstream_json connect_failed connect_timeout tls_failed dns_failed reset stale_connection
truncated head_timeout body_timeout bad_response queue_full queue_timeout deadline outage budget draining client_gone bad_request
too_large internal"""


class Waiting:
    """Something with a deadline that notes when it is told."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.told = asyncio.Event()
        self.told_at = 0.0

    def expire(self, now: float) -> None:
        self.deadline = NEVER
        self.told_at = now
        self.told.set()


def test_reasons_are_those_of_the_contract() -> None:
    assert {reason.value for reason in Reason} == set(REASONS.split())


def test_a_deadline_is_noticed_in_time_and_not_before() -> None:
    async def trace() -> None:
        deadlines = Deadlines(asyncio.get_running_loop(), now)
        waiting = Waiting(now() + 0.05)
        due = waiting.deadline
        deadlines.add(waiting)
        await soon(waiting.told.wait())
        assert due <= waiting.told_at <= due + 5 * TICK_S
        deadlines.close()

    run(trace())


def test_a_deadline_moved_closer_is_noticed_after_hurrying() -> None:
    async def trace() -> None:
        deadlines = Deadlines(asyncio.get_running_loop(), now)
        waiting, other = Waiting(now() + 100), Waiting(NEVER)
        deadlines.add(waiting)
        deadlines.add(other)
        waiting.deadline = now() + 0.03
        deadlines.hurry(waiting.deadline)
        await soon(waiting.told.wait())
        assert not other.told.is_set()
        deadlines.discard(waiting)
        deadlines.discard(waiting)
        assert len(deadlines) == 1
        deadlines.close()

    run(trace())


def test_somebody_overdue_who_keeps_moving_does_not_put_the_sweep_off() -> None:
    """Forty clients that trickled their heads, a byte each 10 ms, were never told that their time was up."""

    async def trace() -> None:
        deadlines = Deadlines(asyncio.get_running_loop(), now)
        waiting = Waiting(now() + 0.05)
        deadlines.add(waiting)
        ends = now() + 1.0
        while not waiting.told.is_set() and now() < ends:
            deadlines.hurry(min(waiting.deadline, now() + 0.05))
            await asyncio.sleep(0.001)
        assert waiting.told_at <= ends - 0.85
        deadlines.close()

    run(trace())


def test_a_sweep_that_comes_late_reads_first() -> None:
    """The process was stopped, or out of CPU: what has arrived meanwhile is read before anything expires."""

    async def trace() -> None:
        loop = asyncio.get_running_loop()
        clock = {"ahead": 0.0}
        deadlines = Deadlines(loop, lambda: now() + clock["ahead"])
        waiting = Waiting(now() + 0.05)
        deadlines.add(waiting)
        clock["ahead"] = 60.0
        await asyncio.sleep(0.06)
        assert not waiting.told.is_set(), "the loop may read"
        waiting.deadline = now() + 120.0
        await asyncio.sleep(0.5)
        assert not waiting.told.is_set(), "what was read has moved the deadline"
        waiting.deadline = now()
        deadlines.hurry(waiting.deadline)
        await soon(waiting.told.wait())
        deadlines.close()

    run(trace())


def test_one_that_leaves_while_others_expire_is_not_told() -> None:
    async def trace() -> None:
        deadlines = Deadlines(asyncio.get_running_loop(), now)
        at = now() + 0.03
        pair = [Waiting(at), Waiting(at)]
        told: list[int] = []

        class Taking(Waiting):
            def expire(self, now: float) -> None:
                super().expire(now)
                told.append(id(self))
                for one in both:
                    deadlines.discard(one)

        both = [Taking(at), Taking(at)]
        for one in [*both, *pair]:
            deadlines.add(one)
        await soon(asyncio.gather(*(one.told.wait() for one in pair)))
        assert len(told) == 1
        deadlines.close()

    run(trace())


def test_a_signal_wakes_its_waiter_once_and_forgets_what_nobody_waits_for() -> None:
    async def trace() -> None:
        signal = Signal(asyncio.get_running_loop())
        signal.fire()
        waiting = signal.wait()
        assert not waiting.done()
        signal.fire()
        signal.fire()
        await soon(waiting)
        cancelled = signal.wait()
        cancelled.cancel()
        signal.fire()

    run(trace())
