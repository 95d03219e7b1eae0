"""What a fleet costs a call: ``python -m tests.bench.fleet``. A pod alone, a pod of eight, and the pilot of these eight.

The three take turns under wrk, so that a machine that grows slower for a while slows all of them. The ratios are medians
over the rounds. The pod under load has core 1 to itself; wrk, the origin and the other pods share core 0.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from proxy.lab.arms import sidecar_argvs
from proxy.lab.children import Children
from tests.bench.goodput.arms import get
from tests.bench.goodput.peers import Stand, start_sidecars
from tests.bench.load import drive
from tests.bench.origin import start_origin, write_files
from tests.bench.peers import SIDEGATE_SETTINGS
from tests.e2e.daemon import cpu_ticks

LOAD_CORE, PEER_CORE = 0, 1
WARM_UP_S = 4
"""A fleet that learns has found what its pods want by then."""
PODS = 8
ALONE, POD, PILOT = "alone", "pod", "pilot"
MOST = 1.03
"""Most that a call may cost with a fleet, in costs of one without."""
SETTINGS: Mapping[str, tuple[str, ...]] = {"fixed": SIDEGATE_SETTINGS, "adaptive": ()}
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="sidegate-bench-") as name, Children(Path(name)) as children:
        folder = Path(name)
        write_files(folder)
        origin, port = start_origin(folder, core=LOAD_CORE)
        with origin:
            told = list(SETTINGS[options.mode])
            alone = start_sidecars(
                children, sidecar_argvs([f"127.0.0.1:{port}"], [["fleet.mode=alone", *told]])
            )
            fleet = start_sidecars(children, sidecar_argvs([f"127.0.0.1:{port}"] * PODS, [told] * PODS))
            costs = _measured(_subjects(alone, fleet), options)
    for role in (POD, PILOT):
        print(f"{options.mode} {_said(role, costs)}")
    return 0


def _said(role: str, costs: Sequence[Mapping[str, float]]) -> str:
    """A role's cost beside that of the pod alone. Other programs only ever add, so the least of each is told as well."""
    own, alone = ([one[each] for one in costs] for each in (role, ALONE))
    ratio = statistics.median(a / b for a, b in zip(own, alone, strict=True))
    medians = (
        f"{statistics.median(own):.1f} µs a call, alone {statistics.median(alone):.1f}, ratio {ratio:.3f}"
    )
    least = f"{min(own):.1f} and {min(alone):.1f}, ratio {min(own) / min(alone):.3f}"
    return f"{role:<6} median {medians} (≤ {MOST}); least {least}"


def _subjects(alone: Stand, fleet: Stand) -> dict[str, tuple[int, str]]:
    """Process and address of each role; the two of the fleet are its pilot and its first other pod."""
    pilots = [json.loads(get(f"http://{admin}/fleet"))["is_pilot"] for admin in fleet.admins]
    chosen = {ALONE: (alone, 0), POD: (fleet, pilots.index(False)), PILOT: (fleet, pilots.index(True))}
    found = {}
    for stand in (alone, fleet):
        for child in stand.processes:
            os.sched_setaffinity(child.popen.pid, {LOAD_CORE})
    for role, (stand, number) in chosen.items():
        pid = stand.processes[number].popen.pid
        os.sched_setaffinity(pid, {PEER_CORE})
        found[role] = (pid, stand.targets[number])
    return found


def _measured(subjects: Mapping[str, tuple[int, str]], options: argparse.Namespace) -> list[dict[str, float]]:
    """Microseconds of processor time a call, by role, a round each; the first round is a warm-up."""
    rounds = []
    for number in range(options.rounds + 1):
        costs = {}
        for role in sorted(subjects, reverse=bool(number % 2)):
            pid, target = subjects[role]
            before = cpu_ticks(pid)
            load = drive(
                f"http://{target}/1KiB",
                connections=options.connections,
                duration_s=options.duration if number else WARM_UP_S,
                core=LOAD_CORE,
            )
            if load.failed:
                raise SystemExit(f"{role}: {load.failed} calls failed")
            costs[role] = (cpu_ticks(pid) - before) / _TICKS_PER_S / load.calls * 1e6
        rounds += [costs] if number else []
    return rounds


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.fleet", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--mode", choices=list(SETTINGS), default="fixed", help="of limits.concurrency")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--duration", type=int, default=3, help="seconds under load of each, in a round")
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two cores are needed: one for the pod, one for the load")
    return options


if __name__ == "__main__":
    sys.exit(main())
