"""However many calls went through, and however their clients left, the sidecar ends as empty as it began."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench.origin import start_origin, write_files
from tests.e2e.sidecar import REPOSITORY, Sidecar
from tests.parts import require
from tests.soak.caller import Tally
from tests.soak.watch import MemoryWatch

CONCURRENCY = 16
BURST = 1000
SETTINGS = (
    "limits.rate=1000000",
    f"limits.burst={BURST}",
    "limits.concurrency.mode=fixed",
    f"limits.concurrency.limit={CONCURRENCY}",
    f"pool.max_connections={CONCURRENCY}",
)
"""Fewer slots than the load has connections, so that there is always a queue to leave."""


@dataclass(frozen=True)
class Load:
    """How many calls, and how much the sidecar's own memory may grow under them once it is warm."""

    calls: int
    growth_kib: int


SHORT = Load(20_000, growth_kib=4096)
LONG = Load(1_000_000, growth_kib=2048)


@dataclass(frozen=True)
class Scene:
    """A sidecar that has warmed up, its origin's files, and what it held when nothing was under way."""

    sidecar: Sidecar
    bodies: Path
    tasks: float
    open_files: int


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    require("nginx")
    write_files(tmp_path)
    origin, port = start_origin(tmp_path)
    bodies = tmp_path / "files"
    with origin, Sidecar(f"http://127.0.0.1:{port}", tmp_path, SETTINGS) as sidecar:
        run_caller(sidecar, bodies, 2000, rude=0.0, paths="/1KiB,/100KiB")
        wait_until_quiet(sidecar)
        yield Scene(sidecar, bodies, sidecar.metric("sidegate_tasks"), sidecar.open_files())


@pytest.mark.slow
@pytest.mark.parametrize("rude", [0.0, 0.1], ids=["polite", "rude"])
def test_nothing_is_left_behind(scene: Scene, rude: float) -> None:
    """20,000 calls: memory stays, and every slot, token, connection and task is given back."""
    check_load(scene, SHORT, rude)


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("rude", [0.0, 0.1], ids=["polite", "rude"])
def test_nothing_is_left_behind_by_a_million_calls(scene: Scene, rude: float) -> None:
    """The same with 1,000,000 calls; memory may grow by two bytes a call, which no leak of an object could."""
    check_load(scene, LONG, rude)


def check_load(scene: Scene, load: Load, rude: float) -> None:
    sidecar = scene.sidecar
    paths = "/1KiB,/1KiB,/1KiB,/1KiB,/1KiB,/1KiB,/1KiB,/1KiB,/1KiB,/100KiB" if rude else "/1KiB"
    requests_before = sidecar.metric("sidegate_requests_total")
    started = time.monotonic()
    with MemoryWatch(sidecar, every_s=0.05 if load is SHORT else 1.0) as memory:
        tally = run_caller(sidecar, scene.bodies, load.calls, rude=rude, paths=paths)
    seconds = time.monotonic() - started
    growth_kib = memory.growth_kib()
    print(f"{tally}, {seconds:.1f} s, memory {memory.samples_kib[0]} → {memory.samples_kib[-1]} KiB", end=" ")
    print(f"(warm growth {growth_kib:+.0f} KiB, {growth_kib * 1024 / load.calls:+.2f} bytes a call)")
    assert (tally.failed, tally.first_failure) == (0, "")
    assert tally.answered + tally.left == load.calls
    if rude:
        assert tally.left > 0.05 * load.calls
    else:
        assert sidecar.metric("sidegate_requests_total") - requests_before == load.calls
    assert growth_kib < load.growth_kib
    wait_until_quiet(sidecar)
    check_nothing_left(scene)
    assert run_caller(sidecar, scene.bodies, 100, rude=0.0, paths="/1KiB").answered == 100


def check_nothing_left(scene: Scene) -> None:
    metrics = scene.sidecar.metrics()
    assert metrics["sidegate_inflight"] == 0
    assert metrics["sidegate_queue_length"] == 0
    assert metrics["sidegate_calls"] == 0
    assert metrics["sidegate_tokens"] == BURST
    assert metrics['sidegate_connections{state="downstream"}'] == 0
    assert metrics['sidegate_connections{state="busy"}'] == 0
    assert metrics['sidegate_connections{state="idle"}'] <= CONCURRENCY
    assert metrics["sidegate_tasks"] <= scene.tasks + 2
    assert metrics["sidegate_deadlines"] <= CONCURRENCY
    assert scene.sidecar.open_files() <= scene.open_files + CONCURRENCY


def wait_until_quiet(sidecar: Sidecar, within_s: float = 10.0) -> None:
    """Returns once the sidecar has seen the last client go; the checks that follow say what is wrong if it has not."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        metrics = sidecar.metrics()
        busy = [metrics["sidegate_calls"], metrics['sidegate_connections{state="downstream"}']]
        if not any(busy) and metrics["sidegate_tokens"] == BURST:
            return
        time.sleep(0.1)


def run_caller(sidecar: Sidecar, bodies: Path, calls: int, *, rude: float, paths: str) -> Tally:
    within_s = 30 + calls / 1000
    command = [sys.executable, "-m", "tests.soak.caller", sidecar.listen, "--bodies", str(bodies)]
    command += ["--calls", str(calls), "--rude", str(rude), "--paths", paths, "--within-s", str(within_s)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=within_s + 10)
    assert done.returncode == 0, done.stderr
    return Tally(**json.loads(done.stdout))
