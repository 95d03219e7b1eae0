"""A permit is given back exactly once, whatever ends its attempt: upstream, app, the sidecar's stop, or an error of our own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from proxy.base.errors import ConnectError
from proxy.base.reasons import Reason
from tests.fakes.counting import CountingLimit
from tests.fakes.indoors import IndoorHouse, IndoorOrigin, Line, Play, head_on
from tests.fakes.loop import until
from tests.fakes.virtual import run

SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 1000
OVER: dict[str, Any] = {"body": {"verify_up_to": 500}, "retry": {"attempts": 2}}


@contextlib.asynccontextmanager
async def house_of(
    play: Play, slots: int = 1, **over: Any
) -> AsyncIterator[tuple[IndoorHouse, CountingLimit]]:
    """A house with a limit of ``slots``. At its end each start had one end, and a call passes as ever."""
    limit = CountingLimit(slots)
    origin = IndoorOrigin(play)
    async with IndoorHouse(origin, **{**OVER, **over}) as house:
        house.limiter.reconfigure(limit=limit, bucket=None, max_waiting=10)
        yield house, limit
        await house.comes_to_rest()
        assert limit.starts == len(limit.ends)
        limit.fails_at, origin.play, origin.refuses = "", whole, None
        app = house.ask()
        await head_on(app)
        assert app.written.endswith(b"small")
        await house.comes_to_rest()
        assert limit.starts == len(limit.ends)


async def whole(line: Line, _: bytes) -> None:
    line.give(SMALL)


async def streamed(line: Line, _: bytes) -> None:
    line.give(HALF)
    await asyncio.sleep(0.1)
    line.give(b"x" * 1000)


async def fails(line: Line, _: bytes) -> None:
    line.give(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")


async def resets(line: Line, _: bytes) -> None:
    line.end(ConnectionResetError("reset"))


async def cuts(line: Line, _: bytes) -> None:
    line.give(HALF)
    await asyncio.sleep(0.1)
    line.end()


async def stalls(line: Line, _: bytes) -> None:
    line.give(HALF)


async def silent(line: Line, _: bytes) -> None:
    pass


async def talks_nonsense(line: Line, _: bytes) -> None:
    line.give(b"220 mail.example ESMTP\r\n\r\n")


async def pours(line: Line, _: bytes) -> None:
    line.give(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
    await asyncio.sleep(0.1)
    line.give(b"x" * 100_000)


ENDS: dict[str, tuple[Play, set[str]]] = {
    "whole": (whole, {"ok"}),
    "streamed": (streamed, {"ok"}),
    "fails": (fails, {"upstream_status"}),
    "resets": (resets, {"reset"}),
    "cuts": (cuts, {"truncated"}),
    "stalls": (stalls, {"body_timeout"}),
    "silent": (silent, {"head_timeout", "deadline"}),
    "nonsense": (talks_nonsense, {"bad_response"}),
}


@pytest.mark.parametrize(("play", "reasons"), ENDS.values(), ids=ENDS.keys())
def test_whatever_the_upstream_does(play: Play, reasons: set[str]) -> None:
    """Three calls at once and one slot: each end lets the next one in."""

    async def trace() -> None:
        async with house_of(play) as (house, _):
            apps = [house.ask() for _ in range(3)]
            await until(lambda: len(house.witness.calls) == len(apps), "all have ended", 100.0)
            assert {str(one.reason) for one in house.witness.attempts} <= reasons

    run(trace())


def test_an_upstream_that_refuses_connections() -> None:
    async def trace() -> None:
        async with house_of(whole) as (house, limit):
            house.origin.refuses = ConnectError(Reason.CONNECT_FAILED, "refused")  # type: ignore[attr-defined]
            house.ask()
            await until(lambda: house.witness.calls, "it has ended")
            assert len(limit.ends) == 2

    run(trace())


@pytest.mark.parametrize("play", [whole, streamed, fails, cuts, silent, pours])
@pytest.mark.parametrize("leaver", [0, 1])
def test_whenever_the_app_leaves(play: Play, leaver: int) -> None:
    """The first of two calls has the slot, the second waits for it; one of them leaves after so many turns of the loop."""

    async def trace() -> None:
        for turns in itertools.chain(range(40), [2000, 9000, 11000]):
            async with house_of(play) as (house, _):
                apps = [house.ask(b"/1", takes=play is not pours), house.ask(b"/2")]
                for _ in range(turns):
                    await asyncio.sleep(0)
                apps[leaver].end()
                await asyncio.sleep(0.15)
                apps[1 - leaver].end()

    run(trace())


@pytest.mark.parametrize("play", [streamed, fails, silent])
def test_whenever_the_sidecar_stops(play: Play) -> None:
    """One call under way, one between two tries or waiting, and a stop that waits for neither."""

    async def trace() -> None:
        for turns in itertools.chain(range(30), [2000]):
            limit = CountingLimit(1)
            async with IndoorHouse(IndoorOrigin(play), **OVER) as house:
                house.limiter.reconfigure(limit=limit, bucket=None, max_waiting=10)
                house.ask(b"/1")
                house.ask(b"/2")
                for _ in range(turns):
                    await asyncio.sleep(0)
                house.sidecar.lifecycle.stop_at_once()
                await house.sidecar.run_until_stopped()
                await until(lambda: not house.sidecar.exchange.calls_under_way, "all have ended")
                assert (house.limiter.inflight, len(limit.ends)) == (0, limit.starts)

    run(trace())


class OwnError(Exception):
    """What nobody planned for."""


def raising(*_: object) -> Any:
    raise OwnError


def nth(number: int, call: Callable[[], float]) -> Callable[[], float]:
    """``call``, which fails the ``number``-th time."""
    left = itertools.count(number, -1)
    return lambda: raising() if next(left) == 0 else call()


@pytest.mark.parametrize("play", [whole, streamed, fails, cuts, pours])
@pytest.mark.parametrize("whose", ["exchange", "limiter", "pool"])
def test_errors_of_our_own_wherever_the_clock_is_read(play: Play, whose: str) -> None:
    """The clock stands for whatever may fail there; two calls, so that one waits for its turn."""

    async def trace() -> None:
        for number in range(16):
            async with house_of(play) as (house, _):
                part = {
                    "exchange": house.sidecar.exchange,
                    "pool": house.sidecar.pool,
                    "limiter": house.limiter,
                }[whose]
                monotonic = part._monotonic
                reader = house.ask(b"/1", takes=play is not pours)
                house.ask(b"/2")
                part._monotonic = nth(number, monotonic)
                await asyncio.sleep(1.0)
                reader.take_all()
                await asyncio.sleep(0.1)
                part._monotonic = monotonic

    run(trace())


@pytest.mark.parametrize("play", [whole, streamed, fails, cuts])
@pytest.mark.parametrize("what", ["attempt", "call", "retried", "retry_denied", "waited"])
def test_errors_of_our_own_where_it_is_observed(play: Play, what: str) -> None:
    async def trace() -> None:
        async with house_of(play) as (house, _):
            house.ask(b"/1")
            house.ask(b"/2")
            heard = getattr(house.witness, what)
            setattr(house.witness, what, raising)
            await asyncio.sleep(1.0)
            setattr(house.witness, what, heard)

    run(trace())


@pytest.mark.parametrize("play", [whole, streamed, fails])
@pytest.mark.parametrize("where", ["connect", "write to the upstream", "write to the app"])
def test_errors_of_our_own_at_either_end(play: Play, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def trace() -> None:
        async with house_of(play) as (house, _):
            if where == "connect":
                house.origin.refuses = OwnError()  # type: ignore[attr-defined]
            else:
                write = Line.write
                to_app = where == "write to the app"

                def fail(self: Line, data: Any) -> None:
                    if (self in house.apps) is to_app:
                        raise OwnError
                    write(self, data)

                monkeypatch.setattr(Line, "write", fail)
            house.ask(b"/1")
            house.ask(b"/2")
            await asyncio.sleep(1.0)
            monkeypatch.undo()

    run(trace())


def test_errors_of_a_limit_that_learns() -> None:
    async def trace() -> None:
        async with house_of(whole) as (house, limit):
            limit.fails_at = "end"
            for target in (b"/1", b"/2", b"/3"):
                house.ask(target)
            await until(lambda: len(house.witness.calls) == 3, "all have ended")

    run(trace())
