"""Queue, tokens and backpressure: what waits is bounded, and is told how long."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Asked, Line, Origin, answer, silence, when

MIB = 1 << 20


def fixed(limit: int) -> dict[str, object]:
    return {"limits": {"concurrency": {"mode": "fixed", "limit": limit}}}


def test_no_more_calls_are_under_way_than_the_limit_says_and_they_go_in_order() -> None:
    async def trace() -> None:
        most = now = 0

        async def play(line: Line, _: Asked) -> None:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.005)
            now -= 1
            await line.send(answer(200))

        origin = Origin(then=play)
        async with House(origin, **fixed(2)) as house:
            calls = []
            for number in range(12):
                app = await house.app()
                await app.ask(f"/{number}")
                calls.append(app)
                await until(
                    lambda n=number: house.sidecar.exchange.calls_under_way + len(house.witness.calls) > n,
                    "it is in",
                )
            for app in calls:
                assert (await app.answer()).status == 200
            assert most == 2
            assert origin.targets == [f"/{n}" for n in range(12)]

    run(trace())


def test_a_full_queue_is_503_at_once_with_retry_after() -> None:
    async def trace() -> None:
        release = asyncio.Event()
        origin = Origin(when(release, answer(200)))
        async with House(origin, **fixed(1), queue={"max_waiting": 1}) as house:
            first, second = await house.app(), await house.app()
            await first.ask()
            await until(lambda: origin.asked, "the slot is taken")
            await second.ask()
            await until(lambda: house.limiter.waiting == 1, "the queue is full")
            got = await house.get()
            assert (got.status, got.reason, got.attempts) == (503, "queue_full", 0)
            assert int(got.header("retry-after") or 0) >= 1
            release.set()
            assert [(await app.answer()).status for app in (first, second)] == [200, 200]

    run(trace())


def test_waiting_too_long_is_503_queue_timeout() -> None:
    async def trace() -> None:
        origin = Origin(silence())
        async with House(origin, **fixed(1), queue={"max_wait": "60ms"}) as house:
            holder = await house.app()
            await holder.ask()
            await until(lambda: origin.asked, "the slot is taken")
            got = await house.get()
            assert (got.status, got.reason, got.attempts) == (503, "queue_timeout", 0)
            holder.close()

    run(trace())


def test_a_deadline_in_the_queue_is_504() -> None:
    async def trace() -> None:
        origin = Origin(silence())
        async with House(origin, **fixed(1)) as house:
            holder = await house.app()
            await holder.ask()
            await until(lambda: origin.asked, "the slot is taken")
            got = await house.get("/", "Sidegate-Timeout: 60ms")
            assert (got.status, got.reason) == (504, "deadline")
            holder.close()

    run(trace())


def test_a_token_that_would_come_too_late_is_429_at_once() -> None:
    async def trace() -> None:
        async with House(
            Origin(), limits={"rate": 0.1}, timeouts={"total": "60s"}, queue={"max_wait": "60s"}
        ) as house:
            await house.get("/first")
            started = asyncio.get_running_loop().time()
            for waiting in range(2):
                got = await house.get("/", "Sidegate-Timeout: 7s")
                assert (got.status, got.reason, got.attempts) == (429, "queue_timeout", 0)
                assert 8 <= int(got.header("retry-after") or 0) <= 11
                assert house.limiter.waiting == waiting
                if not waiting:
                    waiter = await house.app()
                    await waiter.ask("/", headers=["Sidegate-Timeout: 30s"])
                    await until(lambda: house.limiter.waiting == 1, "one waits")
            assert asyncio.get_running_loop().time() - started < 1
            waiter.close()
            await until(lambda: house.limiter.waiting == 0, "nobody waits")
            house.limiter.close()

    run(trace())


def test_a_problem_document_says_what_happened() -> None:
    """RFC 9457; and a HEAD's refusal has the head only."""

    async def trace() -> None:
        origin = Origin()
        await origin.open()
        origin.hang_up()
        async with House(origin, retry={"attempts": 1}) as house:
            app = await house.app()
            got = await app.get()
            assert (got.status, got.reason) == (502, "connect_failed")
            problem = got.problem()
            assert problem["type"] == "about:blank"
            assert problem["status"] == 502
            assert problem["reason"] == "connect_failed"
            assert problem["title"]
            assert json.dumps(problem) == got.body.decode()
            await app.ask("/", "HEAD")
            got = await app.answer(to_head=True)
            assert (got.status, got.reason) == (502, "connect_failed")
            assert (await app.get()).status == 502, "the connection is in step"

    run(trace())


@pytest.mark.slow
def test_a_slow_reader_slows_the_upstream_down() -> None:
    """An app that does not read: what gathers on its behalf is bounded, and all of it arrives once it reads."""
    total = 64 * MIB
    sent = 0

    async def play(line: Line, _: Asked) -> None:
        nonlocal sent
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        piece = b"x" * (256 << 10)
        while sent < total:
            await line.send(piece)
            sent += len(piece)

    async def trace() -> None:
        async with House(Origin(play)) as house:
            app = await house.app(receive_buffer=64 << 10)
            await app.ask()
            await app.head()
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.3)
            assert sent < 24 * MIB, "kernel buffers, and no more than that"
            received = 0
            while received < total:
                received += len(await soon(app.reader.read(MIB)))
            assert received == total

    run(trace())


@pytest.mark.slow
def test_a_slow_upstream_slows_the_app_down() -> None:
    """A large body towards an upstream that does not read yet."""
    total = 64 * MIB
    written = 0

    async def trace() -> None:
        nonlocal written
        may_read = asyncio.Event()

        async def play(line: Line) -> None:
            await line.head()
            await soon(may_read.wait())
            received = 0
            while received < total:
                received += len(await line.reader.read(MIB))
            await line.send(answer(200, b"%d" % received))
            await line.until_gone()

        async with House(Origin(plays=play)) as house:
            app = await house.app()

            async def upload() -> None:
                nonlocal written
                await app.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % total)
                piece = b"x" * (256 << 10)
                while written < total:
                    await app.send(piece)
                    written += len(piece)

            uploading = asyncio.ensure_future(upload())
            before = -1
            while written != before:
                before = written
                await asyncio.sleep(0.3)
            assert written < 24 * MIB
            may_read.set()
            await soon(uploading)
            assert (await app.answer()).body == b"%d" % total

    run(trace())


def test_an_app_that_never_reads_is_let_go() -> None:
    """After ``body_idle`` without a byte taken; the answer was begun, so its end is a cut: the app finds out if it ever reads."""

    async def trace() -> None:
        total = 64 * MIB

        async def play(line: Line, _: Asked) -> None:
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            while True:
                await line.send(b"x" * (256 << 10))

        async with House(Origin(play), **fixed(1), timeouts={"body_idle": "400ms"}) as house:
            deaf = await house.app(receive_buffer=64 << 10)
            await deaf.ask()
            await until(lambda: house.limiter.inflight == 1, "it holds the slot")
            await until(lambda: house.limiter.inflight == 0, "it has lost it")
            assert (await house.get()).body == b"then"
            await until(lambda: len(house.witness.calls) == 2, "it is let go")
            assert len(await deaf.rest()) < total

    run(trace())


def test_a_body_within_the_cap_does_not_hold_a_slot_while_the_app_reads_it() -> None:
    """The answer is whole and here: the next call may go, however slowly the first app reads."""

    async def trace() -> None:
        origin = Origin(answer(200, b"x" * 900_000))
        async with House(origin, **fixed(1)) as house:
            slow = await house.app(receive_buffer=4096)
            await slow.ask()
            await until(lambda: house.witness.attempts, "the answer is whole")
            assert (await house.get()).body == b"then"
            assert (await slow.answer()).is_whole

    run(trace())


def test_a_flood_of_waiting_calls_is_told_no_in_order_and_leaves_nothing() -> None:
    """300 callers at a queue of 100: all are answered, those beyond the bound at once."""

    async def trace() -> None:
        release = asyncio.Event()
        origin = Origin(when(release, answer(200)))
        async with House(origin, **fixed(1), queue={"max_waiting": 100}) as house:
            apps = [await house.app() for _ in range(300)]
            for app in apps:
                await app.ask()
            await until(lambda: len(house.witness.calls) == 199, "those beyond the queue are answered")
            release.set()
            statuses = [(await app.answer()).status for app in apps]
            assert (statuses.count(200), statuses.count(503)) == (101, 199)

    run(trace())
