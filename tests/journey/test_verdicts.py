"""What an attempt tells the limit and the outage gate, be it answered late, slowly read, given up or not understood."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.house import House
from tests.fakes.loop import run, until
from tests.fakes.origin import Asked, Line, Origin, Step, answer, reset, silence

FIXED_4: dict[str, Any] = {"limits": {"concurrency": {"mode": "fixed", "limit": 4}}}


def test_a_body_that_streams_slowly_is_no_latency_and_keeps_its_slot() -> None:
    async def trace() -> None:
        has_head = asyncio.Event()

        async def play(line: Line, _: Asked) -> None:
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
            await has_head.wait()
            await asyncio.sleep(0.4)
            await line.send(b"x" * 50_000)

        async with House(Origin(play), body={"verify_up_to": 1000}, **FIXED_4) as house:
            app = await house.app()
            await app.ask()
            await app.head()
            has_head.set()
            assert house.limiter.inflight == 1
            assert len(await app.reader.readexactly(100_000)) == 100_000
            await house.comes_to_rest()
            (attempt,) = house.witness.attempts
            assert attempt.ended_at - attempt.started_at - attempt.latency_s >= 0.39
            assert house.gate.latency == pytest.approx(attempt.latency_s)

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


@pytest.mark.slow
@pytest.mark.parametrize("how", ["leaves", "deadline"])
def test_a_call_given_up_after_long_silence_is_a_failure(how: str) -> None:
    """An upstream that takes requests and says nothing, and apps less patient than ``timeouts.response_head``."""

    async def trace() -> None:
        async with House(Origin(then=silence()), **FIXED_4) as house:
            apps = [await house.app() for _ in range(6)]
            for app in apps[:4]:
                await app.ask(headers=["Sidegate-Timeout: 1100ms"] if how == "deadline" else [])
            await until(lambda: house.limiter.inflight == 4, "they are under way")
            if how == "leaves":
                await asyncio.sleep(1.05)
                for app in apps[:4]:
                    app.close()
            await until(lambda: house.gate.failures == 4, "they count", 2.0)
            for app in apps[4:]:
                await app.ask()
            await until(lambda: house.limiter.inflight == 2, "two more are under way")
            for app in apps[4:]:
                app.close()
            await house.comes_to_rest()
            assert (house.gate.failures, len(house.witness.attempts)) == (4, 6), "those left at once"

    run(trace())


@pytest.mark.slow
def test_leaving_is_no_failure_where_answers_usually_take_long() -> None:
    async def trace() -> None:
        async with House(Origin(then=silence()), **FIXED_4) as house:
            house.gate.latency = 0.5
            app = await house.app()
            await app.ask()
            await until(lambda: house.limiter.inflight, "it is under way")
            await asyncio.sleep(1.1)
            app.close()
            await house.comes_to_rest()
            assert house.gate.failures == 0

    run(trace())


@pytest.mark.slow
def test_leaving_an_answer_that_streams_is_no_failure_however_late() -> None:
    async def trace() -> None:
        async def play(line: Line, _: Asked) -> None:
            await asyncio.sleep(1.05)
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
            await line.until_gone()

        async with House(Origin(then=play), body={"verify_up_to": 1000}, **FIXED_4) as house:
            app = await house.app()
            await app.ask()
            await app.head()
            app.close()
            await house.comes_to_rest()
            assert house.gate.failures == 0

    run(trace())


@pytest.mark.slow
def test_an_app_that_is_slow_to_send_its_body_tells_nothing() -> None:
    async def trace() -> None:
        async with House(Origin(then=silence()), body={"replay_up_to": 1000}, **FIXED_4) as house:
            app = await house.app()
            await app.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 4000)
            await until(lambda: house.limiter.inflight, "the body streams")
            await asyncio.sleep(1.1)
            app.close()
            await house.comes_to_rest()
            assert house.gate.failures == 0

    run(trace())


@pytest.mark.slow
def test_a_probe_that_was_walked_out_of_is_followed_by_another() -> None:
    async def trace() -> None:
        async with House(Origin(*[answer(500)] * 6, then=silence()), **FIXED_4) as house:
            house.gate.spacing_s = 0.05
            house.gate.latency = 0.01
            for number in (1, 2):
                app = await house.app()
                await app.ask()
                await until(lambda: house.gate.probes == number, "it probes")  # noqa: B023
                await asyncio.sleep(1.05)
                app.close()
                await until(lambda: not house.limiter.inflight, "it left")
                assert house.gate._failed_probes == number

    run(trace())


@pytest.mark.parametrize(("on", "counts"), [([500], 0), ([500, 501], 10)], ids=["as 404", "named"])
def test_501_is_an_answer_like_404_unless_retry_on_names_it(on: list[int], counts: int) -> None:
    async def trace() -> None:
        origin = Origin(then=answer(501, b"no such method"))
        async with House(origin, retry={"on": on, "attempts": 1}, **FIXED_4) as house:
            house.gate.failing = 0.5
            for _ in range(10):
                assert (await house.get()).body == b"no such method"
            assert house.gate.failures == counts
            assert {str(call.reason) for call in house.witness.calls} == {"upstream_status"}

    run(trace())


def test_a_probe_that_is_answered_501_ends_the_outage() -> None:
    async def trace() -> None:
        origin = Origin(*[answer(500)] * 6, then=answer(501))
        async with House(origin, **FIXED_4) as house:
            house.gate.spacing_s = 0.05
            assert (await house.get()).status == 501
            assert not house.gate.is_closed

    run(trace())


def test_other_5xx_count_whether_they_are_retried_or_not() -> None:
    """``retry.on`` says what is worth another try; 503 tells of load even where the operator wants it passed on."""

    async def trace() -> None:
        async with House(Origin(then=answer(503)), retry={"on": ["connect"]}, **FIXED_4) as house:
            for number in range(1, 4):
                assert (await house.get()).status == 503
                assert house.gate.failures == number

    run(trace())


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (answer(500), "; the last attempt: upstream_status 500 at 127.0.0.1:"),
        (reset(), "; the last attempt: reset "),
        (None, "; the last attempt: connect_failed "),
    ],
    ids=["500", "reset", "refused"],
)
@pytest.mark.parametrize("mode", ["hold", "fail"])
def test_who_is_refused_in_an_outage_is_told_of_the_last_failure(
    step: Step | None, words: str, mode: str
) -> None:
    async def trace() -> None:
        origin = Origin(then=step or answer())
        await origin.open()
        if step is None:
            origin.hang_up()
        over = {**FIXED_4, "outage": {"mode": mode, "max_hold": "50ms"}}
        async with House(origin, **over) as house:
            await house.get("/first")
            assert house.gate.is_closed
            got = await house.get("/late")
            assert (got.status, got.reason) == (503, "outage")
            detail = got.problem()["detail"]
            assert words in detail
            assert f"127.0.0.1:{origin.port}" in detail or "127.0.0.1', " in detail

    run(trace())
