"""``make goodput``, or ``python -m tests.bench.goodput``: every peer before every upstream, one after the other.

Nothing is pinned: pods, upstream and peer share the machine. Figures are compared within one run. Exit code 1 when
something failed to run; the bounds are printed and not asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import proxy.exchange
from proxy.lab.arms import Plan
from proxy.lab.children import ChildError, logs_folder, termination_as_interrupt
from proxy.lab.model import ParamError
from proxy.lab.pages import Habits
from tests.bench.goodput.arms import Window, run
from tests.bench.goodput.figures import Run, as_json, from_json, judged, run_of
from tests.bench.goodput.peers import LEARNING, PEERS
from tests.bench.goodput.report import bounds, table
from tests.bench.goodput.upstreams import DEFAULT, LAP_PAGES, UPSTREAMS, Upstream, built
from tests.bench.words import names_of

INTERRUPTED = 130
COMPILED = not str(proxy.exchange.__file__).endswith(".py")


def main() -> int:
    options = _options()
    runs: list[Run] = options.shown
    failed = 0
    try:
        with termination_as_interrupt():
            for name, peer in [] if options.show else [(n, p) for n in options.models for p in options.peers]:
                one = _run(name, peer, options)
                failed += one is None
                runs += [one] if one else []
                if options.json:
                    _write(options, runs)
    except KeyboardInterrupt:
        print("stopped; every process it started has ended", file=sys.stderr)
        failed = INTERRUPTED
    if runs:
        rows = judged(sorted(runs, key=_place))
        print("\n\n".join(each for each in (table(rows), bounds(rows)) if each))
    return min(failed, 1) if failed != INTERRUPTED else INTERRUPTED


def _run(name: str, peer: str, options: argparse.Namespace) -> Run | None:
    """One run; None when it failed, after saying why."""
    upstream = UPSTREAMS[name]
    model, settings = built(upstream, options.seed, options.param)
    window = window_of(upstream, peer, options)
    habits = Habits(**model.habits)  # type: ignore[arg-type]
    plan = Plan(
        model, settings, LAP_PAGES, options.seed, window.seconds, habits, sidecar_settings=options.set
    )
    with logs_folder(options.logs, f"{name}-{peer}") as logs:
        try:
            record = run(plan, peer, window, logs)
        except (ChildError, OSError) as error:
            print(f"{name} {peer} failed: {error}", file=sys.stderr, flush=True)
            return None
    one = run_of(name, peer, record, plan.threads, compiled=COMPILED)
    steady = f"steady {one.steady_s[0]:.0f} to {one.steady_s[1]:.0f} s"
    what = f"{one.goodput:7.1f} pages/s {one.errors:6} app errors"
    print(f"{name:<15} {peer:<15} {steady:<21} {what}  {one.kinds}", file=sys.stderr, flush=True)
    return one


def window_of(upstream: Upstream, peer: str, options: argparse.Namespace) -> Window:
    """How long a peer runs before an upstream, and which of it counts: whole periods after its warm-up."""
    warm_up_s = max(options.warm_up, upstream.warm_up_s)
    seconds = max(options.seconds, upstream.least_s)
    if peer in LEARNING:
        warm_up_s = max(warm_up_s, options.learning)
        seconds += options.learning
    if peer == "sidegate":
        seconds = options.sidegate_seconds
    warm_up_s = min(warm_up_s, seconds / 2)
    span_s = seconds - warm_up_s
    if upstream.period_s and span_s >= upstream.period_s:
        span_s -= span_s % upstream.period_s
    return Window(seconds, warm_up_s, warm_up_s + span_s)


def _place(one: Run) -> tuple[int, int]:
    return list(UPSTREAMS).index(one.upstream), list(PEERS).index(one.peer)


def _write(options: argparse.Namespace, runs: list[Run]) -> None:
    told = {
        "cores": os.cpu_count(),
        "seed": options.seed,
        "params": options.param,
        "settings": options.set,
        "runs": [as_json(one) for one in runs],
    }
    options.json.write_text(json.dumps(told) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make goodput GOODPUT=…", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--models", type=names_of(UPSTREAMS), default=DEFAULT, help=f"of {','.join(UPSTREAMS)}")
    add("--peers", type=names_of(PEERS), default=list(PEERS), help=f"of {','.join(PEERS)}")
    add("--seconds", type=float, default=60.0, help="of a run; envoy-adaptive's learning comes on top")
    add("--sidegate-seconds", type=float, default=330.0, help="of a run of Sidegate untuned")
    add("--warm-up", type=float, default=5.0, help="seconds that do not count for peers that do not learn")
    add("--learning", type=float, default=60.0, help="seconds that do not count for those that do")
    add("--seed", type=int, default=1)
    add(
        "--param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of the models that have it",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="tell the untuned Sidegate something")
    add("--json", type=Path, help="also write every figure to this file, after each run")
    add("--logs", type=Path, help="keep what the processes wrote in this folder")
    add(
        "--show",
        type=Path,
        nargs="+",
        metavar="JSON",
        help="run nothing; print the tables of these files as one",
    )
    options = parser.parse_args()
    try:
        options.param = dict(pair.split("=", 1) for pair in options.param)
        for name in options.models:
            built(UPSTREAMS[name], options.seed, options.param)
    except (ValueError, ParamError) as error:
        parser.error(f"--param: {error}")
    try:
        texts = [path.read_text() for path in options.show or []]
        options.shown = [from_json(each) for text in texts for each in json.loads(text)["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"--show: {error}")
    return options


if __name__ == "__main__":
    sys.exit(main())
