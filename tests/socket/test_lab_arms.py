"""A side of the comparison in real processes: every page arrives, and no process is left behind."""

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.cli import lab
from proxy.lab import arms
from proxy.lab.arms import Plan, run_arm
from proxy.lab.children import Child, ChildError, Children
from proxy.lab.models import build_model
from proxy.lab.pages import Habits
from proxy.lab.progress import Progress
from tests.fakes.process import hearing_interrupts

QUIET = Progress(io.StringIO())
COMMAND = """
import argparse, sys
from proxy.cli import lab
parser = argparse.ArgumentParser()
lab.add_parser(parser.add_subparsers())
sys.exit(lab.run(parser.parse_args(["lab", "--direct-only"])))
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks processes up in /proc")


def plan_of(name: str, *, pages: int = 60, seconds: float = 10.0, **settings: object) -> Plan:
    texts = {"service_s": "0.01"} | {key: str(value) for key, value in settings.items()}
    model = build_model(name, seed=1, settings=texts)
    return Plan(model, texts, pages, 1, seconds, Habits(repeat_pause_s=0.05), threads=(2, 3))


def children_of(pid: int) -> set[int]:
    """Process ids whose parent is ``pid``."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def is_gone(pid: int, *, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def pretend_sidecar(program: str) -> list[str]:
    return [sys.executable, "-c", program]


@pytest.mark.slow
def test_direct_arm_delivers_every_page_and_counts_what_the_app_saw(tmp_path: Path) -> None:
    """One worker for five threads: errors, each repeated until its page arrived; the two counts agree."""
    before = children_of(os.getpid())
    plan = plan_of("pool", workers=1, queue=1)
    result = run_arm(plan, "direct", logs=tmp_path, progress=QUIET)
    assert (result.delivered, result.missing, len(result.page_s)) == (60, 0, 60)
    assert result.errors == result.upstream["by_status"]["500"] > 0
    assert result.error_kinds == {"status 500": result.errors}
    assert result.attempts_per_page == (60 + result.errors) / 60
    assert result.upstream["connections_opened"] == 5
    assert result.page_s == sorted(result.page_s)
    assert children_of(os.getpid()) == before


@pytest.mark.slow
def test_cut_bodies_are_errors_to_the_app(tmp_path: Path) -> None:
    result = run_arm(plan_of("truncated", p=0.2), "direct", logs=tmp_path, progress=QUIET)
    assert result.missing == 0
    assert result.error_kinds == {"IncompleteRead": result.upstream["by_status"]["cut"]}


@pytest.mark.slow
def test_time_bound_ends_a_hopeless_run(tmp_path: Path) -> None:
    """Nothing ever arrives, the run ends all the same, and says how much is missing."""
    result = run_arm(plan_of("random", p=1, seconds=0.5), "direct", logs=tmp_path, progress=QUIET)
    assert (result.delivered, result.missing) == (0, 60)
    assert result.errors > 10


@pytest.mark.slow
def test_pods_talk_to_their_own_sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address in the ready line is where the pod calls; noise on stdout is no ready line."""

    def argvs(upstreams: Sequence[str], *_: object) -> list[list[str]]:
        ready = [json.dumps({"event": "ready", "listen": each, "ops": "", "admin": ""}) for each in upstreams]
        program = "import time; print('hello'); print({!r}, flush=True); time.sleep(60)"
        return [pretend_sidecar(program.format(each)) for each in ready]

    monkeypatch.setattr(arms, "sidecar_argvs", argvs)
    result = run_arm(plan_of("pool"), "sidegate", logs=tmp_path, progress=QUIET)
    assert (result.missing, result.errors) == (0, 0)
    assert result.limits == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import sys; sys.exit('upstream.url: what is this')", "upstream.url: what is this"),
        ("import sys; sys.exit(3)", "ended with exit code 3 before it was ready; its stderr:\n(nothing)"),
        ("import time; time.sleep(60)", "sidecar-0 (pid "),
    ],
)
def test_sidecar_that_does_not_come_up_is_told_with_its_stderr(
    program: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms, "sidecar_argvs", lambda *_: [pretend_sidecar(program)] * 2)
    monkeypatch.setattr(arms, "READY_WITHIN_S", 1.0)
    before = children_of(os.getpid())
    with pytest.raises(ChildError) as caught:
        run_arm(plan_of("pool"), "sidegate", logs=tmp_path, progress=QUIET)
    assert told in str(caught.value)
    assert children_of(os.getpid()) == before


@pytest.mark.slow
def test_sidecar_that_dies_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead sidecar is told as such, and not as errors of the upstream."""

    def argvs(upstreams: Sequence[str], *_: object) -> list[list[str]]:
        ready = json.dumps({"event": "ready", "listen": upstreams[0]})
        program = f"import sys, time; print({ready!r}, flush=True); time.sleep(1); sys.exit('boom')"
        return [pretend_sidecar(program)] * 2

    monkeypatch.setattr(arms, "sidecar_argvs", argvs)
    with pytest.raises(ChildError, match=r"(?s)ended with exit code 1 in the middle of the run.*boom"):
        run_arm(plan_of("pool", service_s=1), "sidegate", logs=tmp_path, progress=QUIET)


@pytest.mark.slow
def test_command_prints_the_table_and_writes_the_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.json"
    argv = ["--mode", "random", "--pages", "98", "--param", "p=0.2", "--param", "service_s=0.01"]
    more = ["--param", "repeat_pause_s=0.01", "--direct-only", "--json", str(target), "--logs", str(tmp_path)]
    parser = argparse.ArgumentParser()
    lab.add_parser(parser.add_subparsers())
    assert lab.run(parser.parse_args(["lab", *argv, *more])) == 0
    out, err = capsys.readouterr()
    told = json.loads(target.read_text())["comparisons"][0]
    assert told["arms"][0]["delivered"] == 98
    assert f"random: calling directly, the apps saw {told['arms'][0]['app_errors']} errors" in out
    assert "random direct" in err
    assert (tmp_path / "random-direct" / "pod-7.out").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_command_leaves_no_process(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM stop everything; the exit code says so."""
    popen, family = started_command()
    popen.send_signal(number)
    _, err = popen.communicate(timeout=20)
    assert popen.returncode == 130
    assert "stopped; every process it started has ended" in err
    assert all(is_gone(pid) for pid in family)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_killed_command_takes_its_processes_along() -> None:
    """Even SIGKILL, which lets nobody clean up."""
    popen, family = started_command()
    popen.kill()
    popen.communicate(timeout=20)
    assert all(is_gone(pid) for pid in family)


def started_command() -> tuple["subprocess.Popen[str]", set[int]]:
    """A running ``lab --direct-only`` and the ids of its nine children."""
    with hearing_interrupts():
        popen = subprocess.Popen(
            [sys.executable, "-c", COMMAND],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
    deadline = time.monotonic() + 20
    while len(family := children_of(popen.pid)) < 9 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(family) == 9
    return popen, family


@pytest.mark.slow
def test_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    program = (
        'import signal, time; signal.signal(15, signal.SIG_IGN); print(\'{"event": "ready"}\', flush=True)'
    )
    with Children(tmp_path, grace_s=0.2) as children:
        child = children.start("stubborn", [sys.executable, "-c", f"{program}; time.sleep(60)"])
        child.wait_ready(10.0)
    assert child.popen.returncode == -signal.SIGKILL


def test_only_whole_json_lines_are_read(tmp_path: Path) -> None:
    """A line still being written is read when it is complete."""
    with Children(tmp_path) as children:
        child: Child = children.start("quiet", ["sleep", "60"])
        with (tmp_path / "quiet.out").open("a") as out:
            out.write('plain text\n[1]\n{"event": "a"}\n{"eve')
            out.flush()
            assert child.new_lines() == [{"event": "a"}]
            out.write('nt": "b"}\n')
            out.flush()
            assert child.new_lines() == [{"event": "b"}]
            assert child.new_lines() == []


def test_saying_something_to_the_dead_is_no_error(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("brief", ["true"])
        child.popen.wait()
        child.say(str(random.Random(1).random()))
