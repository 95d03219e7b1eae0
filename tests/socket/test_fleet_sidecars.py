"""Two whole sidecars of one upstream, in real time: they find each other, share its slots out, and part."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.house import House
from tests.fakes.loop import run, until
from tests.fakes.origin import Origin, answer
from tests.fakes.ports import free_port
from tests.fakes.process import ROOT
from tests.fakes.redis import KINDS, server

ADAPTIVE: dict[str, Any] = {"limits": {"concurrency": {"mode": "adaptive"}}}


@asynccontextmanager
async def board(kind: str, directory: Path, ops: list[str]) -> AsyncIterator[dict[str, Any]]:
    """A board of a kind, and what leads to it."""
    if kind == "peers":
        yield {"peers": ops}
        return
    async with server(kind, directory) as its:
        yield {"redis_url": its.url}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["peers", *KINDS])
def test_two_sidecars_share_what_one_had_alone_and_give_it_back(kind: str, tmp_path: Path) -> None:
    async def trace() -> None:
        ops = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        origin = Origin(then=answer(200, b"page"))
        async with board(kind, tmp_path, ops) as its:
            await share_and_part(origin, ops, {"fleet": {"name": "shop", **its}, **ADAPTIVE})

    async def share_and_part(origin: Origin, ops: list[str], settings: dict[str, Any]) -> None:
        async with origin, House(origin, ops=ops[0], **settings) as first:
            member = first.sidecar.member
            assert (member.is_pilot, member.pods) == (True, 1)
            alone = first.limiter.limit.slots
            assert alone == member.total("default")[0] > 1
            second = House(origin, ops=ops[1], **settings)
            await second._open()
            await until(lambda: member.pods == second.sidecar.member.pods == 2, "they are two")
            assert [house.sidecar.member.is_pilot for house in (first, second)] == [True, False]
            slots = [house.limiter.limit.slots for house in (first, second)]
            assert sum(slots) == member.total("default")[0]
            assert all(slots)
            shown = await second.admin("/fleet")
            assert (shown["fleet"], shown["pods"], shown["is_pilot"]) == ("shop", 2, False)
            assert "sidegate_fleet_pods 2.0" in await second.metrics()
            assert (await second.get()).status == 200
            for app in second.apps:
                app.close()
            await second.comes_to_rest()
            second.sidecar.lifecycle.stop_at_once()
            await second.sidecar.run_until_stopped()
            await until(lambda: member.pods == 1, "it is alone again")
            assert first.limiter.limit.slots == member.total("default")[0]

    run(trace())


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_where_the_server_is_gone_calls_wait_for_the_owners_total(kind: str, tmp_path: Path) -> None:
    """And go on when it is back; the app sees no error."""

    async def trace() -> None:
        origin = Origin(then=answer(200, b"page"))
        async with server(kind, tmp_path) as its, origin:
            fleet = {"redis_url": its.url, "name": "shop", "concurrency": 4}
            async with House(
                origin, fleet=fleet, queue={"max_wait": "60s"}, timeouts={"total": "60s"}, **ADAPTIVE
            ) as one:
                assert (await one.get()).status == 200
                await its.stop()
                await until(lambda: one.sidecar.member.is_cut_off, "it is cut off")
                await until(lambda: not one.sidecar.member.holds_lease, "its lease has run out")
                seen = len(origin.asked)
                waiting = asyncio.ensure_future(one.get())
                await until(lambda: one.limiter.waiting == 1, "the call waits")
                await asyncio.sleep(0.2)
                assert len(origin.asked) == seen
                await its.start()
                assert (await waiting).status == 200

    run(trace())


@pytest.mark.parametrize("setting", ["key_file", "redis_password_file"])
@pytest.mark.parametrize(("key", "why"), [(None, "No such file"), (b" \n", "is empty")])
def test_a_secret_that_is_none_is_a_mistake_of_the_configuration(
    tmp_path: Path, setting: str, key: bytes | None, why: str
) -> None:
    """An empty key would be proved by anybody."""
    file = tmp_path / "key"
    if key is not None:
        file.write_bytes(key)
    place = "redis_url='redis://127.0.0.1:9'" if "redis" in setting else "peers=['127.0.0.1:9']"
    done = subprocess.run(
        [
            sys.executable, "-m", "proxy", "run", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0",
            "--set", f"fleet.{place}", "--set", f"fleet.{setting}={file}",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"sidegate: fleet.{setting}: ")
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
