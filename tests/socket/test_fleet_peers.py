"""Pods that read each other over real sockets: who pilots, who takes over, who is left alone. The clock is the test's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec
import pytest

from proxy.fleet.peers import Address
from proxy.fleet.record import MOST_BYTES, VERSION, Record, decode, encode
from tests.fakes.loop import run
from tests.fakes.town import peers_town as town
from tests.fakes.town import silent_server

SHORT_S = 0.5
"""How long a pod waits for one that hangs; where none does, a machine that is busy may take its time."""


def test_a_pod_with_a_wrong_key_is_left_alone_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def trace() -> None:
        async with town() as it:
            for name in ("1-a", "2-b"):
                await it.pod(name, key=b"right")
            wrong = await it.pod("0-x", key=b"wrong")
            await it.round(5)
            status, body, proof = it.pods[0].peers.answer(None, True)
            assert (status, proof) == (401, "")
            assert b"key" in body
            assert set(it.pilots) == {"1-a", "0-x"}
            assert it.pods[1].shares.keys() == {"1-a", "2-b"}
            assert wrong.shares.keys() == {"0-x"}

    with caplog.at_level(logging.WARNING, "sidegate"):
        run(trace())
    said = [each.message for each in caplog.records]
    assert all("answers 401" in each for each in said)
    # 1-a and 2-b of 0-x, which has read both of them.
    assert len(said) <= 4
    assert len(set(said)) == 3


def test_without_a_key_a_pod_of_a_fleet_with_one_is_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    async def trace() -> None:
        async with town() as it:
            keyed = await it.pod("2-b", key=b"right")
            await it.pod("1-a")
            await it.round(4)
            assert set(it.pilots) == {"1-a", "2-b"}
            assert keyed.shares.keys() == {"2-b"}

    with caplog.at_level(logging.WARNING, "sidegate"):
        run(trace())
    assert "does not prove the fleet's key" in caplog.text


@pytest.mark.parametrize("what", ["another fleet", "another version", "no record", "too much"])
def test_who_is_no_pod_of_the_fleet_is_left_alone(what: str, caplog: pytest.LogCaptureFixture) -> None:
    """And that is said once, though its id is the lowest."""

    async def trace() -> None:
        async with town("1-a", "2-b") as it:
            stranger = Record(VERSION, "http://a", "0-x", "0-x")
            if what == "another fleet":
                await it.answering(encode(msgspec.structs.replace(stranger, fleet="http://b")))
            elif what == "another version":
                await it.answering(encode(msgspec.structs.replace(stranger, version=VERSION + 1)))
            elif what == "no record":
                await it.answering(b"<html>")
            else:
                await it.answering(encode(stranger) + b" " * MOST_BYTES)
            await it.round(5)
            assert it.pilots == ["1-a"]
            assert it.pods[1].shares.keys() == {"1-a", "2-b"}

    with caplog.at_level(logging.WARNING, "sidegate"):
        run(trace())
    said = [each.message for each in caplog.records]
    assert 1 <= len(said) <= 2, "each pod says it once"
    assert all("another fleet" in each if what == "another fleet" else "left alone" in each for each in said)


def test_of_two_pilots_that_meet_again_the_younger_steps_down() -> None:
    async def trace() -> None:
        async with town() as it:
            older, younger = await it.pod("1-a", sees=[]), await it.pod("2-b", sees=[])
            await it.round(3)
            assert it.pilots == ["1-a", "2-b"]
            older.sees = younger.sees = None
            await it.round(3)
            assert it.pilots == ["1-a"]
            assert younger.shares.keys() == {"1-a", "2-b"}
            assert younger.seat.shares[-1].slots == younger.shares["2-b"]

    run(trace())


def test_a_pod_whose_clock_is_behind_takes_over_and_goes_on_from_what_was_known() -> None:
    async def trace() -> None:
        async with town("1-a", "2-b") as it:
            await it.round(6)
            plan = it.pods[0].member.plan
            assert plan is not None
            late = await it.pod("0-x")
            await it.round(4)
            assert it.pilots == ["0-x"]
            assert late.member.plan is not None
            assert late.member.plan.serial > plan.serial
            learner = late.member.plan.portions["default"].learner
            assert learner is not None
            assert learner.t > 2.0

    run(trace())


def test_a_peer_that_hangs_does_not_hold_up_the_others() -> None:
    """It may be the lowest of all, or come in between: every round ends, and the others have their shares."""

    async def trace() -> None:
        async with silent_server() as silent, town() as it:
            for name in ("1-a", "2-b"):
                await it.pod(name, read_s=SHORT_S)
            it.places.insert(0, silent)
            await it.round(4)
            assert it.pilots == ["1-a"]
            assert it.pods[1].shares.keys() == {"1-a", "2-b"}
            assert not it.pods[0].member.is_cut_off

    run(trace())


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_where_the_name_server_is_gone_those_that_are_known_are_read_on(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def trace() -> None:
        async with town() as it:
            for name in ("1-a", "2-b"):
                await it.pod(name, read_s=SHORT_S)
            await it.round(3)

            async def find() -> Sequence[Address]:
                if how == "hangs":
                    await asyncio.Event().wait()
                raise OSError("no name server")

            for pod in it.pods:
                pod.peers._find = find
            await it.round(4)
            assert it.pilots == ["1-a"]
            assert it.pods[0].shares.keys() == {"1-a", "2-b"}

    with caplog.at_level(logging.WARNING, "sidegate"):
        run(trace())
    assert len(caplog.records) == 1, "the pilot's turn alone asks, and says it once"


def test_a_pod_that_starts_again_at_its_address_is_another_pod() -> None:
    """Its id before is forgotten: else the addresses that are known grow with every restart."""

    async def trace() -> None:
        async with town("1-a", "2-b") as it:
            await it.round(3)
            first, second = it.pods
            port = second.at[1]
            for number in range(3):
                await it.pods[1].die()
                await it.pod(f"5-{number}", port=port)
                await it.round(10)
            assert first.shares.keys() == {"1-a", "5-2"}
            assert first.peers._at.keys() == {"5-2"}
            assert it.pilots == ["1-a"]

    run(trace())


def test_the_pilot_that_starts_again_at_its_address_is_succeeded_at_once() -> None:
    async def trace() -> None:
        async with town("1-a", "2-b") as it:
            await it.round(4)
            first, second = it.pods
            port = first.at[1]
            await first.die()
            await it.pod("5-a", port=port)
            assert await it.rounds_until_pilot(second) <= 3
            await it.round(4)
            assert it.pilots == ["2-b"]

    run(trace())


def test_only_a_pod_that_carries_calls_wakes_another() -> None:
    """Else two idle pods would keep each other awake for ever."""

    async def trace() -> None:
        async with town("1-a", "2-b") as it:
            for pod in it.pods:
                pod.seat.says["wanted"] = 0
            await it.round(6)
            first, second = it.pods
            asked = first.peers.asked_at, second.peers.asked_at
            await it.round(4)
            assert (first.peers.asked_at, second.peers.asked_at) == asked
            second.seat.says["wanted"] = 3
            await it.round(1)
            assert first.peers.asked_at > asked[0]
            assert second.peers.asked_at == asked[1], "the pilot reads all, and that means nothing"
            first.seat.says["wanted"] = 3
            await it.round(2)
            assert second.peers.asked_at == asked[1]

    run(trace())


def test_before_its_first_turn_a_pod_has_nothing_to_tell() -> None:
    async def trace() -> None:
        async with town("1-a") as it:
            peers = it.pods[0].peers
            assert peers.answer(None, True)[0] == 503
            await it.round()
            status, body, _ = peers.answer(None, True)
            assert (status, decode(body).pod) == (200, "1-a")

    run(trace())
