"""``make real``, or ``python -m tests.bench.real``: every arm before every upstream, one after the other.

Exit code 1 when something failed to run; a bar that is missed is printed and not raised.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import proxy.exchange
from proxy.lab.children import ChildError, logs_folder, termination_as_interrupt
from tests.bench.goodput.arms import Window
from tests.bench.goodput.figures import Run, as_json, from_json
from tests.bench.real.arms import ADAPTIVE, DIRECT, FIXED, arms_of, run
from tests.bench.real.report import table
from tests.bench.real.upstreams import UPSTREAMS
from tests.bench.words import names_of

INTERRUPTED = 130
COMPILED = not str(proxy.exchange.__file__).endswith(".py")


def main() -> int:
    options = _options()
    runs: list[Run] = []
    failed = 0
    try:
        with termination_as_interrupt():
            for name in options.upstreams if not options.show else []:
                for arm in options.arms or arms_of(name):
                    one = _run(name, arm, options)
                    failed += one is None
                    runs += [one] if one else []
    except KeyboardInterrupt:
        print("stopped; every process it started has ended", file=sys.stderr)
        failed = INTERRUPTED
    if options.json and runs:
        options.json.write_text(json.dumps([as_json(one) for one in runs]) + "\n")
    shown = [from_json(each) for path in options.show or [] for each in json.loads(path.read_text())]
    if runs or shown:
        print(table([*shown, *runs]))
    return min(failed, 1) if failed != INTERRUPTED else INTERRUPTED


def _run(name: str, arm: str, options: argparse.Namespace) -> Run | None:
    """One run; None when it failed, after saying why."""
    warm_up_s = options.learning if arm == ADAPTIVE else options.warm_up
    window = Window(options.seconds + warm_up_s, warm_up_s, options.seconds + warm_up_s)
    with logs_folder(options.logs, f"{name}-{arm}") as logs:
        try:
            one = run(name, arm, window, logs, seed=options.seed, settings=options.set, compiled=COMPILED)
        except (ChildError, OSError, subprocess.CalledProcessError) as error:
            print(f"{name} {arm} failed: {error}", file=sys.stderr, flush=True)
            return None
    what = f"{one.goodput:7.1f} pages/s {one.errors:6} app errors"
    print(f"{name:<17} {arm:<9} {what}  {one.kinds} {one.by_why}", file=sys.stderr, flush=True)
    return one


def _arms(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in (ADAPTIVE, DIRECT) and not name.removeprefix(FIXED).isdecimal():
            raise argparse.ArgumentTypeError(f"{name}: not {ADAPTIVE}, {DIRECT} or {FIXED}N")
    return names


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make real REAL=…", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("upstreams", nargs="?", type=names_of(UPSTREAMS), default=list(UPSTREAMS), help=",".join(UPSTREAMS))
    add("--arms", type=_arms, help=f"{ADAPTIVE}, {DIRECT}, {FIXED}N; default: the sweep and both others")
    add("--seconds", type=float, default=60.0, help="of a run that count")
    add("--warm-up", type=float, default=5.0, help="seconds before, for arms that do not learn")
    add("--learning", type=float, default=30.0, help="seconds before, for the one that does")
    add("--seed", type=int, default=1)
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="tell the untuned Sidegate something")
    add("--json", type=Path, help="also write every figure to this file")
    add("--logs", type=Path, help="keep what the processes wrote, and the decisions, in this folder")
    add("--show", type=Path, nargs="+", metavar="JSON", help="run nothing; print these files as one table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
