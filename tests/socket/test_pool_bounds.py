"""The pool: bounded, most recently used first, nothing kept beyond its time."""

from __future__ import annotations

import asyncio

from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Asked, Line, Origin, answer


class Counting(Origin):
    """Holds each request for a moment and counts the connections that are open at once."""

    def __init__(self) -> None:
        super().__init__(plays=self._count)
        self.open_now = self.open_most = 0

    async def _count(self, line: Line) -> None:
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        try:
            while True:
                await line.request()
                await asyncio.sleep(0.005)
                await line.send(answer(200))
        finally:
            self.open_now -= 1


def test_no_more_connections_are_open_than_allowed() -> None:
    async def trace() -> None:
        origin = Counting()
        async with House(origin, pool={"max_connections": 3}) as house:
            calls = await soon(asyncio.gather(*(house.get(f"/{n}") for n in range(30))))
            assert {call.status for call in calls} == {200}
            assert (origin.open_most, len(origin.lines)) == (3, 3)

    run(trace())


def test_one_caller_uses_one_connection() -> None:
    async def trace() -> None:
        origin = Origin()
        async with House(origin) as house:
            app = await house.app()
            for _ in range(20):
                await app.get()
            assert len(origin.lines) == 1

    run(trace())


def test_the_most_recently_used_connection_goes_first() -> None:
    """So that the others can grow old and be closed."""

    async def trace() -> None:
        origin = Origin()
        async with House(origin) as house:
            await asyncio.gather(*(house.get() for _ in range(4)))
            last = origin.asked[-1].line
            app = await house.app()
            for _ in range(3):
                await app.get()
            assert len({asked.line.number for asked in origin.asked[-3:]}) == 1
            assert last in origin.lines

    run(trace())


def test_idle_connections_are_closed_in_time() -> None:
    async def trace() -> None:
        closed = asyncio.Event()

        async def play(line: Line, _: Asked) -> None:
            await line.send(answer(200))
            await line.until_gone()
            closed.set()

        async with House(Origin(play), pool={"idle": "50ms"}) as house:
            await house.get()
            await soon(closed.wait())
            await until(lambda: house.sidecar.pool.open_count == 0, "the pool knows")
            assert (await house.get()).status == 200

    run(trace())


def test_old_connections_are_not_used_again() -> None:
    async def trace() -> None:
        origin = Origin()
        async with House(origin, pool={"max_age": "50ms"}) as house:
            app = await house.app()
            await app.get()
            await app.get()
            assert len(origin.lines) == 1
            await asyncio.sleep(0.06)
            await app.get()
            assert len(origin.lines) == 2

    run(trace())


def test_bytes_that_nobody_asked_for_cost_the_connection() -> None:
    """An answer that came before its request could be anybody's."""

    async def trace() -> None:
        said = asyncio.Event()

        async def play(line: Line, _: Asked) -> None:
            await line.send(answer(200, b"first"))
            await soon(said.wait())
            await line.send(answer(200, b"poison"))
            await line.until_gone()

        async with House(Origin(play, answer(200, b"clean"))) as house:
            app = await house.app()
            assert (await app.get()).body == b"first"
            said.set()
            await until(lambda: house.sidecar.pool.open_count == 0, "it is closed")
            assert (await app.get()).body == b"clean"

    run(trace())


def test_an_upstream_that_comes_back_is_found_again() -> None:
    async def trace() -> None:
        origin = Origin()
        async with House(origin, retry={"attempts": 1}) as house:
            app = await house.app()
            assert (await app.get()).status == 200
            port = origin.port
            await origin.close()
            await until(lambda: house.sidecar.pool.open_count == 0, "its connections are gone")
            assert (await app.get()).reason == "connect_failed"
            await origin.open(port=port)
            assert (await app.get()).status == 200

    run(trace())
