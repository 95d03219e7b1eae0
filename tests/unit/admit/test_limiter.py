"""The gate: nobody is let in out of turn; given back exactly once; bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.admit.bucket import TokenBucket
from proxy.admit.limit import UNLIMITED, FixedLimit
from proxy.admit.limiter import Limiter
from proxy.admit.permit import Permit
from proxy.admit.waiter import Denied, Waiter
from proxy.base.deadlines import Deadlines
from proxy.base.outcomes import AttemptOutcome, Verdict
from proxy.base.wishes import Priority
from tests.fakes.loop import soon, until
from tests.fakes.virtual import now, run

FAR = float("inf")


@asynccontextmanager
async def limiter(
    limit: int = 1, rate: float | None = None, burst: float = 1, **over: int
) -> AsyncIterator[Limiter]:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, now)
    bucket = None if rate is None else TokenBucket(rate, burst)
    gate = Limiter(loop, deadlines, monotonic=now, limit=FixedLimit(limit), bucket=bucket, **over)
    try:
        yield gate
        assert (gate.inflight, gate.waiting) == (0, 0)
        await until(lambda: len(deadlines) == 0, "no deadline is watched")
    finally:
        gate.close()
        deadlines.close()


def give_back(gate: Limiter) -> None:
    Permit(gate, False).release()  # one slot is like another


async def queued(
    gate: Limiter, count: int, *, since: float | None = None, priority: Priority = Priority.NORMAL
) -> list[asyncio.Task[Permit | Denied]]:
    tasks = []
    for _ in range(count):
        before = gate.waiting
        tasks.append(asyncio.ensure_future(gate.enter(Waiter(FAR, since, priority))))
        await until(lambda n=before: gate.waiting == n + 1, "it waits")
    return tasks


def test_slots_go_to_those_who_wait_in_the_order_of_arrival() -> None:
    async def trace() -> None:
        async with limiter(1) as gate:
            assert gate.try_enter()
            waiters = await queued(gate, 5)
            for number in range(5):
                give_back(gate)
                assert isinstance(await soon(waiters[number]), Permit)
                assert [task.done() for task in waiters] == [n <= number for n in range(5)]
                assert gate.inflight == 1
            give_back(gate)

    run(trace())


def test_slots_go_by_priority_and_then_to_who_had_nothing_for_longest() -> None:
    async def trace() -> None:
        async with limiter(1) as gate:
            assert gate.try_enter()
            (low,) = await queued(gate, 1, priority=Priority.LOW)
            (late,) = await queued(gate, 1, since=20.0)
            (early,) = await queued(gate, 1, since=10.0)
            (high,) = await queued(gate, 1, priority=Priority.HIGH)
            assert gate.waiting_by_priority() == {"high": 1, "normal": 2, "low": 1}
            for waiter in (high, early, late, low):
                give_back(gate)
                assert isinstance(await soon(waiter), Permit)
                assert gate.inflight == 1
            give_back(gate)
            assert gate.waiting_by_priority() == {"high": 0, "normal": 0, "low": 0}

    run(trace())


def test_the_longest_wait_is_that_of_the_first_who_came_and_still_waits() -> None:
    async def trace() -> None:
        async with limiter(1) as gate:
            assert gate.longest_wait_s() == 0.0
            assert gate.try_enter()
            (first,) = await queued(gate, 1)
            await asyncio.sleep(0.05)
            (second,) = await queued(gate, 1, since=0.0)
            assert gate.longest_wait_s() >= 0.05
            first.cancel()
            await until(lambda: gate.waiting == 1, "the first has left")
            assert gate.longest_wait_s() < 0.05
            give_back(gate)
            assert isinstance(await soon(second), Permit)
            give_back(gate)

    run(trace())


@pytest.mark.parametrize("place", range(4))
def test_a_slot_freed_in_the_step_of_a_departure_goes_to_the_next(place: int) -> None:
    """The one that leaves was cancelled and has not run yet: it is passed over, wherever it stands."""

    async def trace() -> None:
        async with limiter(1) as gate:
            assert gate.try_enter()
            waiters = await queued(gate, 4)
            waiters[place].cancel()
            for waiter in [task for task in waiters if task is not waiters[place]]:
                give_back(gate)
                assert gate.inflight == 1
                assert isinstance(await soon(waiter), Permit)
            assert waiters[place].cancelled()
            give_back(gate)

    run(trace())


def test_nobody_overtakes_the_queue() -> None:
    async def trace() -> None:
        async with limiter(1) as gate:
            assert gate.try_enter()
            (waiter,) = await queued(gate, 1)
            give_back(gate)
            assert not gate.try_enter(), "the slot is the waiter's, though it has not run yet"
            assert isinstance(await soon(waiter), Permit)
            give_back(gate)

    run(trace())


def test_a_waiter_cancelled_in_the_step_of_its_grant_gives_the_slot_back() -> None:
    async def trace() -> None:
        async with limiter(1) as gate:
            assert gate.try_enter()
            first, second = await queued(gate, 2)
            give_back(gate)
            assert gate.inflight == 1
            first.cancel()
            assert isinstance(await soon(second), Permit)
            assert first.cancelled()
            assert gate.inflight == 1
            give_back(gate)

    run(trace())


class Broken:
    """A limit of one that fails when it should learn."""

    probes = UNLIMITED
    is_plain = False
    value = 1
    nominal = 1.0

    def next_start_s(self, now: float) -> float:
        return 0.0

    def next_change_s(self, now: float) -> float:
        return FAR

    def on_start(self, now: float) -> None:
        pass

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        raise ZeroDivisionError

    def on_gate(self, is_closed: bool, now: float) -> None:
        pass


@pytest.mark.parametrize("ran", [True, False])
def test_a_slot_is_given_back_though_learning_failed(ran: bool) -> None:
    async def trace() -> None:
        async with limiter(1) as gate:
            gate.reconfigure(limit=Broken(), bucket=None, max_waiting=10)
            permit = gate.try_enter()
            assert permit is not None
            (waiter,) = await queued(gate, 1)
            outcome = AttemptOutcome("default", "first", 0.0, 1)
            with pytest.raises(ZeroDivisionError):
                permit.close(outcome, Verdict.SUCCESS, 0.0) if ran else permit.release()
            assert isinstance(await soon(waiter), Permit)
            gate.reconfigure(limit=FixedLimit(1), bucket=None, max_waiting=10)
            give_back(gate)

    run(trace())


def test_waiters_that_leave_are_not_counted_and_not_granted() -> None:
    async def trace() -> None:
        async with limiter(1) as gate:
            assert gate.try_enter()
            waiters = await queued(gate, 300)
            for task in waiters[1::2]:
                task.cancel()
            await until(lambda: gate.waiting == 150, "half have left")
            for task in waiters[0::2]:
                give_back(gate)
                assert isinstance(await soon(task), Permit)
            give_back(gate)

    run(trace())


def test_the_queue_is_bounded() -> None:
    async def trace() -> None:
        async with limiter(1, max_waiting=2) as gate:
            assert gate.try_enter()
            waiters = await queued(gate, 2)
            assert await gate.enter(Waiter(FAR)) is Denied.QUEUE_FULL
            waiters.pop().cancel()
            await until(lambda: gate.waiting == 1, "one has left")
            waiters += await queued(gate, 1)
            for task in waiters:
                give_back(gate)
                assert isinstance(await soon(task), Permit)
            give_back(gate)

    run(trace())


def test_a_deadline_ends_a_wait() -> None:
    async def trace() -> None:
        async with limiter(1) as gate:
            assert gate.try_enter()
            assert await soon(gate.enter(Waiter(now() + 0.03))) is Denied.TIMED_OUT
            give_back(gate)

    run(trace())


def test_closing_turns_everybody_away() -> None:
    async def trace() -> None:
        async with limiter(1) as gate:
            assert gate.try_enter()
            waiters = await queued(gate, 3)
            gate.close()
            assert [await soon(task) for task in waiters] == [Denied.CLOSED] * 3
            give_back(gate)

    run(trace())


def test_the_predicted_wait_by_rate_is_the_queue_over_the_rate() -> None:
    """n / rate; a call that would come too late for its deadline is refused at once."""

    async def trace() -> None:
        async with limiter(100, rate=0.5) as gate:
            assert gate.try_enter()
            waiters = await queued(gate, 4)
            assert gate.predicted_wait_s(now()) == pytest.approx(4 / 0.5)
            assert await gate.enter(Waiter(now() + 5)) is Denied.TOO_LATE
            for task in waiters:
                task.cancel()
            await until(lambda: gate.waiting == 0, "all have left")
            give_back(gate)

    run(trace())


def test_the_predicted_wait_by_slots_is_the_queue_times_the_time_a_slot_is_held() -> None:
    """n * held / limit, once ten attempts were seen."""

    async def trace() -> None:
        async with limiter(2) as gate:
            for _ in range(10):
                assert gate.try_enter()
                Permit(gate, False).close(AttemptOutcome("default", "first", 0.0, 1), Verdict.SUCCESS, 4.0)
            assert gate.predicted_wait_s(now()) == 0.0
            assert gate.try_enter()
            assert gate.try_enter()
            waiters = await queued(gate, 3)
            assert gate.predicted_wait_s(now()) == pytest.approx(3 * 4.0 / 2)
            for task in waiters:
                give_back(gate)
                await soon(task)
            give_back(gate)
            give_back(gate)

    run(trace())


def test_a_call_is_refused_for_its_own_place_and_not_for_the_queues_length() -> None:
    """Five wait, 4 s each: too long for one that comes now, not for a retry of an old call or one of high priority."""

    async def trace() -> None:
        async with limiter(1) as gate:
            for _ in range(10):
                assert gate.try_enter()
                Permit(gate, False).close(AttemptOutcome("default", "first", 0.0, 1), Verdict.SUCCESS, 4.0)
            assert gate.try_enter()
            waiters = await queued(gate, 5)
            by = now() + 5
            assert await gate.enter(Waiter(by)) is Denied.TOO_LATE
            for priority, since in ((Priority.NORMAL, 0.0), (Priority.HIGH, None)):
                urgent = asyncio.ensure_future(gate.enter(Waiter(by, since, priority)))
                await until(lambda: gate.waiting == 6, "it waits")
                give_back(gate)
                assert isinstance(await soon(urgent), Permit)
            for waiter in waiters:
                give_back(gate)
                assert isinstance(await soon(waiter), Permit)
            give_back(gate)

    run(trace())


def test_a_closed_gate_lets_nobody_in_and_opens_by_itself() -> None:
    async def trace() -> None:
        async with limiter(10) as gate:
            until_s = now() + 0.05
            gate.close_gate(until_s)
            gate.close_gate(until_s - 0.04)
            assert not gate.try_enter()
            assert gate.predicted_wait_s(until_s - 0.05) == pytest.approx(0.05)
            assert isinstance(await soon(gate.enter(Waiter(FAR))), Permit)
            assert now() >= until_s
            give_back(gate)

    run(trace())


def test_new_limits_apply_to_those_who_wait() -> None:
    async def trace() -> None:
        async with limiter(1) as gate:
            assert gate.try_enter()
            waiters = await queued(gate, 3)
            gate.reconfigure(limit=FixedLimit(3), bucket=None, max_waiting=10)
            assert [type(await soon(task)) for task in waiters[:2]] == [Permit, Permit]
            assert gate.inflight == 3
            gate.reconfigure(limit=FixedLimit(1), bucket=None, max_waiting=10)
            give_back(gate)
            give_back(gate)
            assert gate.waiting == 1
            give_back(gate)
            assert isinstance(await soon(waiters[2]), Permit)
            give_back(gate)

    run(trace())


def test_taking_the_rate_away_frees_those_who_wait_for_tokens() -> None:
    async def trace() -> None:
        async with limiter(10, rate=0.01) as gate:
            assert gate.try_enter()
            waiters = await queued(gate, 2)
            gate.reconfigure(limit=gate.limit, bucket=None, max_waiting=10)
            assert [type(await soon(task)) for task in waiters] == [Permit, Permit]
            for _ in range(3):
                give_back(gate)

    run(trace())
