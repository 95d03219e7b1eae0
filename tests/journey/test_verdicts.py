"""What an attempt tells the limit and the outage gate, be it answered late, slowly read, given up or not understood."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.fakes.house import House
from tests.fakes.loop import run, until
from tests.fakes.origin import Asked, Line, Origin

FIXED_4: dict[str, Any] = {"limits": {"concurrency": {"mode": "fixed", "limit": 4}}}


def test_a_body_that_streams_slowly_is_no_latency_and_keeps_its_slot() -> None:
    async def trace() -> None:
        async def play(line: Line, _: Asked) -> None:
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
            await asyncio.sleep(0.4)
            await line.send(b"x" * 50_000)

        async with House(Origin(play), body={"verify_up_to": 1000}, **FIXED_4) as house:
            app = await house.app()
            await app.ask()
            await app.head()
            assert house.limiter.inflight == 1
            assert len(await app.reader.readexactly(100_000)) == 100_000
            await house.comes_to_rest()
            (attempt,) = house.witness.attempts
            assert attempt.ended_at - attempt.started_at >= 0.4
            assert attempt.latency_s < 0.3
            assert house.gate.latency < 0.3

    run(trace())


def test_a_cut_body_that_streams_is_a_failure() -> None:
    async def trace() -> None:
        async def play(line: Line, _: Asked) -> None:
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
            line.close()

        async with House(Origin(play), body={"verify_up_to": 1000}, **FIXED_4) as house:
            got = await house.get()
            assert not got.is_whole
            await until(lambda: house.witness.attempts, "it ended")
            assert (house.gate.failures, str(house.witness.attempts[0].reason)) == (1, "truncated")

    run(trace())
