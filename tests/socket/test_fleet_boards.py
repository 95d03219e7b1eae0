"""What every kind of board does, over real sockets: one pilot, one total, shares for all, and somebody who goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.fleet.leases import Hard
from tests.fakes.loop import run
from tests.fakes.redis import KINDS
from tests.fakes.town import town

pytestmark = pytest.mark.parametrize("kind", ["peers", "model", *KINDS])


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


def test_the_owners_total_is_leased_giver_first(kind: str, tmp_path: Path) -> None:
    """Whoever joins, wants more, or dies."""

    async def trace() -> None:
        async with town(kind, tmp_path) as it:
            hard = Hard(slots=8)
            first = await it.pod("1-a", hard=hard)
            await it.round(8)
            assert first.seat.in_force.slots == 8
            first.seat.says["inflight"] = 8
            second = await it.pod("2-b", hard=hard)
            await it.round(4)
            assert second.seat.in_force.slots == 0, "all are in use"
            first.seat.says["inflight"] = 4
            await it.round(3)
            assert (first.seat.in_force.slots, second.seat.in_force.slots) == (4, 4)
            await second.die()
            await it.round(4)
            assert first.seat.in_force.slots == 4, "the lease of the dead still runs"
            await it.round(10)
            # Peers cannot tell one that died from one that they do not see, as long as it is named.
            assert first.seat.in_force.slots == (4 if kind == "peers" else 8)

    run(trace())


def test_a_pod_without_the_board_uses_what_is_said_and_no_more(kind: str, tmp_path: Path) -> None:
    """Nothing where leases are strict; elsewhere its part of the most pods it has known."""

    async def trace() -> None:
        async with town(kind, tmp_path) as it:
            pods = [await it.pod(name, hard=Hard(slots=9)) for name in ("1-a", "2-b", "3-c")]
            await it.round(10)
            assert [pod.seat.in_force.slots for pod in pods] == [3, 3, 3]
            pods[0].seat.says["wanted"] = pods[1].seat.says["wanted"] = 0
            await it.round(8)
            assert pods[2].seat.in_force.slots > 3
            for pod in pods[:2]:
                await pod.die()
            it.cut(pods[2])
            for _ in range(40):
                await pods[2].member.turn()
                it.now += 0.5
            assert pods[2].seat.in_force.slots == (3 if kind == "peers" else 0)

    run(trace())
