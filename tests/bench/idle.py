"""What an idle sidecar costs: ``python -m tests.bench.idle [--pods 8] [--seconds 60]``, a line for each pod.

The pods are peers and carry no call. Processor time is user and system of each process, after ``--settle`` seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import proxy.exchange
from proxy.lab.arms import free_addresses, sidecar_argvs
from proxy.lab.children import Children
from tests.bench.goodput.arms import get
from tests.bench.goodput.peers import start_sidecars
from tests.e2e.daemon import cpu_ticks

LEAST, PILOT_LEAST = 0.005, 0.015
"""Most of a core that a sidecar, and the pilot of eight, may take while idle."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def shares_of_a_core(pods: int, settle_s: float, seconds: float) -> dict[str, float]:
    """Part of a core of each idle pod, by its role and number."""
    upstreams = free_addresses(1) * pods
    with tempfile.TemporaryDirectory() as folder, Children(Path(folder)) as children:
        own = [["fleet.mode=alone"]] if pods == 1 else [[]] * pods
        stand = start_sidecars(children, sidecar_argvs(upstreams, own))
        time.sleep(settle_s)
        before = [cpu_ticks(child.popen.pid) for child in stand.processes]
        time.sleep(seconds)
        after = [cpu_ticks(child.popen.pid) for child in stand.processes]
        pilots = [json.loads(get(f"http://{admin}/fleet"))["is_pilot"] for admin in stand.admins]
    return {
        f"{'pilot' if is_pilot else 'pod'} {number}": (b - a) / _TICKS_PER_S / seconds
        for number, (is_pilot, a, b) in enumerate(zip(pilots, before, after, strict=True))
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.idle", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--pods", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--settle", type=float, default=15.0, help="seconds before, in which the fleet falls asleep"
    )
    options = parser.parse_args()
    build = "interpreted" if str(proxy.exchange.__file__).endswith(".py") else "compiled"
    for name, share in shares_of_a_core(options.pods, options.settle, options.seconds).items():
        most = PILOT_LEAST if name.startswith("pilot") else LEAST
        print(f"{name:<8} {build:<12} {share:6.2%} of a core (≤ {most:.1%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
