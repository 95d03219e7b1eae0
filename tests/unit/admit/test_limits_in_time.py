"""Limits that depend on time: asked before each start, told of each and of its end, and asked again by one timer."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

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


class TimedLimit:
    """``value_at`` tells the limit at a time, and when to look again; between two starts lie ``pace_s``."""

    probes = UNLIMITED
    is_plain = False

    def __init__(
        self,
        value_at: Callable[[float], tuple[int, float]] = lambda _: (1000, math.inf),
        *,
        pace_s: float = 0.0,
    ) -> None:
        self._value_at = value_at
        self._pace_s = pace_s
        self._next_start = 0.0
        self.value = 0
        self.nominal = 1.0
        self.starts: list[float] = []
        self.ends: list[Verdict] = []
        self.asked = 0

    @property
    def under_way(self) -> int:
        return len(self.starts) - len(self.ends)

    def next_start_s(self, now: float) -> float:
        self.asked += 1
        self.value = self._value_at(now)[0]
        return self._next_start - now

    def next_change_s(self, now: float) -> float:
        return self._value_at(now)[1]

    def on_start(self, now: float) -> None:
        self.starts.append(now)
        self._next_start = now + self._pace_s

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        self.ends.append(verdict)

    def on_gate(self, is_closed: bool, now: float) -> None:
        pass


class Timers:
    """The loop, as far as a limiter needs it; remembers its timers."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.create_future = self._loop.create_future
        self.create_task = self._loop.create_task
        self.running: set[int] = set()
        self.set = 0

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        self.set += 1
        number = self.set
        self.running.add(number)

        def fire() -> None:
            self.running.discard(number)
            call()

        handle = self._loop.call_later(delay_s, fire)
        running = self.running

        class Handle:
            def cancel(self) -> None:
                running.discard(number)
                handle.cancel()

        return Handle()


@asynccontextmanager
async def limiter(limit: TimedLimit | FixedLimit, **over: Any) -> AsyncIterator[tuple[Limiter, Timers]]:
    """At its end nobody waits, no slot is out, no timer runs, and every start had one end."""
    timers = Timers()
    deadlines = Deadlines(asyncio.get_running_loop(), now)
    gate = Limiter(timers, deadlines, monotonic=now, limit=limit, **over)
    try:
        yield gate, timers
        assert (gate.inflight, gate.waiting, len(timers.running)) == (0, 0, 0)
        if isinstance(gate.limit, TimedLimit):
            assert gate.limit.under_way == 0
    finally:
        gate.close()
        deadlines.close()


def give_back(gate: Limiter, verdict: Verdict = Verdict.SUCCESS) -> None:
    Permit(gate, False).close(AttemptOutcome("default", "first", now(), 1), verdict, 0.0)


async def queued(gate: Limiter, count: int, deadline: float = FAR) -> list[asyncio.Task[Permit | Denied]]:
    before = gate.waiting
    tasks = [asyncio.ensure_future(gate.enter(Waiter(deadline))) for _ in range(count)]
    await asyncio.sleep(0)
    assert gate.waiting == before + count
    return tasks


def test_no_two_starts_lie_closer_than_the_pace() -> None:
    """Whether they wait or come when nobody does; and they are not much later than it either."""

    async def trace() -> None:
        limit = TimedLimit(pace_s=0.02)
        async with limiter(limit) as (gate, timers):
            began = now()
            assert gate.try_enter()
            assert not gate.try_enter()
            waiters = await queued(gate, 9)
            for waiter in waiters:
                assert isinstance(await soon(waiter), Permit)
                assert len(timers.running) <= 1
                assert not gate.try_enter(), "nobody comes between"
            assert len(limit.starts) == 10
            assert min(late - early for early, late in pairwise(limit.starts)) >= 0.02
            assert now() - began < 9 * 0.02 + 0.1
            await asyncio.sleep(0.025)
            assert gate.try_enter()
            for _ in range(11):
                give_back(gate)

    run(trace())


def test_a_limit_that_rises_with_time_lets_a_waiter_in_without_any_attempts_end() -> None:
    async def trace() -> None:
        opens = now() + 0.06
        limit = TimedLimit(lambda now: (0, opens - now) if now < opens else (1, math.inf))
        async with limiter(limit) as (gate, timers):
            assert not gate.try_enter()
            first, second = await queued(gate, 2)
            assert len(timers.running) == 1
            assert isinstance(await soon(first), Permit)
            assert now() >= opens
            assert gate.waiting == 1
            assert timers.running == set(), "only the first one's end can let the second in"
            give_back(gate)
            assert isinstance(await soon(second), Permit)
            give_back(gate)

    run(trace())


def test_an_attempts_end_lets_a_waiter_in_before_the_timer_does() -> None:
    async def trace() -> None:
        limit = TimedLimit(lambda _: (1, 30.0))
        async with limiter(limit) as (gate, timers):
            assert gate.try_enter()
            (waiter,) = await queued(gate, 1)
            assert len(timers.running) == 1
            give_back(gate)
            assert isinstance(await soon(waiter), Permit)
            assert timers.running == set()
            give_back(gate)

    run(trace())


def test_a_change_that_comes_sooner_moves_the_timer() -> None:
    """One timer at any time; it is set anew only when it would come too late."""

    async def trace() -> None:
        opens = [now() + 30.0]
        limit = TimedLimit(lambda now: (1, opens[0] - now) if now < opens[0] else (2, math.inf))
        async with limiter(limit) as (gate, timers):
            assert gate.try_enter()
            waiters = await queued(gate, 3)
            assert timers.set == 1
            opens[0] = now() + 0.03
            waiters += await queued(gate, 1)
            assert (timers.set, len(timers.running)) == (2, 1)
            assert isinstance(await soon(waiters[0]), Permit)
            for waiter in waiters[1:]:
                give_back(gate)
                assert isinstance(await soon(waiter), Permit)
            give_back(gate)
            give_back(gate)

    run(trace())


def test_a_timer_that_comes_early_asks_again() -> None:
    async def trace() -> None:
        opens = [now() + 0.01]
        limit = TimedLimit(lambda now: (0, opens[0] - now) if now < opens[0] else (1, math.inf))
        async with limiter(limit) as (gate, timers):
            (waiter,) = await queued(gate, 1)
            opens[0] += 0.05
            assert isinstance(await soon(waiter), Permit)
            assert now() >= opens[0]
            assert timers.set == 2
            give_back(gate)

    run(trace())


@pytest.mark.parametrize("end", ["cancel", "deadline", "close"])
def test_the_timer_ends_with_the_queue(end: str) -> None:
    async def trace() -> None:
        limit = TimedLimit(lambda _: (0, 0.02))
        async with limiter(limit) as (gate, timers):
            deadline = now() + 0.06 if end == "deadline" else FAR
            waiters = await queued(gate, 3, deadline)
            assert len(timers.running) == 1
            if end == "close":
                gate.close()
                assert timers.running == set()
                assert [await soon(waiter) for waiter in waiters] == [Denied.CLOSED] * 3
            elif end == "cancel":
                for waiter in waiters:
                    assert len(timers.running) == 1
                    waiter.cancel()
                    await asyncio.wait([waiter])
            else:
                assert [await soon(waiter) for waiter in waiters] == [Denied.TIMED_OUT] * 3
            assert (gate.waiting, timers.running) == (0, set())
            asked = limit.asked
            await asyncio.sleep(0.05)
            assert limit.asked == asked

    run(trace())


def test_the_timer_ends_when_the_last_waiter_was_cancelled_and_has_not_run_yet() -> None:
    async def trace() -> None:
        limit = TimedLimit(lambda _: (1, 30.0))
        async with limiter(limit) as (gate, timers):
            assert gate.try_enter()
            (waiter,) = await queued(gate, 1)
            waiter.cancel()
            give_back(gate)
            assert timers.running == set()
            await asyncio.wait([waiter])
            assert gate.inflight == 0

    run(trace())


def test_every_start_has_one_end_also_when_its_caller_left_in_the_step_of_its_grant() -> None:
    async def trace() -> None:
        limit = TimedLimit(lambda _: (1, math.inf))
        async with limiter(limit) as (gate, _):
            assert gate.try_enter()
            first, second = await queued(gate, 2)
            give_back(gate)
            first.cancel()
            assert isinstance(await soon(second), Permit)
            assert limit.ends == [Verdict.SUCCESS, Verdict.IGNORE]
            Permit(gate, False).release()
            assert limit.ends == [Verdict.SUCCESS, Verdict.IGNORE, Verdict.IGNORE]

    run(trace())


def test_a_new_limit_takes_over_what_is_under_way() -> None:
    """From a plain one, between two in time, and back; those who wait are asked for anew."""

    async def trace() -> None:
        one, other = TimedLimit(lambda _: (0, 0.02)), TimedLimit(lambda _: (3, math.inf))
        async with limiter(FixedLimit(2)) as (gate, timers):
            assert gate.try_enter()
            assert gate.try_enter()
            (waiter,) = await queued(gate, 1)
            assert timers.running == set()
            gate.reconfigure(limit=one, bucket=None, max_waiting=10)
            assert (one.under_way, len(timers.running)) == (2, 1)
            gate.reconfigure(limit=other, bucket=None, max_waiting=10)
            assert isinstance(await soon(waiter), Permit)
            assert (other.under_way, timers.running) == (3, set())
            give_back(gate)
            assert other.under_way == 2
            gate.reconfigure(limit=FixedLimit(1), bucket=None, max_waiting=10)
            give_back(gate)
            give_back(gate)
            assert (gate.inflight, other.under_way) == (0, 2)

    run(trace())


def test_pace_and_tokens_hold_together() -> None:
    async def trace() -> None:
        limit = TimedLimit(pace_s=0.03)
        bucket = TokenBucket(200.0, 1)
        async with limiter(limit, bucket=bucket) as (gate, _):
            assert gate.try_enter()
            for waiter in await queued(gate, 5):
                assert isinstance(await soon(waiter), Permit)
            assert min(late - early for early, late in pairwise(limit.starts)) >= 0.03
            for _ in range(6):
                give_back(gate)

    run(trace())


def test_the_predicted_wait_goes_by_what_was_learnt_and_not_by_the_moment() -> None:
    """Ten slots of 4 s, nine of them cooling: one behind nine others waits for 4 s, and was told 36."""

    async def trace() -> None:
        most = [10]
        limit = TimedLimit(lambda _: (most[0], math.inf))
        limit.nominal = 10.0
        async with limiter(limit) as (gate, _):
            for _ in range(10):
                assert gate.try_enter()
                Permit(gate, False).close(AttemptOutcome("default", "first", 0.0, 1), Verdict.SUCCESS, 4.0)
            assert gate.try_enter()
            most[0] = 1
            waiters = await queued(gate, 9)
            assert gate.predicted_wait_s(now()) == pytest.approx(9 * 4.0 / 10)
            most[0] = 10
            give_back(gate)
            for waiter in waiters:
                assert isinstance(await soon(waiter), Permit)
                give_back(gate)

    run(trace())


def test_who_is_turned_away_for_a_slot_where_nobody_may_wait_counts_as_one_that_waits_for_a_while() -> None:
    """With ``max_waiting=0`` nobody ever waits, and a limit that is too low would never show."""

    async def trace() -> None:
        limit = TimedLimit(lambda _: (1, math.inf))
        async with limiter(limit, max_waiting=0) as (gate, _):
            assert gate.try_enter()
            assert gate.turned_away(now()) == 0
            for _ in range(3):
                assert await gate.enter(Waiter(FAR)) is Denied.QUEUE_FULL
            assert gate.turned_away(now()) == 3
            assert gate.turned_away(now() + 2.0) == 0
            give_back(gate)
            await asyncio.sleep(2.0)
            gate.close_gate(now() + 0.01)
            assert await gate.enter(Waiter(FAR)) is Denied.QUEUE_FULL
            assert gate.turned_away(now()) == 0, "it is Retry-After that is in the way"
            await asyncio.sleep(0.1)

    run(trace())


def test_a_limit_of_nothing_does_not_spoil_the_predicted_wait() -> None:
    async def trace() -> None:
        most = [5]
        limit = TimedLimit(lambda _: (most[0], math.inf))
        async with limiter(limit) as (gate, _):
            for _ in range(10):
                assert gate.try_enter()
                Permit(gate, False).close(AttemptOutcome("default", "first", 0.0, 1), Verdict.SUCCESS, 4.0)
            most[0] = 0
            (waiter,) = await queued(gate, 1)
            assert gate.predicted_wait_s(now()) == pytest.approx(4.0)
            waiter.cancel()
            await asyncio.wait([waiter])

    run(trace())


@pytest.mark.parametrize("seed", range(4))
def test_nothing_adds_up_when_callers_leave_at_any_moment(seed: int) -> None:
    """400 callers under a limit that goes up and down and a pace, half of them cancelled: every start has one end."""

    async def trace() -> None:
        rng = random.Random(seed)
        limit = TimedLimit(lambda now: (int(now * 500) % 4, 0.002), pace_s=0.0005)
        bucket = TokenBucket(2000.0, 5) if seed % 2 else None
        async with limiter(limit, bucket=bucket) as (gate, timers):

            async def call() -> None:
                waiter = Waiter(FAR, rng.random(), rng.choice(list(Priority)))
                permit = gate.try_enter() or await gate.enter(waiter)
                if isinstance(permit, Permit):
                    try:
                        await asyncio.sleep(rng.random() * 0.002)
                    finally:
                        permit.close(AttemptOutcome("default", "first", now(), 1), Verdict.SUCCESS, 0.0)

            tasks = []
            for _ in range(400):
                tasks.append(asyncio.ensure_future(call()))
                if rng.random() < 0.5:
                    rng.choice(tasks).cancel()
                if rng.random() < 0.2:
                    await asyncio.sleep(0.001)
                assert len(timers.running) <= 1
            await soon(asyncio.wait(tasks))
            assert len(limit.starts) > 100
            await until(lambda: len(asyncio.all_tasks()) == 1, "no dispatcher waits for a token")

    run(trace())
