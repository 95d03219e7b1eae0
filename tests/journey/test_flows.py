"""Answers that flow are never cut, those for an app that reads along go on at once, and silence is noticed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.indoors import IndoorHouse, IndoorOrigin, Line, head_on
from tests.fakes.loop import until
from tests.fakes.virtual import now, run

ONCE: dict[str, Any] = {"retry": {"attempts": 1}}
TIMES: dict[str, Any] = {
    "timeouts": {"connect": "1s", "response_head": "2s", "body_idle": "5s", "total": "10s"}
}
PIECE = b"x" * 10_000


def drips(pieces: int, every_s: float, head: bytes = b"Content-Type: text/csv\r\n") -> Any:
    """An answer that comes in pieces, of a length that is told, or until the close."""

    async def play(line: Line, _: bytes) -> None:
        line.give(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (head, pieces * len(PIECE)))
        for _ in range(pieces):
            await asyncio.sleep(every_s)
            line.give(PIECE)

    return play


def test_a_body_that_flows_outlives_total_and_response_head() -> None:
    """A download of two minutes, under a total of 10 s: it used to be cut there."""

    async def trace() -> None:
        over = {**ONCE, **TIMES, "body": {"verify_up_to": 1000}}
        async with IndoorHouse(IndoorOrigin(drips(60, 2.0)), **over) as house:
            app = house.ask()
            await until(lambda: house.witness.calls, "it has ended", 200.0)
            assert app.written.endswith(PIECE)
            assert len(app.written.partition(b"\r\n\r\n")[2]) == 60 * len(PIECE)
            assert str(house.witness.calls[0].reason) == "ok"
            assert now() > 100.0

    run(trace())


def test_an_app_that_begins_to_read_late_loses_nothing() -> None:
    """It takes nothing for four seconds under a total of ten, again and again: `total` has ended with the head."""

    async def trace() -> None:
        over = {**ONCE, **TIMES, "body": {"verify_up_to": 1000}}
        async with IndoorHouse(IndoorOrigin(drips(40, 0.1)), **over) as house:
            app = house.ask(takes=False)
            await head_on(app)
            for _ in range(8):
                await asyncio.sleep(4.0)
                app.take_all()
                app.takes = False
            app.take_all()
            await until(lambda: house.witness.calls, "it has ended", 60.0)
            assert str(house.witness.calls[0].reason) == "ok"
            assert len(app.written.partition(b"\r\n\r\n")[2]) == 40 * len(PIECE)

    run(trace())


def test_silence_inside_a_body_that_flows_is_noticed_after_body_idle() -> None:
    async def trace() -> None:
        over = {**ONCE, **TIMES, "body": {"verify_up_to": 1000}}
        async with IndoorHouse(IndoorOrigin(drips(2, 30.0)), **over) as house:
            began = now()
            app = house.ask()
            await until(lambda: house.witness.calls, "it has ended", 60.0)
            assert str(house.witness.calls[0].reason) == "body_timeout"
            assert 5.0 <= now() - began < 6.0
            assert app.is_closed, "a cut looks like one"

    run(trace())


def test_a_deadline_in_mid_answer_says_what_had_come() -> None:
    """It used to say that there was no answer."""

    async def trace() -> None:
        async with IndoorHouse(IndoorOrigin(drips(60, 1.0)), **ONCE, **TIMES) as house:
            app = house.ask()
            await head_on(app)
            assert app.written.startswith(b"HTTP/1.1 504 ")
            assert b"90000 bytes of 600000 bytes in 10.0 s, no end" in app.written

    run(trace())


@pytest.mark.parametrize("head", [b"Content-Type: text/event-stream\r\n", b"X-Accel-Buffering: no\r\n"])
def test_an_answer_for_an_app_that_reads_along_goes_on_at_once(head: bytes) -> None:
    """Head first, then each piece as it comes; verified answers wait for their end."""

    async def trace() -> None:
        async with IndoorHouse(IndoorOrigin(drips(3, 2.0, head)), **ONCE, **TIMES) as house:
            began = now()
            app = house.ask()
            await head_on(app)
            assert now() - began < 0.5
            await app.until(lambda: app.written.endswith(PIECE))
            assert now() - began < 2.5

    run(trace())


def test_a_route_may_pass_each_answer_on_at_once() -> None:
    async def trace() -> None:
        routes = [{"match": {"path_prefix": "/watch"}, "body": {"verify_up_to": 0}}]
        async with IndoorHouse(IndoorOrigin(drips(3, 2.0)), **ONCE, **TIMES, routes=routes) as house:
            began = now()
            watch, other = house.ask(b"/watch"), house.ask(b"/other")
            await head_on(watch)
            assert now() - began < 0.5
            await head_on(other)
            assert now() - began >= 6.0

    run(trace())


def test_total_bounds_the_taking_in_of_a_request_as_well() -> None:
    """A body that trickles used to be waited for until its end, however late."""

    async def trace() -> None:
        async with IndoorHouse(IndoorOrigin(drips(1, 0.1)), **ONCE, **TIMES) as house:
            # What ``ask`` puts behind the target is the body's beginning then.
            app = house.ask(b"/never HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
            began = now()
            while b"\r\n\r\n" not in app.written:
                app.give(b"b")
                await asyncio.sleep(1.0)
            assert app.written.startswith(b"HTTP/1.1 408 ")
            assert b"the call ran out of time" in app.written
            assert now() - began <= 11.0

    run(trace())


def test_a_connection_is_not_used_beyond_the_time_that_the_upstream_announces() -> None:
    """Keep-Alive: timeout=4 is 3 s to us: the upstream counts from an earlier moment."""

    async def play(line: Line, _: bytes) -> None:
        line.give(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=4\r\nContent-Length: 2\r\n\r\nok")

    async def trace() -> None:
        async with IndoorHouse(IndoorOrigin(play), pool={"idle": "30s"}) as house:
            for pause_s, connections in ((0.0, 1), (2.9, 1), (3.1, 2)):
                await asyncio.sleep(pause_s)
                app = house.ask()
                await head_on(app)
                await house.comes_to_rest()
                assert len(house.origin.lines) == connections

    run(trace())


def test_connections_of_one_moment_do_not_reach_their_age_in_one_moment() -> None:
    """A pool that is replaced at once is a burst of handshakes for an upstream that is fragile."""

    async def play(line: Line, _: bytes) -> None:
        await asyncio.sleep(0.5)
        line.give(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def trace() -> None:
        async with IndoorHouse(IndoorOrigin(play), pool={"idle": "30m", "max_age": "100s"}) as house:
            apps = [house.ask() for _ in range(4)]
            await asyncio.gather(*map(head_on, apps))
            shares = [each.age_share for each in house.sidecar.pool._idle]
            assert len(set(shares)) == len(shares) == 4
            assert all(0.9 <= share <= 1.0 for share in shares)

    run(trace())


def test_of_an_answer_that_is_passed_on_little_is_read_ahead() -> None:
    """libuv hands over eight megabytes in one turn of the loop, if nobody pauses it: seven were kept for each slow reader."""
    piece, pieces = b"x" * 60_000, 100

    async def play(line: Line, _: bytes) -> None:
        line.give(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (pieces * len(piece)))
        for _ in range(pieces):
            line.give(piece)

    async def trace() -> None:
        async with IndoorHouse(IndoorOrigin(play), **ONCE, body={"verify_up_to": 1000}) as house:
            app = house.ask(takes=False)
            await head_on(app)
            await asyncio.sleep(1.0)
            assert len(app.written) < 5 * len(piece)
            app.take_all()
            await until(lambda: house.witness.calls, "it has ended")
            assert len(app.written.partition(b"\r\n\r\n")[2]) == pieces * len(piece)

    run(trace())
