"""From readings to windows: nothing is lost, nothing counts twice, and what lies counts for nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.learn.evidence.tally import COUNTS, LOGS, Reading, Readings, Tally, Window

PERIOD_S = 0.5


def reading(at: float, pages: int = 0, *, each_s: float = 0.1, **over: object) -> Reading:
    log = math.log(each_s)
    tally = Tally(
        ok=pages,
        took_s=pages * each_s,
        log=pages * log,
        log2=pages * log * log,
        busy_s=pages * each_s,
    )
    made = Reading(at=at, tally=tally)
    for name, value in over.items():
        setattr(tally if hasattr(tally, name) else made, name, value)
    return made


def is_sound(window: Window) -> bool:
    numbers = [getattr(window, name) for name in window.__struct_fields__]
    counts = [getattr(window, name) for name in window.__struct_fields__ if name not in LOGS]
    return all(math.isfinite(number) for number in numbers) and all(number >= 0 for number in counts)


def test_a_window_is_the_difference_of_two_readings_summed_over_the_pods() -> None:
    readings = Readings()
    readings.window({"a": reading(10.0, 100), "b": reading(77.0, 5)}, PERIOD_S)
    now = {
        "a": reading(10.5, 120, wanted=7, waiting=3, bad=4, fast=3, is_shut=True, shut_s=0.25),
        "b": reading(77.5, 10, wanted=2),
    }
    window = readings.window(now, PERIOD_S)
    assert (window.ok, window.bad, window.fast, window.attempts) == (25, 4, 3, 29)
    assert (window.wanted, window.waiting, window.pods) == (9, 3, 2)
    assert window.span_s == pytest.approx(0.5)
    assert window.latency_s == pytest.approx(0.1)
    assert window.n == pytest.approx(25 * 0.1 / 0.5)
    assert window.failing == pytest.approx(4 / 29)
    assert window.log == pytest.approx(25 * math.log(0.1))
    assert (window.shut, window.shut_now) == (pytest.approx(0.25), 0.5)


def test_where_nothing_ended_nothing_is_said() -> None:
    window = Readings().window({}, PERIOD_S)
    assert (window.failing, window.latency_s, window.n, window.span_s) == (0.0, 0.0, 0.0, PERIOD_S)


def test_a_new_pod_counts_from_its_first_reading() -> None:
    """What it did before nobody knows: it may have been read by another pilot."""
    readings = Readings()
    assert readings.window({"a": reading(10.0, 5)}, PERIOD_S).ok == 0
    assert readings.window({"a": reading(10.5, 9)}, PERIOD_S).ok == 4


def test_a_reading_that_was_not_read_anew_counts_once() -> None:
    """Its pod goes on as it did; the next reading brings what came meanwhile."""
    readings = Readings()
    readings.window({"a": reading(10.0, 0)}, PERIOD_S)
    first = readings.window({"a": reading(10.5, 20)}, PERIOD_S)
    again = readings.window({"a": reading(10.5, 20)}, PERIOD_S)
    assert (again.ok, again.n) == (0, first.n)
    late = readings.window({"a": reading(11.5, 60)}, PERIOD_S)
    assert (late.ok, late.span_s) == (40, 1.0)
    assert late.n == pytest.approx(40 * 0.1 / 1.0)


def test_an_older_reading_counts_for_nothing() -> None:
    readings = Readings()
    readings.window({"a": reading(10.0, 50)}, PERIOD_S)
    window = readings.window({"a": reading(9.0, 20)}, PERIOD_S)
    assert (window.ok, window.n) == (0, 0.0)


def test_a_pod_whose_counts_fell_counts_for_nothing_that_once() -> None:
    readings = Readings()
    readings.window({"a": reading(10.0, 50), "b": reading(10.0, 50)}, PERIOD_S)
    window = readings.window({"a": reading(10.5, 3), "b": reading(10.5, 60)}, PERIOD_S)
    assert window.ok == 10
    assert readings.window({"a": reading(11.0, 9), "b": reading(11.0, 60)}, PERIOD_S).ok == 6


def test_a_pod_that_is_gone_is_forgotten() -> None:
    readings = Readings()
    readings.window({"a": reading(10.0, 0), "b": reading(10.0, 0)}, PERIOD_S)
    window = readings.window({"b": reading(10.5, 10)}, PERIOD_S)
    assert (window.ok, window.pods) == (10, 1)
    assert readings._before.keys() == {"b"}


def test_a_pod_that_comes_back_counts_nothing_twice() -> None:
    """It was not read for longer than it is kept."""
    readings = Readings()
    readings.window({"a": reading(10.0, 100_000)}, PERIOD_S)
    readings.window({}, PERIOD_S)
    assert readings.window({"a": reading(13.0, 100_040)}, PERIOD_S).ok <= 40


def test_nothing_is_kept_of_pods_that_are_gone() -> None:
    """In a fleet that is rolled out every day ids come and go for months."""
    readings = Readings()
    for number in range(100):
        readings.window({f"pod-{number}": reading(float(number), 5)}, PERIOD_S)
    assert len(readings._before) == 1
    assert len(readings._n) <= 1


def test_slots_in_use_are_no_more_than_the_pod_may_have() -> None:
    """A tally that claims a thousand slot seconds in half a second moves the mean no further."""
    readings = Readings()
    readings.window({"a": reading(10.0)}, PERIOD_S)
    assert readings.window({"a": reading(10.5, busy_s=1000.0, most=8)}, PERIOD_S).n == 9.0


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("lie", [-1.0, -math.inf, math.inf, math.nan])
def test_a_count_that_lies_counts_for_nothing(name: str, lie: float) -> None:
    readings = Readings()
    readings.window({"a": reading(10.0), "b": reading(10.0)}, PERIOD_S)
    window = readings.window({"a": reading(10.5, 30, **{name: lie}), "b": reading(10.5, 20)}, PERIOD_S)
    assert is_sound(window)
    assert window.ok == 20


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("lie", [-math.inf, math.inf, math.nan])
def test_a_log_that_lies_counts_for_nothing(name: str, lie: float) -> None:
    readings = Readings()
    readings.window({"a": reading(10.0), "b": reading(10.0)}, PERIOD_S)
    window = readings.window({"a": reading(10.5, 30, **{name: lie}), "b": reading(10.5, 20)}, PERIOD_S)
    assert is_sound(window)


@pytest.mark.parametrize("at", [math.nan, math.inf, 1e15])
def test_a_pod_whose_clock_lies_does_not_stretch_the_window_of_all(at: float) -> None:
    readings = Readings()
    readings.window({"a": reading(10.0), "b": reading(10.0)}, PERIOD_S)
    window = readings.window({"a": reading(at), "b": reading(10.5, 20)}, PERIOD_S)
    assert is_sound(window)
    assert window.span_s < 60.0


GROWTH = st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=30)


@given(growths=st.lists(GROWTH, min_size=1, max_size=4))
def test_what_all_windows_sum_up_to_is_what_the_pods_have_seen(growths: list[list[tuple[int, bool]]]) -> None:
    """Whichever readings are lost in between, as long as the pod is kept: the last one brings it all."""
    readings = Readings()
    readings.window({f"pod-{number}": reading(0.0) for number in range(len(growths))}, PERIOD_S)
    shown = {f"pod-{number}": reading(0.0) for number in range(len(growths))}
    pages = [0] * len(growths)
    summed = 0
    length = max(len(growth) for growth in growths)
    for turn in range(length + 1):
        for number, growth in enumerate(growths):
            if turn < len(growth):
                pages[number] += growth[turn][0]
            if turn == length or (turn < len(growth) and growth[turn][1]):
                shown[f"pod-{number}"] = reading(PERIOD_S * (turn + 1), pages[number])
        window = readings.window(shown, PERIOD_S)
        assert is_sound(window)
        summed += window.ok
    assert summed == sum(pages)
