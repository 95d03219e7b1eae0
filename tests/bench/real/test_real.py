"""What `make real` makes of its runs: pure figures, and one short run of real processes."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from proxy.lab.model import Request
from tests.bench.goodput.arms import Window
from tests.bench.goodput.figures import Run
from tests.bench.goodput.test_figures import a_run
from tests.bench.real.arms import arms_of, attempts_of, run
from tests.bench.real.away import Bursts
from tests.bench.real.report import bars, reference, table
from tests.bench.real.upstreams import UPSTREAMS
from tests.parts import require


def of(upstream: str, arm: str, rate: float, attempts: float = 1.0) -> Run:
    """A run of ``a_run`` under another name."""
    one = a_run(arm, rate, attempts=attempts)
    one.upstream = upstream
    return one


def test_reference_is_the_best_height_and_direct_where_there_is_no_sweep() -> None:
    """A direct arm that is faster is no reference where fixed limits were tried."""
    runs = [of("pool-12", f"fixed-{height}", rate) for height, rate in ((10, 40), (18, 46), (42, 30))]
    runs += [of("pool-12", "direct", 60), of("slow-readers", "direct", 20)]
    assert reference(runs, "pool-12") is runs[1]
    assert reference(runs, "slow-readers") is runs[4]
    assert reference(runs, "away") is None
    assert "**fixed-18**" in table(runs)


def test_bars_say_no_for_a_slow_fleet_and_for_wasted_attempts() -> None:
    """0.93 and 1.08 before a pool; outages cost attempts whatever the load, so there only the pages count."""
    best = of("pool-12", "fixed-18", 100)
    assert bars(of("pool-12", "adaptive", 96, 1.02), best) == "≥ 0.93 yes, attempts ≤ 1.08 yes"
    assert bars(of("pool-12", "adaptive", 90, 1.2), best) == "≥ 0.93 **NO**, attempts ≤ 1.08 **NO**"
    assert bars(of("away", "adaptive", 88, 1.2), of("away", "fixed-20", 100)) == "≥ 0.85 yes"
    assert bars(best, best) == ""


def test_attempts_are_the_sum_over_sidecars_and_routes() -> None:
    """First tries, retries and probes each cost one; other families with the same beginning are left alone."""
    text = (
        'sidegate_attempts_total{route="default",kind="first",code="200",reason="ok"} 40.0\n'
        'sidegate_attempts_total{route="default",kind="retry",code="503",reason="upstream_status"} 2.0\n'
        'sidegate_attempts_created{route="default",kind="first",code="200",reason="ok"} 1e9\n'
        "sidegate_connections_opened_total 7.0\n"
    )
    told = attempts_of([text, text])
    assert (told["attempts"], told["connections_opened"]) == (84, 14)
    assert told["by_why"] == Counter(ok=80, upstream_status=4)


def test_burst_answers_500_and_leaves_the_workers_alone() -> None:
    """The pool is free again the moment the burst is over."""
    model = Bursts(rng=random.Random(1), workers=1, queue=0, service_s=0.1)
    model.is_troubled = True
    assert [model.arrive(0.0, Request(1)).status for _ in range(3)] == [500] * 3
    model.is_troubled = False
    assert model.arrive(0.0, Request(1)).status == 200


def test_every_upstream_runs_its_sweep_untuned_and_direct() -> None:
    """The sweep rises, so that a table reads from low to high."""
    for name, upstream in UPSTREAMS.items():
        assert list(upstream.heights) == sorted(set(upstream.heights))
        assert arms_of(name)[-2:] == ["adaptive", "direct"]
        assert len(arms_of(name)) == len(upstream.heights) + 2


@pytest.mark.slow
def test_nginx_refuses_what_is_beyond_its_limit_and_the_sidecars_ask_again(tmp_path: Path) -> None:
    """Real processes: a fixed limit of twice what nginx takes is refused in part, and no thread of the app sees it."""
    require("nginx")
    one = run("nginx-limit-conn", "fixed-32", Window(3, 1, 3), tmp_path, seed=1, settings=(), compiled=False)
    assert one.goodput > 5
    assert not one.kinds
    assert one.by_why["ok"] >= one.delivered[-1]
    assert one.by_why["upstream_status"] > 0
