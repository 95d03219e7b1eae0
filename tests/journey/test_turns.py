"""Whose turn it is: fair between the app's connections, by priority, never the last to come."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from tests.fakes.app import App, request
from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Asked, Line, Origin, answer, when

ONE_AT_A_TIME: dict[str, Any] = {"limits": {"concurrency": {"mode": "fixed", "limit": 1}}}


async def served(line: Line, _: Asked) -> None:
    """A server that takes 2 ms."""
    await asyncio.sleep(0.002)
    await line.send(answer(200))


async def wait_in_line(house: House, app: App, target: str, *headers: str) -> None:
    """Ask, and return once the call waits."""
    before = house.limiter.waiting
    await app.ask(target, headers=headers)
    await until(lambda: house.limiter.waiting == before + 1, f"{target} waits")


def test_a_quiet_connection_goes_ahead_of_those_that_were_served_since() -> None:
    """The order of the turns is that of the last answers, not that of the questions."""

    async def trace() -> None:
        release = asyncio.Event()
        origin = Origin(*[answer(200)] * 4, when(release, answer(200)))
        async with House(origin, **ONE_AT_A_TIME) as house:
            quiet, busy, holder, new = [await house.app() for _ in range(4)]
            for app in (quiet, busy, busy):
                await app.get("/before")
            await holder.get("/before")
            await holder.ask("/holder")
            await until(lambda: len(origin.asked) == 5, "the slot is taken")
            late = await house.app()
            for app, target in ((late, "/late"), (busy, "/busy"), (quiet, "/quiet"), (new, "/new")):
                await wait_in_line(house, app, target)
            release.set()
            for app in (holder, late, busy, quiet, new):
                assert (await app.answer()).status == 200
            assert origin.targets[5:] == ["/new", "/quiet", "/busy", "/late"]

    run(trace())


def test_a_connection_full_of_calls_gets_one_turn_in_a_round() -> None:
    """Thirty pipelined at once by one connection, and three that ask one by one: none waits for a second greedy call."""

    async def trace() -> None:
        origin = Origin(then=served)
        async with House(origin, **ONE_AT_A_TIME) as house:
            greedy, *others = [await house.app() for _ in range(4)]
            await greedy.send(request("/greedy") * 30)
            await until(lambda: origin.asked, "the slot is taken")

            async def one_by_one(app: App, name: str) -> None:
                for _ in range(10):
                    assert (await app.get(name)).status == 200

            await soon(asyncio.gather(*(one_by_one(app, f"/{n}") for n, app in enumerate(others))))
            turns = list(origin.targets)
            for _ in range(30):
                assert (await greedy.answer()).status == 200
            assert Counter(turns)["/greedy"] <= 10 + 2
            for n in range(3):
                mine = [at for at, target in enumerate(turns) if target == f"/{n}"]
                for one, next_one in pairwise(mine):
                    assert turns[one:next_one].count("/greedy") <= 2

    run(trace())


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "a connection per call"])
def test_many_greedy_connections_do_not_hold_up_a_quiet_one(keeps: bool) -> None:
    """Twelve that never rest. The quiet one is next, or the one after when it comes in the step of a grant."""

    async def trace() -> None:
        origin = Origin(then=served)
        async with House(origin, **ONE_AT_A_TIME) as house:
            done = asyncio.Event()

            async def never_rest() -> None:
                app = await house.app()
                while not done.is_set():
                    await app.get("/greedy")
                    if not keeps:
                        app.close()
                        app = await house.app()

            quiet = await house.app()
            await quiet.get("/quiet")
            greedy = [asyncio.ensure_future(never_rest()) for _ in range(12)]
            await until(lambda: len(origin.asked) > 30, "they are busy")
            for _ in range(5):
                await until(lambda: house.limiter.waiting >= 8, "they wait")
                before = len(origin.asked)
                await quiet.get("/quiet")
                assert origin.targets[before:].index("/quiet") <= 2
                seen = len(origin.asked)
                await until(lambda n=seen: len(origin.asked) > n + 15, "a round has passed")
            done.set()
            await soon(asyncio.gather(*greedy))

    run(trace())


def test_a_retry_goes_ahead_of_calls_that_came_after_its_own() -> None:
    async def trace() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        origin = Origin(when(first, answer(503)), when(second, answer(200)))
        async with House(origin, **ONE_AT_A_TIME) as house:
            early, *later = [await house.app() for _ in range(4)]
            await early.ask("/early")
            await until(lambda: origin.asked, "the slot is taken")
            for number, app in enumerate(later):
                await wait_in_line(house, app, f"/{number}")
            first.set()
            await until(lambda: len(origin.asked) == 2, "the next has its turn while the retry backs off")
            await until(lambda: house.limiter.waiting == 3, "the retry waits")
            second.set()
            got = await early.answer()
            assert (got.status, got.attempts) == (200, 2)
            for app in later:
                await app.answer()
            assert origin.targets == ["/early", "/0", "/early", "/1", "/2"]

    run(trace())


def test_priorities_share_the_turns_by_weight_and_the_operator_sees_who_waits() -> None:
    """Of 21 turns 16 are high, 4 normal and 1 low; a call that says nothing is normal."""

    async def trace() -> None:
        release = asyncio.Event()
        origin = Origin(when(release, answer(200)))
        async with House(origin, **ONE_AT_A_TIME) as house:
            holder = await house.app()
            await holder.ask("/holder")
            await until(lambda: origin.asked, "the slot is taken")
            apps = []
            for word, count in (("low", 3), ("normal", 3), (None, 3), ("high", 20)):
                for _ in range(count):
                    apps.append(await house.app())
                    said = [] if word is None else [f"Sidegate-Priority: {word}"]
                    await wait_in_line(house, apps[-1], f"/{word or 'normal'}", *said)
            queue = (await house.admin("/queue"))["limiters"]["default"]
            assert queue["waiting_by_priority"] == {"high": 20, "normal": 6, "low": 3}
            assert (queue["waiting"], queue["inflight"]) == (29, 1)
            assert 0 < queue["longest_wait_s"] < 5
            release.set()
            for app in (holder, *apps):
                assert (await app.answer()).status == 200
            assert Counter(origin.targets[1:22]) == {"/high": 16, "/normal": 4, "/low": 1}
            assert origin.targets[1:5] == ["/high"] * 4
            queue = (await house.admin("/queue"))["limiters"]["default"]
            assert (queue["waiting"], queue["longest_wait_s"]) == (0, 0)

    run(trace())


def test_every_wait_is_counted_whatever_became_of_it_and_a_refusal_at_once_is_none() -> None:
    async def trace() -> None:
        release = asyncio.Event()
        origin = Origin(when(release, answer(200)))
        async with House(origin, **ONE_AT_A_TIME, queue={"max_waiting": 2}) as house:
            waits = house.sidecar.metrics.wait_seconds.of(("queue",))
            holder, leaver, stayer = [await house.app() for _ in range(3)]
            await holder.ask("/holder")
            await until(lambda: origin.asked, "the slot is taken")
            await wait_in_line(house, leaver, "/leaver")
            await wait_in_line(house, stayer, "/stayer")
            assert (await house.get()).reason == "queue_full"
            assert waits.cumulative()[-1][1] == 0
            await asyncio.sleep(0.02)
            leaver.reset()
            await until(lambda: house.limiter.waiting == 1, "one has left")
            await until(lambda: len(house.witness.calls) == 2, "it is counted out")
            assert house.witness.calls[-1].queue_s >= 0.02
            assert waits.cumulative()[-1][1] == 1
            late = await house.get("/late", "Sidegate-Timeout: 30ms")
            assert late.status == 504
            assert waits.cumulative()[-1][1] == 2
            release.set()
            for app in (holder, stayer):
                assert (await app.answer()).status == 200
            assert waits.cumulative()[-1][1] == 3
            assert waits.total >= 0.02 + 0.03 + 0.05

    run(trace())
