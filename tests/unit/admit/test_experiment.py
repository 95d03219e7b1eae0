"""The experiment: pods that agree on high and low halves without a word, and what a fleet's goodput says of its load."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.experiment import EPS, PERIOD_S, Elasticity, Half, Schedule
from proxy.admit.steps import NEUTRAL

WALL = 1_700_000_000.0
HIGH, LOW = 1, -1


def half(
    phase: int,
    ok: int,
    bad: int = 0,
    *,
    limit: float = 10.0,
    load: float = 0.0,
    took_s: float = 0.0,
    binding: bool = True,
) -> Half:
    """Two seconds at ``load`` (or the limit's) with so many outcomes."""
    made = Half(phase, limit, 100.0)
    made.was_binding = binding
    made._held_s = 2.0 * (load or limit * (1.0 + EPS * phase))
    made.spanned_s = 2.0
    for number in range(ok + bad):
        made.note(101.0, number < ok, took_s)
    return made


def poisson(mean: float, rng: random.Random) -> int:
    count, left = 0, rng.expovariate(1.0)
    while left < mean:
        count += 1
        left += rng.expovariate(1.0)
    return count


# the schedule


@given(st.floats(0.0, 4e9), st.sampled_from([1, 6]), st.floats(0.0, 20.0))
def test_two_pods_with_the_same_salt_agree(wall: float, duty: int, latency_s: float) -> None:
    one, other = Schedule(b"upstream"), Schedule(b"upstream")
    for schedule in (one, other):
        schedule.duty = duty
        schedule.adopt(latency_s)
    number = one.half_at(wall)
    assert (number, one.phase_of(number)) == (other.half_at(wall), other.phase_of(number))
    assert one.end_of(number) - one.period_s <= wall < one.end_of(number)


def test_pods_of_another_upstream_do_not() -> None:
    one, other = Schedule(b"upstream"), Schedule(b"another")
    differs = sum(one.phase_of(2 * pair) != other.phase_of(2 * pair) for pair in range(1000))
    assert 400 < differs < 600


@pytest.mark.parametrize("duty", [1, 6])
def test_each_active_pair_has_one_high_and_one_low_half(duty: int) -> None:
    schedule = Schedule(b"upstream")
    schedule.duty = duty
    first = schedule.half_at(WALL) & ~1
    pairs = [(schedule.phase_of(n), schedule.phase_of(n + 1)) for n in range(first, first + 1200, 2)]
    active = [pair for pair in pairs if pair != (0, 0)]
    assert len(active) == 600 / duty
    assert set(active) == {(HIGH, LOW), (LOW, HIGH)}
    assert 0.4 < active.count((HIGH, LOW)) / len(active) < 0.6, "a coin"


@pytest.mark.parametrize(
    ("latency_s", "period_s"), [(0.0, 2.0), (0.1, 2.0), (0.8, 2.0), (1.0, 4.0), (5.0, 16.0), (1000.0, 64.0)]
)
def test_the_period_is_about_three_latencies_and_two_seconds_at_least(
    latency_s: float, period_s: float
) -> None:
    schedule = Schedule(b"")
    assert schedule.adopt(latency_s) is (period_s != PERIOD_S)
    assert schedule.period_s == period_s
    assert schedule.adopt(latency_s) is False


def test_the_period_does_not_flutter() -> None:
    schedule = Schedule(b"")
    assert schedule.adopt(0.85)
    changes = [schedule.adopt(latency_s) for latency_s in (0.8, 0.6, 0.7, 1.5, 0.55, 1.6)]
    assert (changes, schedule.period_s) == ([False] * 6, 4.0)
    assert schedule.adopt(0.5)
    assert schedule.period_s == 2.0


def test_longer_periods_nest_in_shorter_ones() -> None:
    """So that pods which differ change half at the same instants, the slower ones at some of the quicker ones'."""
    schedule = Schedule(b"")
    ends = {}
    for latency_s in (0.1, 1.0, 2.0, 5.0, 20.0):
        schedule.adopt(latency_s)
        number = schedule.half_at(WALL)
        ends[schedule.period_s] = {schedule.end_of(n) for n in range(number, number + 400)}
    assert list(ends) == [2.0, 4.0, 8.0, 16.0, 64.0]
    for period_s, instants in ends.items():
        if period_s > 2.0:
            assert {instant for instant in instants if instant < WALL + 700} <= ends[2.0]


# one half


def test_a_half_counts_what_follows_the_change_of_load() -> None:
    it = Half(HIGH, 4.0, 100.5)
    it.stay(100.4, 0.4, 100)
    it.note(100.4, True, 0.1)
    it.note(100.4, False, 0.1)
    it.stay(101.5, 1.0, 4)
    it.stay(102.5, 1.0, 6)
    it.note(102.0, True, 0.1)
    assert (it.successes, it.failures, it.load) == (1, 0, 5.0)


def test_where_nearly_all_succeed_goodput_is_timed_and_not_counted() -> None:
    """10 in flight for 2 s at 150 ms an answer carry 13.3, though but 13 ended; many failures leave the count."""
    assert half(HIGH, 13, load=1.0, took_s=0.15).carried == pytest.approx(2.0 / 0.15)
    assert half(HIGH, 13, 1, load=1.0, took_s=0.15).carried == pytest.approx((2.0 - 0.15) / 0.15)
    assert half(HIGH, 13, 4, load=1.0, took_s=0.15).carried == 13.0
    assert half(HIGH, 0, load=1.0).carried == 0.0


@pytest.mark.parametrize(
    ("binding", "load", "was_used"),
    [(True, 0.1, True), (False, 7.5, False), (False, 7.6, True), (False, 11.0, True)],
)
def test_a_limit_was_used_where_it_held_somebody_or_nearly_did(
    binding: bool, load: float, was_used: bool
) -> None:
    """Three quarters of 10 in flight."""
    assert half(LOW, 30, binding=binding, load=load).was_used is was_used


# the evidence


def test_a_pair_of_an_app_that_waits_elsewhere_now_and_then_is_evidence() -> None:
    it = Elasticity()
    assert it.take(half(HIGH, 40, binding=False), half(LOW, 30, binding=False), 0.0)
    assert it.pairs == 1


def test_the_worked_example_of_the_docstring() -> None:
    """40 in the high half and 30 in the low one, none failed: about 1.02 by itself."""
    it = Elasticity()
    assert it.take(half(HIGH, 40), half(LOW, 30), 0.0)
    assert it.latest == pytest.approx(1.02, abs=0.02)
    it.estimate(it.latest)
    assert it.value == pytest.approx(1.02, abs=0.02)


def learn(
    goodput: Callable[[float], float], seed: int, *, pairs: int = 40, prior: float = 0.5, mean: float = 60.0
) -> Elasticity:
    """Pairs whose counts are Poisson's with mean ``mean * goodput(relative load)``."""
    rng, it = random.Random(seed), Elasticity()
    it.remember(long=True)
    for _ in range(pairs):
        high = half(HIGH, poisson(mean * goodput(1 + EPS), rng))
        low = half(LOW, poisson(mean * goodput(1 - EPS), rng))
        assert it.take(high, low, 0.0)
        it.estimate(prior)
    return it


@pytest.mark.parametrize("eta", [1.0, 0.5, 0.0, -0.5, -1.0])
def test_a_known_elasticity_is_found_within_its_error(eta: float) -> None:
    found = [learn(lambda load: load**eta, seed) for seed in range(40)]
    mean = sum(it.value for it in found) / 40
    assert mean == pytest.approx(eta, abs=0.12)
    assert sum(abs(it.value - eta) < 2.5 * it.error for it in found) >= 36
    assert all(0.02 < it.error < 0.4 for it in found)


def test_without_much_evidence_what_was_believed_counts() -> None:
    few, many = learn(lambda load: load, 1, pairs=1, prior=-1.0), learn(lambda load: load, 1, prior=-1.0)
    assert few.value < many.value
    assert few.error > many.error
    fresh = Elasticity()
    fresh.estimate(-0.3)
    assert (fresh.value, fresh.error) == (-0.3, 0.5)


def test_failures_beyond_the_base_rate_count_against_load() -> None:
    """A fifth of the attempts fails: of 50 high and 40 low ones 10 and 8. Those 2 more are the load's, or the usual."""
    found = []
    for base_rate in (0.0, 0.2):
        it = Elasticity()
        assert it.take(half(HIGH, 40, 10), half(LOW, 32, 8), base_rate)
        found.append(it.latest)
    unit = 36 * math.log((1 + EPS) / (1 - EPS))
    assert found == pytest.approx([(8 - 2) / unit, 8 / unit])


def test_evidence_fades_by_how_far_the_limit_moved() -> None:
    """Near where it was it still speaks; far off, in whichever direction, nearly nothing of it does."""
    values = []
    for ratio in (1.0, 1.5, 4.0, 0.25):
        it = learn(lambda load: load, 1)
        it.note_move(ratio)
        assert it.take(half(HIGH, 30), half(LOW, 30), 0.0)
        it.estimate(0.0)
        values.append(it.value)
    assert values[0] > values[1] > values[2]
    assert values[2] == pytest.approx(values[3])
    assert values[0] > 0.7
    assert values[2] < 0.3


def test_the_latest_pairs_outweigh_the_older() -> None:
    it = learn(lambda load: load, 1)
    it.remember(long=False)
    for _ in range(16):
        assert it.take(half(HIGH, 60), half(LOW, 60), 0.0)
        it.estimate(0.5)
    assert abs(it.value) < 0.15, "1 was 16 pairs ago"


def test_what_twenty_pairs_say_outlasts_the_latest_few() -> None:
    """And is forgotten just as fast when the limit moves."""
    it = learn(lambda load: load, 1)
    it.remember(long=False)
    assert it.lasting == pytest.approx(1.0, abs=0.15)
    for _ in range(16):
        assert it.take(half(HIGH, 60), half(LOW, 60), 0.0)
        it.estimate(0.5)
    assert abs(it.value) < 0.15
    assert it.lasting == pytest.approx(0.95**16, abs=0.15), "1 was 16 pairs ago, and 0 the sixteen since"
    it.note_move(4.0)
    assert it.take(half(HIGH, 40), half(LOW, 30), 0.0)
    assert it.lasting == pytest.approx(it.latest, abs=0.05)


def test_many_pairs_say_nothing_until_there_is_one_and_are_the_surer_the_more_there_are() -> None:
    it = Elasticity()
    assert (it.lasting, it.lasting_error) == (NEUTRAL, 1.0)
    few, many = (learn(lambda load: load, 1, pairs=pairs) for pairs in (2, 40))
    assert many.lasting_error < 0.5 * few.lasting_error
    found = [learn(lambda load: load**0.5, seed) for seed in range(40)]
    assert sum(abs(it.lasting - 0.5) < 2.5 * it.lasting_error for it in found) >= 36


def unclean(made: Half) -> Half:
    made.is_clean = False
    return made


@pytest.mark.parametrize(
    ("high", "low"),
    [
        (unclean(half(HIGH, 40)), half(LOW, 30)),
        (half(HIGH, 40), unclean(half(LOW, 30))),
        (half(HIGH, 40), half(LOW, 30, binding=False, load=7.5)),
        (half(HIGH, 40, limit=12.0), half(LOW, 30, limit=10.0)),
        (half(HIGH, 0), half(LOW, 0)),
        (half(HIGH, 40), half(LOW, 0)),
        (half(HIGH, 0, 9), half(LOW, 30)),
        (half(HIGH, 40, load=9.0), half(LOW, 30, load=9.0)),
        (half(HIGH, 40, load=8.0), half(LOW, 30, load=9.0)),
        (Half(HIGH, 10.0, 100.0), half(LOW, 30)),
    ],
    ids=[
        "the high half disturbed",
        "the low half disturbed",
        "not held by the low limit",
        "the limit moved between",
        "nothing carried",
        "nothing carried low",
        "nothing carried high",
        "the same load",
        "more load in the low half",
        "no time in it",
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_and_leaves_no_trace(high: Half, low: Half) -> None:
    it = Elasticity()
    assert it.take(high, low, 0.0) is False
    it.estimate(0.123)
    assert (it.pairs, it.value) == (0, 0.123)


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 50), st.integers(0, 50)),
        max_size=30,
    ),
    st.floats(0.0, 0.49),
    st.floats(-0.3, 0.8),
    st.floats(0.05, 20.0),
)
def test_any_counts_make_finite_numbers(
    counts: list[tuple[int, int, int, int]], base_rate: float, prior: float, ratio: float
) -> None:
    it = Elasticity()
    for high_ok, low_ok, high_bad, low_bad in counts:
        it.take(half(HIGH, high_ok, high_bad), half(LOW, low_ok, low_bad), base_rate)
        it.estimate(prior)
        it.note_move(ratio)
        assert math.isfinite(it.value)
        assert 0.0 < it.error <= 0.5
