"""A change of limits keeps what it can: gate, slots and the share of the fleet; and what the fleet is told of a limiter."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from proxy.admit.learned import LearnedLimit
from proxy.admit.limit import UNLIMITED, FixedLimit
from proxy.admit.limiter import Limiter
from proxy.admit.waiter import Denied, Waiter
from proxy.base.clock import SystemClock
from proxy.base.deadlines import Deadlines
from proxy.base.outcomes import AttemptOutcome, Verdict
from proxy.config.settings import Concurrency, Limits, Outage
from proxy.fleet.record import Share
from proxy.limiters import Limiters
from tests.fakes.loop import run, soon, until


def limits(**over: Any) -> Limits:
    return Limits(concurrency=Concurrency(**over))


@asynccontextmanager
async def made(*, has_peers: bool = False) -> AsyncIterator[Limiters]:
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, clock.monotonic)
    found = Limiters(loop, deadlines, clock=clock, rng=random.Random(1))
    found.has_peers = has_peers
    try:
        yield found
    finally:
        found.close()
        deadlines.close()


def learnt(limiter: Limiter) -> LearnedLimit:
    assert isinstance(limiter.limit, LearnedLimit)
    return limiter.limit


def test_each_mode_has_its_limit() -> None:
    """An adaptive one begins with one slot, until the fleet's first turn."""

    async def trace() -> None:
        async with made() as limiters:
            adaptive = learnt(limiters.of("a", limits(limit=8), 10))
            assert (adaptive.value, adaptive.is_fixed) == (1, False)
            fixed = limiters.of("b", limits(mode="fixed", limit=3), 10).limit
            assert (type(fixed), fixed.value) == (FixedLimit, 3)
            assert limiters.of("c", limits(mode="off"), 10).limit.value == UNLIMITED
            assert set(limiters.seats()) == {"a"}

    run(trace())


def test_a_fixed_limit_counts_for_its_peers_and_stays() -> None:
    """The other pods learn from what comes of it, and from their total its slots are taken."""

    async def trace() -> None:
        async with made(has_peers=True) as limiters:
            limiter = limiters.of("a", limits(mode="fixed", limit=3), 10)
            seat = limiters.seats()["a"]
            seat.apply(Share(9))
            limiters.set_connections(2)
            assert limiter.limit.value == 3
            reading = seat.reading()
            assert (reading.fixed, reading.most) == (3, 3)

    run(trace())


def test_other_bounds_keep_the_share_of_the_fleet() -> None:
    """So does another start: what was learnt is the fleet's. Another mode begins anew, behind the same gate."""

    async def trace() -> None:
        async with made() as limiters:
            limiter = limiters.of("default", limits(), 10)
            gate, limit = limiter.gated.gate, learnt(limiter)
            limiters.seats()["default"].apply(Share(12))
            limiters.put_in_force("default", limits(min=20, max=40), 10)
            assert limiter.limit is limit
            assert limit.slots == 20
            limiters.put_in_force("default", limits(max=8, limit=5), 10)
            assert limiter.limit is limit
            assert limit.slots == 8
            assert limiters.seats()["default"].reading().start == 5
            limiters.put_in_force("default", limits(mode="fixed", limit=4), 10)
            assert limiter.limit.value == 4
            limiters.put_in_force("default", limits(), 10)
            assert limiter.limit is not limit
            assert limiter.gated.gate is gate

    run(trace())


def test_a_floor_holds_for_a_pod_that_is_alone_and_not_in_a_fleet() -> None:
    async def trace() -> None:
        async with made() as limiters:
            alone = limiters.of("a", limits(min=6), 10)
            limiters.seats()["a"].apply(Share(2))
            assert alone.limit.value == 6
        async with made(has_peers=True) as limiters:
            member = limiters.of("a", limits(min=6), 10)
            limiters.seats()["a"].apply(Share(0))
            assert member.limit.value == 0

    run(trace())


def test_a_learnt_limit_ends_where_the_pool_does() -> None:
    """Made, changed, or with another pool: more in flight would only wait for a connection."""

    async def trace() -> None:
        async with made() as limiters:
            limiters.set_connections(8)
            limit = learnt(limiters.of("a", limits(), 10))
            limiters.seats()["a"].apply(Share(20))
            assert limit.slots == 8
            limiters.put_in_force("a", limits(min=16, max=100), 10)
            assert limit.slots == 8, "nor does a floor lift it"
            limiters.set_connections(18)
            assert limit.slots == 16
            limiters.put_in_force("a", limits(), 10)
            limiters.set_connections(4)
            assert limit.slots == 4
            assert limiters.seats()["a"].reading().most == 4
            assert limiters["a"].limit is limit
            limiters.of("b", limits(), 10)
            limiters.put_in_force("b", limits(mode="fixed", limit=20), 10)
            assert limiters["b"].limit.value == 20, "a fixed one is what it was told"

    run(trace())


def test_words_for_an_outage_reach_every_limiter() -> None:
    async def trace() -> None:
        async with made() as limiters:
            before = limiters.of("before", limits(), 10)
            limiters.set_outage(Outage(mode="fail", max_hold=7.0))
            after = limiters.of("after", limits(), 10)
            for limiter in (before, after):
                assert (limiter.fails_at_once, limiter.max_hold_s) == (True, 7.0)

    run(trace())


def test_a_reading_tells_who_waits_what_is_under_way_and_what_came_of_it() -> None:
    async def trace() -> None:
        async with made() as limiters:
            limiter = limiters.of("a", limits(limit=5), 10)
            seat = limiters.seats()["a"]
            permit = limiter.try_enter()
            assert permit is not None
            waiter = asyncio.ensure_future(limiter.enter(Waiter(float("inf"))))
            await until(lambda: limiter.waiting, "somebody waits")
            reading = seat.reading()
            assert (reading.wanted, reading.waiting, reading.inflight) == (2, 1, 1)
            assert (reading.start, reading.fixed, reading.is_shut) == (5, None, False)
            outcome = AttemptOutcome("a", "first", reading.at - 0.2, 1)
            outcome.ended_at = reading.at
            permit.close(outcome, Verdict.SUCCESS, 0.2)
            second = await soon(waiter)
            after = seat.reading()
            assert (after.tally.ok, after.tally.bad) == (1, 0)
            assert after.tally.busy_s > 0
            assert after.at >= reading.at
            second.release()
            assert seat.reading().inflight == 0

    run(trace())


def test_a_larger_share_lets_in_who_waits() -> None:
    async def trace() -> None:
        async with made() as limiters:
            limiter = limiters.of("a", limits(), 10)
            permits = [limiter.try_enter()]
            waiters = [asyncio.ensure_future(limiter.enter(Waiter(float("inf")))) for _ in range(2)]
            await until(lambda: limiter.waiting == 2, "both wait")
            limiters.seats()["a"].apply(Share(3))
            permits += [await soon(waiter) for waiter in waiters]
            assert limiter.inflight == 3
            for permit in permits:
                permit.release()

    run(trace())


def test_who_is_turned_away_counts_as_wanted() -> None:
    """With ``queue.max_waiting: 0`` nobody waits, and a limit that is too low has to show all the same."""

    async def trace() -> None:
        async with made() as limiters:
            limiter = limiters.of("a", limits(), 0)
            permit = limiter.try_enter()
            assert permit is not None
            for _ in range(3):
                assert await limiter.enter(Waiter(float("inf"))) is Denied.QUEUE_FULL
            reading = limiters.seats()["a"].reading()
            assert (reading.wanted, reading.waiting) == (4, 3)
            permit.release()

    run(trace())


def test_a_limiter_without_a_route_goes_once_nobody_can_need_it() -> None:
    """Without any call at once; else after a minute without calls of its own, for a call between two tries holds nothing."""

    class Hand(SystemClock):
        now = 0.0

        def __init__(self) -> None:
            self.monotonic = lambda: self.now

    async def trace() -> None:
        async with made() as limiters:
            clock = limiters._clock = Hand()
            for name in ("default", "busy", "idle", "kept"):
                limiters.of(name, limits(mode="fixed", limit=1), 10)
            limiters["busy"].inflight += 1
            limiters.keep({"kept"})
            limiters.let_go(2)
            assert set(dict(limiters.items())) == {"default", "busy", "idle", "kept"}
            clock.now = 61.0
            limiters.let_go(2)
            assert set(dict(limiters.items())) == {"default", "busy", "kept"}
            limiters["busy"].inflight -= 1
            limiters.keep({"kept", "busy"})
            limiters.let_go(0)
            assert "busy" in limiters, "its route is back"
            limiters.keep(set())
            limiters.let_go(0)
            assert set(dict(limiters.items())) == {"default"}

    run(trace())
