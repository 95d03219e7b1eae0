"""The limit that finds itself, in the whole sidecar: callers see no error, the operator sees it and may change its kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.admit.learned import LearnedLimit
from tests.fakes.app import App
from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Asked, Line, Origin, answer

DEFAULT: dict[str, Any] = {"limits": {"concurrency": {"mode": "adaptive"}}}


class Crowded:
    """An origin that answers in 5 ms, and with 500 at once while more than ``room`` are in flight."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.inflight = self.most = self.refused = 0
        self.origin = Origin(then=self._play)

    async def _play(self, line: Line, _: Asked) -> None:
        self.inflight += 1
        self.most = max(self.most, self.inflight)
        try:
            if self.inflight > self.room:
                self.refused += 1
                await line.send(answer(500, b"too many"))
                return
            await asyncio.sleep(0.005)
            await line.send(answer(200, b"page"))
        finally:
            self.inflight -= 1


class Callers:
    """Apps that ask one page after the other; counts what they were answered."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.answers: dict[int, int] = {}
        self.is_done = False

    @property
    def served(self) -> int:
        return self.answers.get(200, 0)

    async def pull(self) -> None:
        app = await self.house.app()
        while not self.is_done:
            status = (await app.get("/page")).status
            self.answers[status] = self.answers.get(status, 0) + 1

    async def more(self, count: int) -> None:
        """Return once so many more were served."""
        goal = self.served + count
        await until(lambda: self.served >= goal, f"{count} more are served")


@asynccontextmanager
async def pulling(house: House, count: int) -> AsyncIterator[Callers]:
    """So many callers at work; at the end all have had their last answer."""
    callers = Callers(house)
    tasks = [asyncio.ensure_future(callers.pull()) for _ in range(count)]
    try:
        yield callers
    finally:
        callers.is_done = True
        await soon(asyncio.gather(*tasks))


async def change(house: House, **concurrency: Any) -> dict[str, Any]:
    """Patch the limits as an operator does; return what is said of the default ones."""
    app = await App.connect(house._admin_port)
    house.apps.append(app)
    body = json.dumps({"concurrency": concurrency}).encode()
    await app.ask("/limits", "PATCH", ["Content-Type: application/json", "Connection: close"], body)
    got = await app.answer()
    assert got.status == 200, got.body
    return dict(json.loads(got.body)["default"])


def gauge(metrics: str, name: str) -> float:
    (line,) = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
    return float(line.split(" ")[1])


@pytest.mark.slow
def test_many_callers_of_a_crowded_origin_see_no_error_and_the_operator_sees_the_limit() -> None:
    """30 callers, room for 4, in the default mode. A failed attempt is tried again."""

    async def trace() -> None:
        upstream = Crowded(4)
        async with House(upstream.origin, **DEFAULT) as house:
            limit = house.limiter.limit
            assert isinstance(limit, LearnedLimit)
            async with pulling(house, 30) as callers:
                await callers.more(400)
                await until(lambda: limit.slots != 4, "it moves from where a fleet starts")
                shown = (await house.admin("/limits"))["default"]
                assert shown["concurrency"]["mode"] == "adaptive"
                assert 0 <= shown["concurrency"]["limit"] <= 30
                assert shown["inflight"] + shown["waiting"] > 10
            assert set(callers.answers) == {200}
            await house.comes_to_rest()
            assert limit.inflight == 0
            found = (await house.admin("/decisions"))["limits"]["default"]
            assert found["mode"] == "adaptive"
            assert found["decisions"], "it says why it moved"
            fleet = (await house.admin("/fleet"))["limiters"]["default"]
            assert gauge(await house.metrics(), "sidegate_fleet_slots") == fleet["slots"] == limit.slots

    run(trace())


@pytest.mark.slow
def test_the_kind_of_limit_changes_under_way_and_nobody_notices() -> None:
    """Adaptive, fixed, adaptive, off, adaptive: each takes over what is under way, and all is at rest in the end."""

    async def trace() -> None:
        upstream = Crowded(1000)
        async with House(upstream.origin, **DEFAULT) as house:
            first = house.limiter.limit
            async with pulling(house, 20) as callers:
                await callers.more(50)

                shown = await change(house, mode="fixed", limit=3)
                assert (shown["concurrency"]["mode"], shown["concurrency"]["limit"]) == ("fixed", 3)
                await callers.more(20)
                upstream.most = 0
                await callers.more(100)
                assert upstream.most == 3

                shown = await change(house, mode="adaptive", limit=None)
                second = house.limiter.limit
                assert isinstance(second, LearnedLimit)
                assert second is not first
                assert shown["concurrency"]["mode"] == "adaptive"
                await callers.more(50)
                assert second.inflight == house.limiter.inflight

                await change(house, min=6, max=8)
                assert house.limiter.limit is second, "its share stays"
                assert 6 <= second.slots <= 8
                await callers.more(50)
                upstream.most = 0
                await callers.more(150)
                assert 5 <= upstream.most <= 8

                shown = await change(house, mode="off", min=1, max=256)
                assert (shown["concurrency"]["mode"], shown["concurrency"]["limit"]) == ("off", None)
                await callers.more(50)
                assert upstream.most > 8

                await change(house, mode="adaptive")
                third = house.limiter.limit
                assert isinstance(third, LearnedLimit)
                await until(lambda: third.slots > 1, "the fleet gives it a share")
            assert set(callers.answers) == {200}
            await house.comes_to_rest()
            assert (house.limiter.inflight, third.inflight) == (0, 0)

    run(trace())


def test_no_more_are_in_flight_than_the_pool_has_connections() -> None:
    """At the start and after the operator's change."""

    async def trace() -> None:
        over: dict[str, Any] = {"limits": {"concurrency": {"mode": "adaptive", "limit": 10}}}
        async with House(Crowded(1000).origin, pool={"max_connections": 3}, **over) as house:
            limit = house.limiter.limit
            assert limit.slots == 3
            await change(house, max=100, min=6)
            assert (house.limiter.limit, limit.slots) == (limit, 3)

    run(trace())


def test_every_attempt_that_the_limit_was_told_of_has_one_end() -> None:
    """Callers leave at any moment, in the queue or with their attempt under way: nothing stays out."""

    async def trace() -> None:
        upstream = Crowded(3)
        async with House(upstream.origin, **DEFAULT) as house:
            limit = house.limiter.limit
            for round_ in range(20):
                apps = [await house.app() for _ in range(6)]
                for app in apps:
                    await app.ask("/page")
                if round_ % 2:
                    await until(lambda: upstream.inflight, "somebody is served")
                for app in apps[1:]:
                    app.reset()
                assert (await apps[0].answer()).status == 200
            await house.comes_to_rest()
            assert limit.inflight == house.limiter.inflight == 0
            assert (await house.get()).status == 200

    run(trace())
