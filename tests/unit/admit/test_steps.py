"""The terms of the sum that moves a limit: each grows with what it is for, and is nothing where it has no say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.steps import FREE, NEUTRAL, Growth, lasting_growth, levelling, penalty, pressure

values = st.floats(-3.0, 3.0)
errors = st.floats(0.01, 0.5)
limits = st.floats(0.2, 256.0)
contentions = st.floats(0.5, 5.0)
shares = st.floats(0.0, 1.0)
CALM, CROWDED = 1.0, 2.0


def growth(value: float, error: float, limit: float = 9.0, contention: float = CALM) -> float:
    """The first step for it."""
    return Growth().step(value, error, limit, math.sqrt(limit), contention)


# the elasticity alone


@given(values, values, errors, limits, contentions)
def test_more_elasticity_asks_for_no_less(
    one: float, other: float, error: float, limit: float, contention: float
) -> None:
    low, high = sorted((one, other))
    assert growth(low, error, limit, contention) <= growth(high, error, limit, contention)


@given(st.floats(-0.49, 0.49), errors, limits, contentions)
def test_within_half_an_error_of_neutral_it_asks_for_nothing(
    share: float, error: float, limit: float, contention: float
) -> None:
    assert growth(NEUTRAL + share * error, error, limit, contention) == 0.0


@given(values, errors, limits, contentions)
def test_no_step_takes_more_than_a_quarter(
    value: float, error: float, limit: float, contention: float
) -> None:
    assert growth(value, error, limit, contention) >= -limit / 4.0


@pytest.mark.parametrize(
    ("value", "error", "contention", "step"),
    [
        (1.0, 0.1, CALM, 0.4 * 0.5 * 3.0 * 2.5),
        (1.0, 0.1, CROWDED, 0.4 * 0.5 * 3.0 * 2.5),
        (0.8, 0.1, CALM, 0.4 * 0.25 * 3.0),
        (0.8, 0.1, CROWDED, 0.0),
        (0.3, 0.1, CALM, -9.0 * 0.04),
        (0.1, 0.1, CALM, -9.0 * 0.24),
        (0.1, 0.3, CALM, -9.0 * 0.08),
        (-0.5, 0.1, CALM, -9.0 * 0.25),
    ],
    ids=[
        "clearly more is more",
        "also where there is contention",
        "more is more, as it seems",
        "not where there is contention",
        "less is more",
        "clearly less is more",
        "less is more, uncertainly",
        "a quarter at most",
    ],
)
def test_what_it_asks_for_at_9_in_flight(value: float, error: float, contention: float, step: float) -> None:
    assert growth(value, error, contention=contention) == pytest.approx(step)


def test_who_asks_for_more_again_and_again_gets_faster_and_starts_anew_after_a_doubt() -> None:
    it = Growth()

    def step(value: float) -> float:
        return it.step(value, 0.1, 9.0, 3.0, CALM)

    rising = [0.6 * (1.0 + 1.5 * streak) for streak in (1, 2, 3, 4, 4, 4)]
    assert [step(1.0) for _ in rising] == pytest.approx(rising)
    assert step(0.55) < rising[0]
    assert [step(1.0) for _ in rising] == pytest.approx(rising)


@given(values, values, errors, st.floats(0.4, 16.0))
def test_what_many_pairs_say_never_shrinks_a_limit_and_counts_only_while_the_latest_agree(
    value: float, lasting: float, error: float, unit: float
) -> None:
    asked = lasting_growth(value, lasting, error, unit)
    assert asked >= 0.0
    assert value > NEUTRAL or asked == 0.0


@pytest.mark.parametrize(
    ("value", "lasting", "error", "asked"),
    [
        (0.6, 0.8, 0.1, 0.3 * 3.0),
        (0.6, 0.8, 0.59, 0.3 * 3.0),
        (0.6, 0.8, 0.61, 0.0),
        (0.5, 0.8, 0.1, 0.0),
        (0.9, 0.5, 0.1, 0.0),
        (0.9, 0.2, 0.1, 0.0),
    ],
    ids=["agreed", "by half an error", "not sure", "the latest disagree", "neutral", "less is more"],
)
def test_what_many_pairs_ask_for_at_9_in_flight(
    value: float, lasting: float, error: float, asked: float
) -> None:
    assert lasting_growth(value, lasting, error, 3.0) == pytest.approx(asked)


# pressure


@pytest.mark.parametrize("duty", [2, 3, 4])
def test_pressure_is_the_same_over_time_however_rare_the_pairs(duty: int) -> None:
    assert pressure(3.0, duty, False) / duty == pytest.approx(pressure(3.0, 1, False)) == pytest.approx(0.08)


def test_no_pair_presses_for_more_than_four() -> None:
    assert pressure(3.0, 6, False) == pressure(3.0, 4, False)


@given(st.floats(0.4, 0.99), st.integers(1, 6))
def test_who_has_less_than_one_in_flight_is_not_pressed_less(unit: float, duty: int) -> None:
    assert pressure(unit, duty, True) == pressure(unit, duty, False)


@given(st.floats(1.0, 16.0), st.integers(1, 6))
def test_where_there_is_little_to_see_pressure_is_weaker(unit: float, duty: int) -> None:
    assert 0.0 < pressure(unit, duty, True) < pressure(unit, duty, False)
    assert pressure(unit, duty, True) == pytest.approx(duty * pressure(unit, 1, True))


# failures


@given(limits, st.floats(-1.0, 0.02), shares)
def test_failures_that_are_tolerated_cost_nothing(limit: float, unexplained: float, blame: float) -> None:
    assert penalty(limit, unexplained, blame) == 0.0


@given(limits, st.floats(-1.0, 1.0))
def test_failures_that_are_not_the_loads_cost_nothing(limit: float, unexplained: float) -> None:
    assert penalty(limit, unexplained, 0.0) == 0.0


@given(limits, shares, shares, shares, shares)
def test_more_failures_and_more_blame_cost_no_less_up_to_0_36(
    limit: float, few: float, many: float, least: float, most: float
) -> None:
    few, many = sorted((few, many))
    least, most = sorted((least, most))
    assert 0.0 <= penalty(limit, few, least) <= penalty(limit, many, most) <= 0.36 * limit


@given(limits, limits, shares, shares)
def test_who_has_more_of_the_upstream_gives_no_smaller_part_of_it_back(
    one: float, other: float, unexplained: float, blame: float
) -> None:
    small, large = sorted((one, other))
    less, more = (penalty(limit, unexplained, blame) / limit for limit in (small, large))
    assert less <= more * (1.0 + 1e-9)


def test_what_failures_cost() -> None:
    """Of 2.9 in flight, 1.5 times the excess; of ten so much more, up to 1.6 times."""
    assert penalty(2.9, 0.12, 1.0) == pytest.approx(1.5 * 2.7 * 0.1)
    assert penalty(4.0, 0.12, 1.0) == pytest.approx(1.5 * 3.8 * 0.1 * math.sqrt(4.0 / 2.9))
    assert penalty(2.0, 0.12, 1.0) == pytest.approx(1.5 * 1.8 * 0.1 * math.sqrt(2.0 / 2.9))
    assert penalty(10.2, 0.12, 1.0) == pytest.approx(1.6 * 1.5)
    assert penalty(10.2, 0.12, 0.5) == pytest.approx(1.6 * 0.75)
    assert penalty(10.2, 0.9, 1.0) == pytest.approx(1.6 * 2.25)
    assert penalty(0.7, 0.12, 1.0) == pytest.approx(0.6 * 1.5 * 0.5 * 0.1)
    assert penalty(0.2, 0.9, 1.0) == 0.0


# levelling


def level(limit: float, *, value: float = 0.0, contention: float = CROWDED, failing: float = 0.0) -> float:
    return levelling(value, limit, math.sqrt(limit), contention, failing)


@given(values, limits, st.floats(0.5, FREE), shares)
def test_without_contention_nothing_is_levelled(
    value: float, limit: float, contention: float, failing: float
) -> None:
    assert level(limit, value=value, contention=contention, failing=failing) == 0.0


@given(st.floats(0.2, 2.88), st.floats(2.9, 256.0), st.floats(1.16, 5.0), st.floats(-3.0, 0.44))
def test_small_ones_are_drawn_up_and_large_ones_down_to_2_9(
    small: float, large: float, contention: float, value: float
) -> None:
    assert level(small, value=value, contention=contention) > 0.0
    assert level(large, value=value, contention=contention) < 0.0


def test_it_balances_at_1_7_squared() -> None:
    assert level(1.7 * 1.7) == pytest.approx(0.0)


@given(st.floats(0.45, 3.0), limits)
def test_where_more_is_more_nothing_is_levelled(value: float, limit: float) -> None:
    assert level(limit, value=value) == 0.0


def test_nobody_is_drawn_up_into_failures() -> None:
    assert level(1.0, failing=0.07) == 0.0
    assert level(1.0, failing=0.05) > 0.0
    assert level(9.0, failing=0.07) == level(9.0)


@given(limits, contentions, contentions, st.floats(-3.0, 0.45), st.floats(-3.0, 0.45))
def test_it_is_stronger_the_more_pods_are_in_each_others_way(
    limit: float, one: float, other: float, value: float, higher: float
) -> None:
    less, more = sorted((one, other))
    value, higher = sorted((value, higher))
    strongest = abs(level(limit, value=value, contention=more))
    assert abs(level(limit, value=value, contention=less)) <= strongest
    assert abs(level(limit, value=higher, contention=more)) <= strongest
    assert strongest <= 0.2 * abs(math.sqrt(limit) - limit / 1.7) + 1e-9
