"""What the comparison makes of records: pure figures, and one short run of real processes."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import pytest

from proxy.lab.arms import Plan
from proxy.lab.pages import THREADS, Habits, pages_of_pod
from proxy.lab.pod import Order
from tests.bench.goodput import __main__ as command
from tests.bench.goodput.arms import Cpu, Mark, Record, Window, run
from tests.bench.goodput.figures import Run, as_json, from_json, jain, judged, near_best_s, run_of
from tests.bench.goodput.pod import Laps, lap
from tests.bench.goodput.report import bounds, table
from tests.bench.goodput.upstreams import LAP_PAGES, UPSTREAMS, best_in_flight, built, spread


def a_run(peer: str, rate: float, *, seconds: float = 60, errors: int = 0, attempts: float = 1.0) -> Run:
    """Two pods that each deliver half of ``rate`` from the start; all errors come in the steady window."""
    told = [(t / 4, int(rate * t / 8), errors if t > 40 else 0) for t in range(int(seconds) * 4 + 1)]

    def mark(t: float) -> Mark:
        stats = {
            "attempts": int(rate * t * attempts),
            "max_in_flight": 3,
            "connections_opened": 2,
            "by_why": {},
        }
        return Mark(t, stats, Cpu(200 * int(t), 100 * int(t), 50 * int(t)))

    record = Record(
        Window(seconds, 5, seconds), [told, told], [mark(5), mark(seconds), mark(seconds)], Counter()
    )
    record.call_s = {pod: [0.1] * int(rate * seconds / 2) for pod in (0, 1)}
    return run_of("pool", peer, record, (5, 5), compiled=False)


def test_steady_figures_come_from_the_window_alone() -> None:
    """Pages, errors and attempts are differences between the marks."""
    one = a_run("haproxy", 80, errors=7, attempts=1.25)
    assert one.goodput == pytest.approx(80, rel=0.01)
    assert (one.errors, one.steady_errors) == (14, 14)
    assert one.steady_attempts_per_page == pytest.approx(1.25, rel=0.01)
    assert (one.jain, one.cpu, one.others_cpu, one.p50_s) == (1.0, 0.25, 0.25, 0.1)


def test_reference_is_the_best_that_was_told_and_saw_few_errors() -> None:
    """A faster peer with errors is no reference, nor is one that was told nothing, nor Sidegate."""
    runs = [
        a_run("direct", 200),
        a_run("envoy-right", 120, errors=200),
        a_run("haproxy-right", 100),
        a_run("sidegate-right", 110),
    ]
    assert {row.reference for row in judged(runs)} == {"haproxy-right"}
    assert [row.ratio for row in judged(runs)] == pytest.approx([2.0, 1.2, 1.0, 1.1], rel=0.01)
    assert judged(runs[3:])[0].reference == "sidegate-right"
    assert judged(runs[:1])[0].ratio is None


def test_pull_is_seen_when_the_run_was_long_enough_and_reckoned_when_not() -> None:
    """300 s of the reference's pages take a peer at half its rate 600 s."""
    reference, slow, long = judged(
        [a_run("haproxy-right", 100), a_run("nginx", 50), a_run("sidegate", 100, seconds=330)]
    )
    assert reference.pull_s == pytest.approx(300, abs=1)
    assert slow.pull_s == pytest.approx(600, rel=0.01)
    assert long.pull_s == pytest.approx(300, abs=1)
    assert (slow.pull_seen, long.pull_seen) == (False, True)


def test_near_best_is_the_first_moving_window_that_comes_to_nine_tenths() -> None:
    """Ten idle seconds, then the full rate: 14.5 s; a tenth too slow for ever: never."""
    late = [max(0, 50 * (step - 20)) for step in range(100)]
    assert near_best_s(late, 100) == 14.5
    assert near_best_s([40 * step for step in range(100)], 100) is None


def test_jain_is_one_for_equal_parts_and_one_nth_for_one_taker() -> None:
    """The eight pods in proportion to their threads come to 0.86."""
    assert jain([3, 3, 3]) == pytest.approx(1)
    assert jain([1, 0, 0, 0]) == pytest.approx(0.25)
    assert jain([0, 0]) == 0
    assert jain(THREADS) == pytest.approx(0.861, abs=0.001)


def test_report_says_no_where_a_bound_is_missed() -> None:
    """An error, a third more attempts: two NOs; the record survives JSON."""
    rows = judged(
        [from_json(as_json(a_run("haproxy-right", 100))), a_run("sidegate", 99, errors=1, attempts=1.3)]
    )
    line = bounds(rows).splitlines()[2]
    assert line.count("**NO**") == 2
    assert "0.99 yes" in line.replace("0.990", "0.99")
    assert "**haproxy-right**" in table(rows)


def test_windows_hold_whole_periods() -> None:
    """A quota's minute is measured whole; one that learns is measured when it has."""
    options = argparse.Namespace(seconds=60.0, sidegate_seconds=330.0, warm_up=5.0, learning=60.0)
    assert command.window_of(UPSTREAMS["pool"], "haproxy", options) == Window(60, 5, 60)
    assert command.window_of(UPSTREAMS["quota-60s"], "haproxy", options) == Window(240, 60, 240)
    assert command.window_of(UPSTREAMS["quota-60s"], "sidegate", options) == Window(330, 60, 300)
    assert command.window_of(UPSTREAMS["pool"], "envoy-adaptive", options) == Window(120, 60, 120)


def test_laps_never_end_and_begin_at_another_place_in_each_pod() -> None:
    """A pod pulls its own pages in order, over and over."""
    laps = Laps([1, 2])
    assert [laps.popleft() for _ in range(5)] == [1, 2, 1, 2, 1]
    starts = [next(iter(lap(Order(pod, THREADS, LAP_PAGES, "", 1, 1)))) for pod in range(8)]
    assert starts == sorted(starts)
    assert starts[7] > LAP_PAGES * 0.75
    assert sorted(lap(Order(3, THREADS, LAP_PAGES, "", 1, 1))) == pages_of_pod(3, LAP_PAGES, THREADS)


def test_best_in_flight_is_the_models_word_or_rate_times_service() -> None:
    """A quota of 20 a second with answers of 50 ms is one call in flight."""
    known = {name: best_in_flight(built(UPSTREAMS[name], 1, {})[0]) for name in UPSTREAMS}
    assert (known["pool"], known["quota-10s"], known["quota-60s"], known["healthy"]) == (32, 5, 1, 98)
    assert spread(10, "abcd") == [3, 3, 2, 2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="four loopback addresses")
def test_untuned_sidegate_reaches_every_address_of_a_name(tmp_path: Path) -> None:
    """Real processes for three seconds: pages come, calls of the bad address are retried, gauges are noted."""
    model, settings = built(UPSTREAMS["bad-address"], 1, {"p": "0.2"})
    plan = Plan(
        model, settings, LAP_PAGES, 1, 3.0, Habits(), sidecar_settings=["limits.concurrency.mode=off"]
    )
    record = run(plan, "sidegate", Window(3, 1, 3), tmp_path)
    one = run_of("bad-address", "sidegate", record, THREADS, compiled=False)
    assert one.goodput > 20
    assert one.by_why["bad address"] > 0
    assert not one.kinds
    assert set(record.limits) <= set(range(8))
    assert "sidegate_fleet_slots" in record.limits[0][0][1]
    assert "sidegate_concurrency_limit" not in record.limits[0][0][1], "there is none with mode off"
