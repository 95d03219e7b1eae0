"""An app that leaves gives everything back, at whatever stage its call was; the house checks that nothing is left over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.fakes.app import App
from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Asked, Line, Origin, answer, silence

FIXED_1 = {"limits": {"concurrency": {"mode": "fixed", "limit": 1}}}
LEAVE: dict[str, Callable[[App], None]] = {"close": App.close, "reset": App.reset}
leaving = pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE.keys())


async def gone(house: House, calls: int) -> None:
    """Wait until ``calls`` calls were counted as left by their app."""

    def left() -> bool:
        return [str(call.reason) for call in house.witness.calls].count("client_gone") == calls

    await until(left, f"{calls} calls are gone")


@leaving
def test_leaving_the_queue(leave: Callable[[App], None]) -> None:
    """A waiting call gives its place to those behind it and never reaches the upstream."""

    async def trace() -> None:
        origin = Origin(silence())
        async with House(origin, **FIXED_1) as house:
            holder, leaver, stayer = await house.app(), await house.app(), await house.app()
            await holder.ask("/holder")
            await until(lambda: origin.asked, "the slot is taken")
            await leaver.ask("/leaver")
            await until(lambda: house.limiter.waiting == 1, "one waits")
            await stayer.ask("/stayer")
            await until(lambda: house.limiter.waiting == 2, "two wait")
            leave(leaver)
            await gone(house, 1)
            assert house.limiter.waiting == 1
            leave(holder)
            assert (await stayer.answer()).body == b"then"
            assert origin.targets == ["/holder", "/stayer"]

    run(trace())


@leaving
def test_leaving_while_waiting_for_a_token(leave: Callable[[App], None]) -> None:
    async def trace() -> None:
        origin = Origin()
        async with House(origin, limits={"rate": 0.5}) as house:
            await house.get("/first")
            leaver = await house.app()
            await leaver.ask("/leaver")
            await until(lambda: house.limiter.waiting == 1, "it waits for a token")
            leave(leaver)
            await gone(house, 1)
            assert house.limiter.waiting == 0
            assert origin.targets == ["/first"]
            house.limiter.close()  # the dispatcher would wait for a token nobody wants

    run(trace())


@leaving
def test_leaving_while_backing_off(leave: Callable[[App], None]) -> None:
    async def trace() -> None:
        origin = Origin(answer(500))
        async with House(
            origin, retry={"backoff": {"base": "20s", "max": "20s"}}, timeouts={"total": "60s"}
        ) as house:
            leaver = await house.app()
            await leaver.ask()
            await until(lambda: house.witness.retries, "it backs off")
            leave(leaver)
            await gone(house, 1)
            assert len(origin.asked) == 1

    run(trace())


@leaving
def test_leaving_while_waiting_for_the_retry_budget(leave: Callable[[App], None]) -> None:
    async def trace() -> None:
        origin = Origin(then=answer(500))
        budget = {"ratio": 0, "floor_per_s": 0.001, "window": "60s"}
        async with House(
            origin,
            retry={"budget": budget, "backoff": {"base": "1ms", "max": "1ms"}},
            timeouts={"total": "60s"},
        ) as house:
            apps = [await house.app() for _ in range(3)]
            for app in apps:
                await app.ask()
            await until(lambda: len(origin.asked) == 4, "the budget's only retry is spent")
            for app in apps:
                leave(app)
            await gone(house, 3)

    run(trace())


@leaving
def test_leaving_while_connecting(leave: Callable[[App], None]) -> None:
    """A listener whose backlog is full: connections hang in the making."""

    async def trace() -> None:
        origin = Origin()
        async with House(origin, timeouts={"connect": "30s", "total": "60s"}) as house:
            hang = asyncio.Event()
            connector = house.sidecar.pool._connector
            answered = connector.resolver.addresses

            async def addresses() -> object:
                await hang.wait()
                return await answered()

            connector.resolver.addresses = addresses  # type: ignore[method-assign]
            leaver = await house.app()
            await leaver.ask()
            await until(lambda: house.sidecar.pool.opening == 1, "it connects")
            leave(leaver)
            await gone(house, 1)
            await until(lambda: house.sidecar.pool.open_count == 0, "the connection is counted out")
            hang.set()
            assert origin.lines == []

    run(trace())


@leaving
def test_leaving_while_the_pool_is_full(leave: Callable[[App], None]) -> None:
    """Waiters for a connection leave too, and those behind them are not forgotten."""

    async def trace() -> None:
        origin = Origin(silence())
        async with House(origin, pool={"max_connections": 1}) as house:
            holder, leaver, stayer = await house.app(), await house.app(), await house.app()
            await holder.ask("/holder")
            await until(lambda: origin.asked, "the connection is taken")
            await leaver.ask("/leaver")
            await until(lambda: house.limiter.inflight == 2, "one waits for it")
            await stayer.ask("/stayer")
            await until(lambda: house.limiter.inflight == 3, "two wait for it")
            leave(leaver)
            await gone(house, 1)
            leave(holder)
            assert (await stayer.answer()).body == b"then"
            assert origin.targets == ["/holder", "/stayer"]

    run(trace())


@leaving
def test_leaving_while_waiting_for_the_head(leave: Callable[[App], None]) -> None:
    """The upstream's connection is closed: its answer would be nobody's."""

    async def trace() -> None:
        left = asyncio.Event()

        async def play(line: Line, _: Asked) -> None:
            await line.until_gone()
            left.set()

        origin = Origin(play)
        async with House(origin) as house:
            leaver = await house.app()
            await leaver.ask()
            await until(lambda: origin.asked, "the request is there")
            leave(leaver)
            await soon(left.wait())
            await gone(house, 1)
            assert [(str(a.reason), a.status) for a in house.witness.attempts] == [("client_gone", 0)]

    run(trace())


@leaving
def test_leaving_inside_an_answer(leave: Callable[[App], None]) -> None:
    async def trace() -> None:
        left = asyncio.Event()

        async def play(line: Line, _: Asked) -> None:
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 20_000)
            await line.until_gone()
            left.set()

        async with House(Origin(play), body={"verify_up_to": 1000}) as house:
            leaver = await house.app()
            await leaver.ask()
            await leaver.head()
            leave(leaver)
            await soon(left.wait())
            await gone(house, 1)

    run(trace())


@leaving
def test_leaving_inside_a_request_body(leave: Callable[[App], None]) -> None:
    """Kept or streaming: the upstream never gets a body that could pass for whole."""

    async def trace() -> None:
        origin = Origin()
        async with House(origin, body={"replay_up_to": 10_000}) as house:
            for size in (5_000, 1_000_000):
                leaver = await house.app()
                await leaver.send(
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * 4000
                )
                await until(lambda: house.sidecar.exchange.calls_under_way, "the call is there")
                if size > 10_000:
                    await until(lambda: origin.lines and house.limiter.inflight, "the body streams")
                leave(leaver)
                await until(lambda: not house.sidecar.exchange.calls_under_way, "the call is gone")
            assert origin.asked == []
            await gone(house, 2)

    run(trace())


def test_leaving_between_pipelined_calls() -> None:
    async def trace() -> None:
        origin = Origin(answer(200, b"one"), silence())
        async with House(origin) as house:
            app = await house.app()
            await app.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" * 10)
            assert (await app.answer()).body == b"one"
            await until(lambda: len(origin.asked) == 2, "the second call is under way")
            app.reset()
            await gone(house, 1)
            assert len(origin.asked) == 2

    run(trace())


@pytest.mark.slow
def test_nothing_adds_up_over_many_departures() -> None:
    """400 calls left at random moments: slots, queue, connections, deadlines and tasks end where they began."""

    async def trace() -> None:
        async def play(line: Line, _: Asked) -> None:
            await asyncio.sleep(0.003)
            await line.send(answer(200, b"x" * 3000) if line.asked % 3 else answer(500))

        limits = {"rate": 2000, "burst": 50, "concurrency": {"mode": "fixed", "limit": 5}}
        async with House(
            Origin(then=play), limits=limits, body={"verify_up_to": 1000}, pool={"max_connections": 3}
        ) as house:
            for wave in range(20):
                apps = [await house.app() for _ in range(20)]
                for app in apps:
                    await app.ask()
                for number, app in enumerate(apps):
                    await asyncio.sleep(0.0007)
                    (App.reset if number % 2 else App.close)(app)
                if wave % 5 == 0:
                    await house.comes_to_rest()
            await house.comes_to_rest()
            assert house.sidecar.pool.open_count <= 3
            assert (await house.get()).status == 200

    run(trace())
