"""A change of limits keeps what it can: gate, slots and what an adaptive limit has learnt."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from proxy.admit.adaptive import AdaptiveLimit
from proxy.admit.limit import UNLIMITED, FixedLimit
from proxy.base.clock import SystemClock
from proxy.base.deadlines import Deadlines
from proxy.config.settings import Concurrency, Limits, Outage
from proxy.limiters import Limiters
from tests.fakes.loop import run


def limits(**over: Any) -> Limits:
    return Limits(concurrency=Concurrency(**over))


@asynccontextmanager
async def made() -> AsyncIterator[Limiters]:
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, clock.monotonic)
    found = Limiters(loop, deadlines, clock=clock, rng=random.Random(1), salt=b"upstream")
    try:
        yield found
    finally:
        found.close()
        deadlines.close()


def test_each_mode_has_its_limit() -> None:
    async def trace() -> None:
        async with made() as limiters:
            adaptive = limiters.of("a", limits(limit=8), 10).limit
            assert isinstance(adaptive, AdaptiveLimit)
            assert adaptive.limit == 8
            fixed = limiters.of("b", limits(mode="fixed", limit=3), 10).limit
            assert (type(fixed), fixed.value) == (FixedLimit, 3)
            assert limiters.of("c", limits(mode="off"), 10).limit.value == UNLIMITED

    run(trace())


def test_other_bounds_keep_what_an_adaptive_limit_has_learnt() -> None:
    async def trace() -> None:
        async with made() as limiters:
            limiter = limiters.of("default", limits(), 10)
            gate, learnt = limiter.gated.gate, limiter.limit
            assert isinstance(learnt, AdaptiveLimit)
            limiters.put_in_force("default", limits(min=20, max=40), 10)
            assert limiter.limit is learnt
            assert 20 <= learnt.limit <= 40
            limiters.put_in_force("default", limits(min=20, max=40, limit=30), 10)
            assert limiter.limit is not learnt, "told where to start anew"
            limiters.put_in_force("default", limits(mode="fixed", limit=4), 10)
            assert limiter.limit.value == 4
            assert limiter.gated.gate is gate

    run(trace())


def test_an_adaptive_limit_ends_where_the_pool_does() -> None:
    """Made, changed, or with another pool: more in flight would only wait for a connection."""

    async def trace() -> None:
        async with made() as limiters:
            limiters.set_connections(8)
            learnt = limiters.of("a", limits(limit=20), 10).limit
            assert isinstance(learnt, AdaptiveLimit)
            assert learnt.limit == 8
            limiters.put_in_force("a", limits(min=16, max=100, limit=20), 10)
            assert learnt.limit == 8, "nor does a floor lift it"
            limiters.set_connections(18)
            assert learnt.limit == 16
            limiters.put_in_force("a", limits(limit=20), 10)
            limiters.set_connections(4)
            assert learnt.limit == 4
            assert limiters["a"].limit is learnt
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
