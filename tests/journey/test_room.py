"""One bound for the bodies of all calls: a call beyond it waits before its attempt, and never fails for it."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.house import House
from tests.fakes.indoors import IndoorHouse, IndoorOrigin, Line, head_on
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Origin
from tests.fakes.virtual import run as run_virtually

MIB = 1 << 20


class Counting:
    """Answers after 0.1 s with ``size`` bytes; ``most`` is how many calls were under way at a time."""

    def __init__(self, size: int) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
        self._under_way = self.most = 0

    async def __call__(self, line: Line, _: bytes) -> None:
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        await asyncio.sleep(0.1)
        self._under_way -= 1
        line.give(self._answer)


def test_large_answers_wait_for_room_and_none_fails() -> None:
    """Forty callers of 1 MiB and 8 MiB in all, half of it for answers: four at a time, whatever the limit allows."""
    play = Counting(MIB)

    async def trace() -> None:
        limits = {"concurrency": {"mode": "fixed", "limit": 60}}
        body = {"held_in_all": "8MiB"}
        async with IndoorHouse(
            IndoorOrigin(play), limits=limits, body=body, timeouts={"total": "60s"}
        ) as house:
            apps = [house.ask() for _ in range(40)]
            await until(lambda: len(house.witness.calls) == 40, "all have ended", 60.0)
            assert {str(call.reason) for call in house.witness.calls} == {"ok"}
            assert play.most <= 4
            await asyncio.gather(*map(head_on, apps))
            assert house.sidecar.exchange.answers.held == 0

    run_virtually(trace())


def test_small_answers_do_not_wait_once_they_are_known_to_be_small() -> None:
    play = Counting(2)

    async def trace() -> None:
        limits = {"concurrency": {"mode": "fixed", "limit": 60}}
        async with IndoorHouse(IndoorOrigin(play), limits=limits, body={"held_in_all": "8MiB"}) as house:
            for _ in range(250):
                await head_on(house.ask())
            for _ in range(60):
                house.ask()
            await until(lambda: len(house.witness.calls) == 310, "all have ended")
            assert play.most > 50

    run_virtually(trace())


def test_an_answer_that_its_app_does_not_take_stays_held() -> None:
    """Two apps that do not read have all the room: the third call waits until one of them reads."""

    async def play(line: Line, _: bytes) -> None:
        line.give(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MIB - 1) + b"x" * (MIB - 1))

    async def trace() -> None:
        limits = {"concurrency": {"mode": "fixed", "limit": 60}}
        over = {"limits": limits, "body": {"held_in_all": "5MiB"}, "timeouts": {"total": "600s"}}
        async with IndoorHouse(IndoorOrigin(play), **over) as house:
            answers = house.sidecar.exchange.answers
            deaf = [house.ask(takes=False) for _ in range(2)]
            await asyncio.gather(*map(head_on, deaf))
            late = house.ask()
            await asyncio.sleep(5.0)
            assert (answers.waiting, answers.held, len(house.origin.asked)) == (1, 2 * (MIB - 1), 2)
            deaf[0].take_all()
            await head_on(late)
            deaf[1].end()
            await until(lambda: not answers.held, "there is room again")

    run_virtually(trace())


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_large_requests_wait_for_room_and_none_fails(framing: str) -> None:
    async def trace() -> None:
        body = b"y" * 900_000
        async with House(Origin(), body={"held_in_all": "4MiB"}, timeouts={"total": "60s"}) as house:
            bodies = house.sidecar.exchange.bodies
            seen: list[int] = []

            async def post() -> int:
                app = await house.app()
                if framing == "length":
                    sending = asyncio.ensure_future(app.ask("/", "POST", body=body))
                else:
                    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    sending = asyncio.ensure_future(
                        app.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
                    )
                got = await soon(app.answer())
                await sending
                seen.append(bodies.held)
                return got.status

            assert await asyncio.gather(*(post() for _ in range(12))) == [200] * 12
            assert max(seen) <= 2 * MIB
            await until(lambda: not bodies.held, "all is given back")

    run(trace())
