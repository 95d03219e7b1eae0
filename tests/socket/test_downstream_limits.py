"""The app's side: how many connections, how long, and what half-closing means."""

from __future__ import annotations

import asyncio

from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Origin, silence


def test_an_app_that_sends_its_requests_and_half_closes_is_taken_for_gone_while_it_waits() -> None:
    """From here both look the same; a pull must not go on for an app that died (pitfall 26)."""

    async def trace() -> None:
        origin = Origin(silence())
        async with House(origin) as house:
            app = await house.app()
            await app.ask()
            await until(lambda: origin.asked, "the call is under way")
            app.writer.write_eof()
            assert await app.rest() == b""
            await until(lambda: house.witness.calls, "the call has ended")
            assert str(house.witness.calls[0].reason) == "client_gone"

    run(trace())


def test_a_body_that_stops_coming_is_408() -> None:
    async def trace() -> None:
        async with House(Origin(), timeouts={"body_idle": "80ms"}) as house:
            app = await house.app()
            await app.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
            got = await app.answer()
            assert (got.status, got.reason) == (408, "bad_request")
            assert await app.rest() == b""
            assert house.origin.lines == []

    run(trace())


def test_a_streaming_body_that_stops_coming_does_not_wait_for_ever() -> None:
    async def trace() -> None:
        over = {"timeouts": {"body_idle": "80ms"}, "body": {"replay_up_to": 10}}
        async with House(Origin(), **over) as house:
            app = await house.app()
            await app.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
            got = await app.answer()
            assert got.status >= 400
            assert house.origin.asked == []

    run(trace())


def test_a_refusal_reaches_an_app_that_is_still_sending() -> None:
    """RFC 9112 §9.6: no reset may overtake the answer."""

    async def trace() -> None:
        async with House(Origin()) as house:
            for _ in range(10):
                app = await house.app()
                await app.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n" + b"y" * 200_000)
                assert (await app.answer()).status == 400
                await soon(app.rest())

    run(trace())


def test_an_app_that_reads_nothing_does_not_hold_the_others_up() -> None:
    async def trace() -> None:
        big = b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"x" * 400_000
        async with House(Origin(then=big)) as house:
            deaf = await house.app(receive_buffer=4096)
            await deaf.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 30)
            got = await asyncio.gather(*(house.get() for _ in range(5)))
            assert all(answer.is_whole for answer in got)
            deaf.reset()

    run(trace())
