"""A fleet whose Redis or Valkey fails: no turn raises, the log says once what is wrong, and all come back to their shares."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.config.redis_url import parse_redis_url
from proxy.fleet.record import VERSION, Record
from proxy.fleet.redis import Redis
from proxy.fleet.redis_client import RedisClient, RedisError
from proxy.fleet.scripts import TURN, keys_of
from tests.fakes.loop import PATIENCE_S, run
from tests.fakes.ports import free_port
from tests.fakes.redis import KINDS, Server
from tests.fakes.redis import server as started
from tests.fakes.town import FLEET, RedisTown, redis_town, silent_server, town

of_each_kind = pytest.mark.parametrize("kind", list(KINDS))
SHORT_S = 0.2
RIGHTS = ("~sidegate:*", "+evalsha", "+eval", "+@read", "+@write", "+time")
"""Of a user of its own, as docs/fleet.md has it."""


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if "Redis" in each.message]


@pytest.fixture(autouse=True)
def listening(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, "sidegate"):
        yield


async def back_to_shares(it: RedisTown, pods: int) -> None:
    """Within ten turns, which are 5 s; what all hold together never exceeds the total."""
    for _ in range(10):
        await it.round()
        if [pod.member.is_cut_off for pod in it.pods] == [False] * pods and it.pods[0].member.pods == pods:
            break
    await it.round()
    (pilot,) = (pod for pod in it.pods if pod.member.is_pilot)
    assert pilot.shares == {pod.name: pod.slots for pod in it.pods}
    assert sum(pilot.shares.values()) == pilot.member.total("default")[0]


FAULTS = {
    "killed": "no connection",
    "paused": "no answer within",
    "full": "raise its maxmemory",
    "replica": "read-only replica",
    "password": "refuses user or password",
    "locked": "set fleet.redis_password_file",
    "commands": "the user may not do this",
}


async def break_(its: Server, fault: str) -> None:
    if fault == "killed":
        await its.stop()
    elif fault == "paused":
        its.signal(signal.SIGSTOP)
    elif fault == "full":
        await its.ask("CONFIG", "SET", "maxmemory", "1")
    elif fault == "replica":
        await its.ask("REPLICAOF", "127.0.0.1", str(free_port()))
    else:
        rights = (
            "-@all" if fault == "commands" else "resetpass >other" if fault == "password" else "resetpass >s"
        )
        await its.ask("ACL", "SETUSER", "default" if fault == "locked" else "pods", *rights.split())
        await its.ask(
            "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", password="s" if fault == "locked" else None
        )


async def mend(its: Server, fault: str) -> None:
    if fault == "killed":
        await its.start()
    elif fault == "paused":
        its.signal(signal.SIGCONT)
    elif fault == "full":
        await its.ask("CONFIG", "SET", "maxmemory", "0")
    elif fault == "replica":
        await its.ask("REPLICAOF", "NO", "ONE")
    elif fault == "locked":
        await its.ask("ACL", "SETUSER", "default", "nopass", password="s")
    else:
        await its.ask("ACL", "SETUSER", "pods", "reset", "on", ">hunter2", *RIGHTS)


@of_each_kind
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_said_once_and_the_pods_come_back(
    kind: str, fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Meanwhile each keeps its share, and is cut off after a second."""

    async def trace() -> None:
        async with redis_town(kind, tmp_path) as it:
            await it.server.ask("ACL", "SETUSER", "pods", "on", ">hunter2", *RIGHTS)
            url = (
                f"redis://pods:hunter2@127.0.0.1:{it.server.port}"
                if fault in ("password", "commands")
                else ""
            )
            for name in ("1-a", "2-b", "3-c"):
                await it.pod(name, url=url)
            await it.round(5)
            shares = [pod.slots for pod in it.pods]
            total = it.pods[0].member.total("default")[0]
            assert said(caplog) == []
            await break_(it.server, fault)
            for pod in it.pods:
                pod.board._client._answer_s = SHORT_S if fault == "paused" else PATIENCE_S
            for _ in range(5):
                for pod in it.pods:
                    await pod.member.turn()
                it.now += 0.5
            assert all(pod.member.is_cut_off for pod in it.pods)
            assert all(0 < pod.slots <= share for pod, share in zip(it.pods, shares, strict=True))
            assert it.pilots == []
            await mend(it.server, fault)
            for pod in it.pods:
                pod.board._client._answer_s = PATIENCE_S
            await back_to_shares(it, 3)
            assert it.pods[0].member.total("default")[0] >= total / 2, "what was learnt is not lost"

    run(trace())
    assert "hunter2" not in caplog.text
    lines = said(caplog)
    assert len([each for each in lines if FAULTS[fault] in each]) == 3, "each pod says it once"
    assert len([each for each in lines if "can be used again" in each]) == 3


def test_after_ten_seconds_without_a_server_each_pod_learns_on_from_its_share(tmp_path: Path) -> None:
    async def trace() -> None:
        async with redis_town("redis", tmp_path, "1-a", "2-b") as it:
            await it.round(5)
            shares = [pod.member._share_of("default").rest for pod in it.pods]
            await it.server.stop()
            for _ in range(24):
                for pod in it.pods:
                    await pod.member.turn()
                it.now += 0.5
            assert all(pod.member.is_alone for pod in it.pods)
            assert [pod.slots for pod in it.pods] == shares
            await it.server.start()
            await back_to_shares(it, 2)

    run(trace())


def test_a_server_that_takes_connections_and_says_nothing_holds_up_no_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def trace() -> None:
        async with silent_server() as (_, port):
            for scheme, path in (("redis", ""), ("redis+cluster", ""), ("redis+sentinel", "/board")):
                client = RedisClient(parse_redis_url(f"{scheme}://127.0.0.1:{port}{path}"), answer_s=SHORT_S)
                for _ in range(2):
                    with pytest.raises(
                        RedisError, match=r"no answer within 0\.2 s|no node|no connection|no primary"
                    ):
                        await client.run(TURN, keys_of(FLEET), [])
                await client.close()

    run(trace())


def test_a_script_that_the_server_has_forgotten_is_sent_again(tmp_path: Path) -> None:
    async def trace() -> None:
        async with redis_town("redis", tmp_path, "1-a", "2-b") as it:
            await it.round(3)
            await it.server.ask("SCRIPT", "FLUSH")
            await it.round(3)
            await back_to_shares(it, 2)

    run(trace())


def test_who_is_no_longer_the_pilot_publishes_nothing(tmp_path: Path) -> None:
    """It was stopped between its turn and its plan, and another has taken over."""

    async def trace() -> None:
        async with redis_town("redis", tmp_path, "1-a", "2-b") as it:
            await it.round(4)
            first, second = it.pods
            record = first.member._record()
            seen = await first.board.turn(record)
            assert seen.is_pilot
            await it.pass_time(3.0)
            await second.member.turn()
            assert second.member.is_pilot
            plan = first.member.plan
            assert not await first.board.publish(plan)
            assert await it.server.ask("HGET", keys_of(FLEET)[3], "id") == second.member.plan.id
            await first.member.turn()
            assert it.pilots == ["2-b"]

    run(trace())


def test_an_idle_pilot_stays_until_a_pod_carries_calls(tmp_path: Path) -> None:
    """It posts every 5 s; whoever wakes does not wait for it, and decides at once."""

    async def trace() -> None:
        async with redis_town("redis", tmp_path, "1-a", "2-b") as it:
            for pod in it.pods:
                pod.seat.says["wanted"] = 0
            await it.round(4)
            first, second = it.pods
            await it.pass_time(4.0)
            await second.member.turn()
            assert it.pilots == ["1-a"]
            second.seat.says["wanted"] = 5
            await second.member.turn()
            await second.member.turn()
            assert second.member.is_pilot
            await first.member.turn()
            assert it.pilots == ["2-b"]

    run(trace())


@pytest.mark.parametrize("kind", ["model", *KINDS])
def test_a_pod_whose_record_ran_out_gets_no_share_of_the_plan_that_is_there(
    kind: str, tmp_path: Path
) -> None:
    """The pilot may have seen that it is gone, and be about to give its lease to others."""

    async def trace() -> None:
        async with town(kind, tmp_path, "1-a", "2-b") as it:
            await it.round(4)
            _, second = it.pods
            await it.pass_time(3.0)
            seen = await second.board.turn(second.member._record())
            assert seen.plan is not None
            assert seen.plan.portions["default"].shares.keys() == {"1-a"}
            await it.round(4)
            assert second.slots == second.shares["2-b"]

    run(trace())


def test_pods_of_two_versions_meet_beside_each_other(tmp_path: Path) -> None:
    async def trace() -> None:
        async with redis_town("redis", tmp_path, "1-a", "2-b") as it:
            newer = await it.pod("0-n")
            newer.board._keys = keys_of(FLEET, 99)
            await it.round(4)
            assert it.pilots == ["1-a", "0-n"]
            assert it.pods[0].shares.keys() == {"1-a", "2-b"}

    run(trace())


@pytest.mark.parametrize("what", ["record", "plan", "shares"])
def test_what_is_no_record_and_no_plan_is_left_alone_and_that_is_said_once(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def trace() -> None:
        async with redis_town("redis", tmp_path, "1-a", "2-b") as it:
            await it.round(3)
            _, seen, records, plan, shares = keys_of(FLEET)
            if what == "record":
                await it.server.ask("HSET", records, "9-x", "<html>")
                await it.server.ask("ZADD", seen, "9e15", "9-x")
            elif what == "plan":
                await it.server.ask("HSET", plan, "id", "9@9-x", "body", '{"serial": "<html>"}')
            else:
                await it.server.ask("HSET", shares, "2-b", '{"default": [-4, 0.0, 0]}')
            await it.pods[1].member.turn()
            await it.round(4)
            assert it.pods[0].shares.keys() == {"1-a", "2-b"}
            assert all(pod.slots >= 0 for pod in it.pods)

    run(trace())
    assert 1 <= len([each for each in said(caplog) if "left alone" in each]) <= 2


def test_a_fleets_name_may_hold_anything() -> None:
    """All its keys have one hash tag: what stands between the first braces."""
    tags = set()
    for fleet in ("http://a", "{a}b}", "}{", "http://[fd00::80]:8080"):
        made = {key.partition("{")[2].partition("}")[0] for key in keys_of(fleet)}
        assert len(made) == 1
        tags |= made
    assert len(tags) == 4


# TLS and passwords


async def turns(place: str, count: int = 2, **over: Any) -> list[bool]:
    """Return whether each turn of a pod of its own reached the board."""
    client = RedisClient(parse_redis_url(place), **over)
    board = Redis(pod="1-a", fleet=FLEET, client=client, monotonic=lambda: 0.0)
    out = [(await board.turn(Record(VERSION, FLEET, "1-a", ""))).is_reached for _ in range(count)]
    await board.close()
    return out


@of_each_kind
def test_tls_is_verified_and_a_password_may_stand_in_a_file(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    its = ca.issue_cert("127.0.0.1")
    its.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    its.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    (tmp_path / "password").write_text("hun/ter@2\n")
    tls = free_port()

    async def trace() -> None:
        options = (
            "--tls-port", str(tls), "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file",
            "ca.pem", "--tls-auth-clients", "no", "--requirepass", "hun/ter@2",
        )  # fmt: skip
        async with started(kind, tmp_path, *options):
            at = f"127.0.0.1:{tls}"
            ok, file = str(tmp_path / "ca.pem"), str(tmp_path / "password")
            assert await turns(f"rediss://{at}", ca_file=ok, password_file=file) == [True, True]
            assert await turns(f"rediss://:hun%2Fter%402@{at}", ca_file=ok) == [True, True]
            assert await turns(f"rediss://default@{at}", ca_file=ok, password_file=file) == [True, True]
            assert await turns(f"rediss://{at}", ca_file=str(tmp_path / "other.pem"), password_file=file) == [
                False,
                False,
            ]
            assert await turns(f"rediss://{at}", password_file=file) == [False, False]
            assert await turns(f"rediss://{at}", ca_file=ok, password_file=str(tmp_path / "gone")) == [
                False,
                False,
            ]

    run(trace())
    assert "hun" not in caplog.text
    *untrusted, gone = said(caplog)
    assert len(untrusted) == 2
    assert all("certificate is not trusted" in each for each in untrusted)
    assert "the password's file cannot be read" in gone


def test_a_file_with_another_password_is_read_for_the_next_connection(tmp_path: Path) -> None:
    async def trace() -> None:
        file = tmp_path / "password"
        file.write_text("one")
        async with started("redis", tmp_path, "--requirepass", "one") as its:
            client = RedisClient(parse_redis_url(its.url), password_file=str(file))
            board = Redis(pod="1-a", fleet=FLEET, client=client, monotonic=lambda: 0.0)
            record = Record(VERSION, FLEET, "1-a", "")
            assert (await board.turn(record)).is_reached
            await its.ask("CONFIG", "SET", "requirepass", "two", password="one")
            await its.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", password="two")
            assert not (await board.turn(record)).is_reached
            assert not (await board.turn(record)).is_reached
            file.write_text("two")
            assert (await board.turn(record)).is_reached
            await board.close()

    run(trace())
