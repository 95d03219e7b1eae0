"""Two whole sidecars of one upstream, in real time: they find each other, share its slots out, and part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.house import House
from tests.fakes.loop import run, until
from tests.fakes.origin import Origin, answer
from tests.fakes.ports import free_port
from tests.fakes.process import ROOT

ADAPTIVE: dict[str, Any] = {"limits": {"concurrency": {"mode": "adaptive"}}}


@pytest.mark.slow
def test_two_sidecars_share_what_one_had_alone_and_give_it_back() -> None:
    async def trace() -> None:
        ops = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        with_key = {"fleet": {"peers": ops, "name": "shop"}, **ADAPTIVE}
        origin = Origin(then=answer(200, b"page"))
        async with origin, House(origin, ops=ops[0], **with_key) as first:
            member = first.sidecar.member
            assert (member.is_pilot, member.pods) == (True, 1)
            alone = first.limiter.limit.slots
            assert alone == member.total("default")[0] > 1
            second = House(origin, ops=ops[1], **with_key)
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


@pytest.mark.parametrize(("key", "why"), [(None, "No such file"), (b" \n", "is empty")])
def test_a_key_that_is_none_is_a_mistake_of_the_configuration(
    tmp_path: Path, key: bytes | None, why: str
) -> None:
    """An empty one would be proved by anybody."""
    file = tmp_path / "key"
    if key is not None:
        file.write_bytes(key)
    done = subprocess.run(
        [
            sys.executable, "-m", "proxy", "run", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0",
            "--set", "fleet.peers=['127.0.0.1:9']", "--set", f"fleet.key_file={file}",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("sidegate: fleet.key_file: ")
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
