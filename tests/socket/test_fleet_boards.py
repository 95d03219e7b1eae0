"""What every kind of board does, over real sockets: one pilot, one total, shares for all, and somebody who goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.loop import run
from tests.fakes.redis import KINDS
from tests.fakes.town import town

pytestmark = pytest.mark.parametrize("kind", ["peers", *KINDS])


def test_pods_agree_on_one_pilot_and_share_one_total(kind: str, tmp_path: Path) -> None:
    async def trace() -> None:
        async with town(kind, tmp_path, "3-c", "1-a", "2-b") as it:
            await it.round(4)
            (pilot,) = (pod for pod in it.pods if pod.member.is_pilot)
            assert pilot.shares.keys() == {"1-a", "2-b", "3-c"}
            for pod in it.pods:
                assert pod.slots == pilot.shares[pod.name] == pod.shares[pod.name]
                assert pod.member.pods == 3
                assert sum(pilot.shares.values()) == pod.member.total("default")[0] >= 10

    run(trace())


def test_a_pod_that_comes_later_gets_its_share(kind: str, tmp_path: Path) -> None:
    async def trace() -> None:
        async with town(kind, tmp_path, "1-a", "2-b") as it:
            await it.round(3)
            late = await it.pod("9-z")
            await it.round(3)
            assert it.pilots == ["1-a"]
            assert late.slots == late.shares["9-z"] > 0

    run(trace())


def test_when_the_pilot_dies_the_next_goes_on_from_what_it_knew(kind: str, tmp_path: Path) -> None:
    async def trace() -> None:
        async with town(kind, tmp_path, "1-a", "2-b", "3-c") as it:
            await it.round(5)
            first, second, third = it.pods
            before = second.member.plan
            learnt_s = before.portions["default"].learner.t
            assert learnt_s > 0.0
            await first.die()
            await it.rounds_until_pilot(second)
            await it.round(8)
            assert it.pilots == ["2-b"]
            after = third.member.plan
            assert after.serial > before.serial
            assert after.portions["default"].learner.t > learnt_s + 2.0
            assert second.shares.keys() == {"2-b", "3-c"}
            assert not second.member.is_cut_off
            assert not third.member.is_cut_off

    run(trace())


def test_a_goodbye_is_faster_than_a_death(kind: str, tmp_path: Path) -> None:
    async def trace() -> None:
        turns = {}
        for how in ("leave", "die"):
            directory = tmp_path / how
            directory.mkdir()
            async with town(kind, directory, "1-a", "2-b", "3-c") as it:
                await it.round(4)
                first, second, _ = it.pods
                if how == "leave":
                    await first.leave()
                else:
                    await first.die()
                turns[how] = await it.rounds_until_pilot(second)
                await it.round(8)
                assert it.pilots == ["2-b"]
                assert second.shares.keys() == {"2-b", "3-c"}
        assert turns["leave"] < turns["die"]

    run(trace())


def test_a_pod_that_dies_is_given_nothing_a_little_later(kind: str, tmp_path: Path) -> None:
    async def trace() -> None:
        async with town(kind, tmp_path, "1-a", "2-b", "3-c") as it:
            await it.round(4)
            first, _, third = it.pods
            await third.die()
            await it.round(3)
            assert "3-c" in first.shares
            await it.round(4)
            assert first.shares.keys() == {"1-a", "2-b"}

    run(trace())


def test_a_pod_of_another_fleet_is_left_alone(kind: str, tmp_path: Path) -> None:
    async def trace() -> None:
        async with town(kind, tmp_path, "1-a", "2-b") as it:
            stranger = await it.pod("0-x", fleet="http://b")
            await it.round(4)
            assert it.pilots == ["1-a", "0-x"]
            assert it.pods[0].shares.keys() == {"1-a", "2-b"}
            assert stranger.shares.keys() == {"0-x"}

    run(trace())
