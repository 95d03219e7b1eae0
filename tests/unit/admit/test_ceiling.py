"""The alarm that ends in a cut, the way back along a cubic, and how high time lets the limit grow."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.adaptive import LOWEST
from proxy.admit.ceiling import CUT, Ceiling


def feed(ceiling: Ceiling, share: float, count: int, *, base: float = 0.0, seed: int = 1) -> list[int]:
    """Attempts at 100 a second of which a share fails; return the numbers of those that raised an alarm and were answered."""
    rng, alarms = random.Random(seed), []
    for number in range(count):
        now = number / 100
        if ceiling.is_alarming(now, rng.random() >= share, base, False):
            ceiling.cut(now, 10.0, share, 0.2, 0.1)
            alarms.append(number)
    return alarms


def in_a_row(ceiling: Ceiling, base: float = 0.0, *, paced: bool = False, now: float = 100.0) -> int:
    """Return how many failures in a row it takes."""
    for count in range(1, 200):
        if ceiling.is_alarming(now, False, base, paced):
            return count
    raise AssertionError("no alarm at all")


def cut_at(now: float, limit: float, *, lowest: float = 0.2) -> Ceiling:
    it = Ceiling(0.0)
    it.cut(now, limit, 0.1, lowest, 0.1)
    return it


def levelled(limit: float) -> float:
    """The top that a cut from there leaves: a tenth less at most."""
    return limit * (1.0 - min(0.1, 0.2 * max(0.0, 1.0 - 1.7 / math.sqrt(limit))))


def test_six_failures_in_a_row_are_an_alarm_and_fewer_while_paced() -> None:
    assert in_a_row(Ceiling(0.0)) == 6
    assert in_a_row(Ceiling(0.0), paced=True) == 4
    assert in_a_row(Ceiling(0.0), base=0.2) == 6
    assert in_a_row(Ceiling(0.0), base=0.49) > 9


def test_successes_make_up_for_failures_but_are_not_saved_up() -> None:
    it = Ceiling(0.0)
    for _ in range(1000):
        assert not it.is_alarming(100.0, True, 0.0, False)
    assert in_a_row(it) == 6
    mixed = Ceiling(0.0)
    for _ in range(200):
        for succeeded in (False, *[True] * 9):
            assert not mixed.is_alarming(100.0, succeeded, 0.0, False)


@pytest.mark.parametrize("base", [0.0, 0.05, 0.1])
def test_the_usual_share_of_failures_is_no_alarm_in_ten_thousand_attempts(base: float) -> None:
    """And on top of none, 5 % are borne."""
    assert feed(Ceiling(0.0), max(0.05, base), 10_000, base=base) == []


@pytest.mark.parametrize(("base", "share"), [(0.0, 0.3), (0.05, 0.4), (0.2, 0.7)])
def test_many_more_than_usual_are_an_alarm_within_a_few_dozen(base: float, share: float) -> None:
    firsts = [feed(Ceiling(0.0), share, 400, base=base, seed=seed)[0] for seed in range(40)]
    assert sorted(firsts)[20] < 40
    assert max(firsts) < 200


def test_after_a_cut_the_next_takes_a_second_or_two_latencies() -> None:
    for latency_s, hold_s in ((0.1, 1.0), (3.0, 6.0)):
        it = Ceiling(0.0)
        it.cut(100.0, 10.0, 1.0, 0.2, latency_s)
        for _ in range(100):
            assert not it.is_alarming(100.0 + hold_s - 0.01, False, 0.0, False)
        assert it.is_alarming(100.0 + hold_s, False, 0.0, False)


def test_one_wave_of_failures_takes_the_limit_no_lower_than_two_fifths() -> None:
    """Where most still succeed, cuts in a row stop at 0.4 of where they began; where they do not, at the least there is."""
    it = Ceiling(0.0)
    leasts = [it.cut(100.0 + number, 10.0 * CUT**number, 0.25, 0.2, 0.1) for number in range(8)]
    assert leasts == [4.0] * 8
    assert it.cut(109.0, 4.0, 0.8, 0.2, 0.1) == 0.2
    assert it.before_cuts == 10.0


@pytest.mark.parametrize(
    ("limit", "top"), [(0.5, 0.5), (2.89, 2.89), (4.0, 3.88), (9.0, 8.22), (11.56, 10.404), (60.0, 54.0)]
)
def test_a_cut_is_the_moment_to_grow_equal(limit: float, top: float) -> None:
    """Up to 2.9 the top is where it hurt; who has more gives up to a tenth of it."""
    it = cut_at(100.0, limit)
    assert it.top == pytest.approx(top) == pytest.approx(levelled(limit))
    assert it.before_cuts == limit, "an outage takes it back to that"


@given(st.floats(0.2, 256.0), st.floats(0.2, 256.0))
def test_who_had_more_before_a_cut_has_no_less_after_it(one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert cut_at(100.0, small).top <= cut_at(100.0, large).top * (1.0 + 1e-12)


@pytest.mark.parametrize("before", [0.5, 4.0, 60.0])
def test_the_way_back_is_the_cubic_and_never_exceeds_its_top(before: float) -> None:
    it, limit, seen = cut_at(100.0, before), CUT * before, []
    top = levelled(before)
    for tick in range(1, 60):
        t = tick * 0.25
        after = it.recovery(100.0 + t, limit)
        assert limit <= after <= top
        assert after <= limit * 1.04 + 1e-9
        if t < 1.0 or t >= 8.0:
            assert after == limit, "first it waits, and in the end it has arrived"
        elif t > 2.0:
            cubic = top + 0.2 * top * ((t - 8.0) / 8.0) ** 3
            assert after == pytest.approx(max(CUT * before, cubic), rel=0.02)
        limit = after
        seen.append(limit)
    assert seen[-1] > 0.99 * top


def test_a_limit_at_or_above_the_top_is_left_alone() -> None:
    it = cut_at(100.0, 10.0)
    assert (it.recovery(103.0, 10.0), it.recovery(103.0, 11.0)) == (10.0, 11.0)
    assert Ceiling(0.0).recovery(50.0, 3.0) == 3.0


def test_the_cap_grows_with_time_slowly_at_first() -> None:
    it = cut_at(100.0, 10.0)
    caps = [it.cap(100.0 + t) for t in range(0, 120, 5)]
    assert caps == sorted(caps)
    assert caps[0] == pytest.approx(0.95 * levelled(10.0))
    assert it.cap(110.0) == pytest.approx(levelled(10.0)), "10 s to where it hurt"
    assert it.cap(120.0) < 14.0
    assert caps[-1] > 100.0
    assert Ceiling(0.0).cap(5.0) == math.inf


def test_the_longer_it_keeps_hurting_at_the_same_height_the_longer_it_stays_below() -> None:
    it, now, reached = Ceiling(0.0), 100.0, []
    for _ in range(8):
        it.cut(now, 10.0, 0.1, 0.2, 0.1)
        after_s = next(t for t in range(1, 100) if it.cap(now + t) >= levelled(10.0))
        reached.append(after_s)
        now += 60.0
    assert reached == sorted(reached)
    assert (reached[0], reached[-1]) == (10, 40)
    it.cut(now, 30.0, 0.1, 0.2, 0.1)
    assert it.cap(now + 10.0) >= levelled(30.0), "another height is another matter"


def test_a_cut_well_below_the_top_brings_the_top_down() -> None:
    """After four seconds: within them it may be the same wave."""
    it = cut_at(100.0, 10.0)
    it.cut(102.0, 8.0, 0.1, 0.2, 0.1)
    assert it.top == levelled(10.0)
    it.cut(107.0, 7.0, 0.1, 0.2, 0.1)
    assert it.top == pytest.approx(6.65)


@pytest.mark.parametrize(("latency_s", "hold_s"), [(0.1, 1.0), (3.0, 6.0)])
def test_an_alarm_that_cuts_nothing_is_counted_anew_and_moves_nothing(
    latency_s: float, hold_s: float
) -> None:
    """There is a rate that takes the blame."""
    it = cut_at(100.0, 10.0)
    in_a_row(it, now=200.0)
    it.note_alarm(200.0, latency_s)
    assert (it.top, it.before_cuts, it.cut_at) == (levelled(10.0), 10.0, 200.0)
    assert not it.is_alarming(200.0 + hold_s - 0.01, False, 0.0, False)
    assert not any(it.is_alarming(200.0 + hold_s, False, 0.0, False) for _ in range(4))
    assert it.is_alarming(200.0 + hold_s, False, 0.0, False), "the sixth"


def test_where_it_never_hurt_there_is_no_way_back() -> None:
    it = Ceiling(0.0)
    it.note_alarm(100.0, 0.1)
    for tick in range(40):
        assert it.recovery(100.0 + tick / 4, 3.0) == 3.0
    assert it.cap(104.0) == math.inf


def test_after_an_outage_the_top_is_what_it_is_told() -> None:
    it = cut_at(100.0, 10.0)
    it.restart(200.0, 8.0)
    limit = 7.0
    for tick in range(32):
        limit = it.recovery(200.0 + tick / 4, limit)
    assert 7.9 < limit <= 8.0
    assert it.cap(200.0) == pytest.approx(7.6)
    assert in_a_row(it, now=200.0) == 6, "what was counted before is forgotten"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["cut", "restart", "fail", "pass"]), st.floats(0.0, 4000.0), st.floats(0.2, 256.0)
        ),
        max_size=40,
    )
)
def test_whatever_happens_cap_and_way_back_are_numbers_that_fit_together(
    moves: list[tuple[str, float, float]],
) -> None:
    it, now = Ceiling(0.0), 0.0
    for what, passes_s, limit in moves:
        now += passes_s
        if what == "cut":
            it.cut(now, limit, 0.1, 0.2, 0.1)
        elif what == "restart":
            it.restart(now, limit)
        else:
            it.is_alarming(now, what == "pass", 0.1, False)
        assert limit <= it.recovery(now, limit) <= max(limit, it.top)
        assert it.cap(now) > 0.0


def test_a_cut_after_an_alarm_at_a_rate_goes_by_the_limit_of_now() -> None:
    """It was cut at 60 long ago; three seconds ago there was an alarm at a rate, which has ended; now it is at 10."""
    it = Ceiling(0.0)
    it.cut(100.0, 60.0, 0.1, LOWEST, 0.1)
    it.note_alarm(5000.0, 0.1)
    assert it.cut(5003.0, 10.0, 0.25, LOWEST, 0.1) < 10.0
