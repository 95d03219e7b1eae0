"""The comparison with real sidecars in between: what the lab is for."""

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy.cli import lab
from proxy.lab.arms import Plan, run_arm
from proxy.lab.models import MODELS
from proxy.lab.pages import Habits
from proxy.lab.progress import Progress
from tests.fakes.process import hearing_interrupts

COMMAND = """
import argparse, sys
from proxy.cli import lab
parser = argparse.ArgumentParser()
lab.add_parser(parser.add_subparsers())
sys.exit(lab.run(parser.parse_args(["lab", *sys.argv[1:]])))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks processes up in /proc"),
]


def command_lines(parent: int) -> dict[int, str]:
    """The command line of every process that ``parent`` started and that has not ended, by process id."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                found[int(stat.parent.name)] = (stat.parent / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def test_told_sidecars_keep_a_worker_pool_from_overflowing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demonstration in small: errors on one side, none on the other, exit code 0, nothing left running."""
    before = command_lines(os.getpid())
    parser = argparse.ArgumentParser()
    lab.add_parser(parser.add_subparsers())
    target = tmp_path / "out.json"
    argv = [
        "--mode",
        "pool",
        "--told",
        "--pages",
        "300",
        "--param",
        "service_s=0.03",
        "--param",
        "repeat_pause_s=0.1",
        "--json",
        str(target),
    ]
    assert lab.run(parser.parse_args(["lab", *argv])) == 0
    told = json.loads(target.read_text())["comparisons"][0]
    direct, through = told["arms"]
    assert direct["app_errors"] > 0
    assert (through["delivered"], through["app_errors"], through["missing"]) == (300, 0, 0)
    assert through["upstream"]["max_in_flight"] <= sum(each["concurrency"] for each in through["limits"])
    assert "through Sidegate they saw none and every page arrived" in capsys.readouterr().out
    assert command_lines(os.getpid()) == before


def test_sidecars_of_the_lab_find_each_other(tmp_path: Path) -> None:
    """All of them are one fleet and no limit was set, so what is in flight stays far below the apps' threads."""
    model = MODELS["collapse"].build(random.Random(1), {})
    plan = Plan(model, {}, 150, seed=1, seconds=30.0, habits=Habits())
    result = run_arm(plan, "sidegate", logs=tmp_path, progress=Progress(io.StringIO()))
    assert (result.delivered, result.errors, result.limits) == (150, 0, [])
    assert result.upstream["max_in_flight"] < 49
    logged = "".join(path.read_text() for path in tmp_path.glob("sidecar-*.err"))
    assert "another fleet" not in logged
    assert "no other pod answers" not in logged


def test_cut_bodies_are_made_whole_by_the_sidecar(tmp_path: Path) -> None:
    """Every cut body costs one more attempt, and the app sees none of it."""
    model = MODELS["truncated"].build(random.Random(1), {"service_s": "0.01", "p": "0.1"})
    settings = {"service_s": "0.01", "p": "0.1"}
    plan = Plan(model, settings, 60, seed=1, seconds=20.0, habits=Habits(), threads=(2, 3))
    result = run_arm(plan, "sidegate", logs=tmp_path, progress=Progress(io.StringIO()))
    assert (result.delivered, result.errors) == (60, 0)
    cut = result.upstream["by_status"]["cut"]
    assert cut > 0
    assert result.upstream["attempts"] == 60 + cut


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_interrupt_stops_the_sidecars_too() -> None:
    with hearing_interrupts():
        popen = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "--mode", "healthy", "--pages", "98"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        family = command_lines(popen.pid)
        if sum("proxy run" in line for line in family.values()) == 8:
            break
        time.sleep(0.02)
    popen.send_signal(signal.SIGINT)
    _, err = popen.communicate(timeout=30)
    assert popen.returncode == 130, err
    assert len(family) >= 9
    # Whose parent has gone is reaped by init, a moment later.
    deadline = time.monotonic() + 5
    while (left := [pid for pid in family if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
