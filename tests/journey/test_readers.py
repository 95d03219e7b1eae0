"""An app that reads a large answer slowly keeps its connection, and no slot: that is for the upstream's work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.base.outcomes import Verdict
from tests.fakes.counting import CountingLimit
from tests.fakes.indoors import BUFFER, IndoorHouse, IndoorOrigin, Line, head_on
from tests.fakes.loop import until
from tests.fakes.virtual import now, run

SIZE = 1 << 20
PIECE = b"x" * (16 << 10)
HEAD_S = 0.05
FIXED_1: dict[str, Any] = {"limits": {"concurrency": {"mode": "fixed", "limit": 1}}}
STREAMS: dict[str, Any] = {"body": {"verify_up_to": 1000}}


class Pouring:
    """Answers each request after ``HEAD_S`` with ``SIZE`` bytes, as fast as they are taken."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.is_cut = False
        self.poured = 0

    async def __call__(self, line: Line, _: bytes) -> None:
        await asyncio.sleep(HEAD_S)
        line.give(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n" % (self.status, SIZE))
        for _ in range(SIZE // len(PIECE)):
            await asyncio.sleep(0.001)
            await line.until(lambda: line.is_reading or self.is_cut)
            if self.is_cut:
                line.end()
                return
            line.give(PIECE)
            self.poured += len(PIECE)


def counted(house: IndoorHouse, slots: int = 1) -> CountingLimit:
    """Put a limit in force that counts."""
    limit = CountingLimit(slots)
    house.limiter.reconfigure(limit=limit, bucket=None, max_waiting=10)
    return limit


async def held_up(line: Line) -> None:
    """Wait until the sidecar has stopped sending to an app that does not take."""
    await until(lambda: line.is_held_up, "the app's end is full")


def test_a_second_reader_has_its_head_while_the_first_does_not_read() -> None:
    """One slot. Neither app takes: both have their heads, no slot is out, both connections are busy in the pool's account."""

    async def trace() -> None:
        pouring = Pouring()
        async with IndoorHouse(IndoorOrigin(pouring), **FIXED_1, **STREAMS) as house:
            pool = house.sidecar.pool
            readers = [house.ask(takes=False), house.ask(takes=False)]
            for reader in readers:
                await head_on(reader)
                await held_up(reader)
            assert (house.limiter.inflight, pool.open_count, pool.idle_count) == (0, 2, 0)
            assert pouring.poured < 4 * (BUFFER + 2 * len(PIECE)), "the upstream was asked to pause as well"
            assert house.witness.attempts == []

            for reader in readers:
                reader.take_all()
                await until(lambda: len(reader.written) > SIZE, "it has it all")  # noqa: B023
                assert house.limiter.inflight == 0, "a slot is not taken again"
            await house.comes_to_rest()
            assert (pool.open_count, pool.idle_count) == (2, 2)
            assert [str(one.reason) for one in house.witness.attempts] == ["ok", "ok"]
            assert [one.bytes_in for one in house.witness.attempts] == [SIZE, SIZE]

    run(trace())


def test_an_app_that_takes_holds_the_slot_to_the_last_byte() -> None:
    async def trace() -> None:
        async with IndoorHouse(IndoorOrigin(Pouring()), **STREAMS) as house:
            limit = counted(house)
            taker, waiter = house.ask(b"/1"), house.ask(b"/2")
            await head_on(taker)
            while len(taker.written) < SIZE - len(PIECE):
                assert (house.limiter.inflight, house.limiter.waiting, limit.ends) == (1, 1, [])
                await asyncio.sleep(0.001)
            await head_on(waiter)
            assert limit.ends == [Verdict.SUCCESS]

    run(trace())


@pytest.mark.parametrize(("status", "verdict"), [(200, Verdict.SUCCESS), (500, Verdict.DROPPED)])
def test_the_limit_hears_once_and_goes_by_the_head(status: int, verdict: Verdict) -> None:
    """The app stops taking three times over three seconds."""

    async def trace() -> None:
        async with IndoorHouse(IndoorOrigin(Pouring(status)), **STREAMS, retry={"attempts": 1}) as house:
            limit = counted(house)
            reader = house.ask(takes=False)
            for _ in range(3):
                await held_up(reader)
                assert (limit.starts, limit.ends) == (1, [verdict])
                await asyncio.sleep(1.0)
                reader.take_all()
                reader.takes = False
            reader.take_all()
            await house.comes_to_rest()
            assert (limit.starts, limit.ends) == (1, [verdict])
            assert limit.latencies_s == [pytest.approx(HEAD_S, abs=0.01)]
            (attempt,) = house.witness.attempts
            assert attempt.ended_at - attempt.started_at > 3.0
            assert attempt.latency_s == pytest.approx(HEAD_S, abs=0.01)

    run(trace())


@pytest.mark.parametrize("end", ["cut", "app leaves", "app never reads"])
def test_what_becomes_of_the_body_is_counted_and_moves_no_slot(end: str) -> None:
    async def trace() -> None:
        pouring = Pouring()
        async with IndoorHouse(IndoorOrigin(pouring), **STREAMS, timeouts={"body_idle": "7500ms"}) as house:
            limit = counted(house)
            reader = house.ask(takes=False)
            await held_up(reader)
            began = now()
            if end == "cut":
                pouring.is_cut = True
                house.origin.lines[0].changed.set()
                reader.take_all()
            elif end == "app leaves":
                reader.end()
            await until(lambda: house.witness.calls, "the call has ended")
            reason = "truncated" if end == "cut" else "client_gone"
            assert [str(one.reason) for one in house.witness.attempts] == [reason]
            assert [str(one.reason) for one in house.witness.calls] == [reason]
            assert now() - began > 7.0 if end == "app never reads" else now() - began < 1.0
            assert (house.limiter.inflight, limit.starts, limit.ends) == (0, 1, [Verdict.SUCCESS])
            assert house.limiter.successes == 1
            await house.comes_to_rest()
            assert reader.is_closed, "a cut looks like one"

    run(trace())


def test_a_reader_that_was_the_probe_ends_the_outage_and_gives_its_slot_back_once() -> None:
    async def trace() -> None:
        origin = IndoorOrigin(Pouring(500))
        async with IndoorHouse(origin, **STREAMS, retry={"attempts": 1}) as house:
            limit = counted(house, 2)
            while not house.gate.is_closed:
                house.ask()
                await asyncio.sleep(1.0)
            origin.play = Pouring()
            probe = house.ask(takes=False)
            await head_on(probe)
            assert not house.gate.is_closed
            await held_up(probe)
            assert (house.limiter.inflight, len(limit.ends)) == (0, limit.starts)
            probe.take_all()
            await house.comes_to_rest()
            assert house.witness.attempts[-1].kind == "probe"
            assert (house.limiter.inflight, len(limit.ends)) == (0, limit.starts)

    run(trace())
