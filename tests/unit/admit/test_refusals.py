"""A rate found by refusals: what looks like one, how it follows what is refused, and when it goes."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.refusals import Refusals
from tests.fakes.pull import (
    START,
    WALL,
    Pull,
    Quota,
    Upstream,
    broken,
    failing,
    fine,
    full_above,
    made,
    together,
)

USUAL_S = 0.05
SHARE = 0.2
"""Of attempts refused, which is neither too few nor too many."""

# what looks like a rate


def watched(
    *,
    near: int = 10,
    others: int = 90,
    gap_s: float = 0.03,
    near_s: float = USUAL_S,
    refusals: int = 100,
    refusal_s: float = 0.005,
    refused_alone: int = 10,
    ok_alone: int = 10,
) -> Refusals:
    """Return what was heard of so many answers that ended ``gap_s`` after a refusal, and of others a second after it.

    They are mixed evenly; of ten refusals ``refused_alone`` left nobody in flight, and of ten answers ``ok_alone`` did.
    """
    it, now = Refusals(), START
    for number in range(refusals):
        now += 10.0
        it.note(now, False, refusal_s, USUAL_S, 0 if number * 7 % 10 < refused_alone else 1)
        is_near = (number + 1) * near // refusals > number * near // refusals
        if is_near:
            it.note(now + gap_s, True, near_s, USUAL_S, 0 if number * 7 % 10 < ok_alone else 1)
        if (number + 1) * others // refusals > number * others // refusals:
            it.note(now + 1.0, True, USUAL_S, USUAL_S, 0 if number * 3 % 10 < ok_alone else 1)
    return it


def looks(it: Refusals, share: float = SHARE, now: float = START + 1e6) -> bool:
    return it.look_like_a_rate(now, USUAL_S, share)


def test_refused_at_once_apart_from_answers_and_alone_as_well_is_a_rate() -> None:
    assert looks(watched())


def test_of_nothing_that_was_seen_nothing_is_said() -> None:
    assert not looks(Refusals())
    assert not looks(watched(near=0, others=0)), "nobody was ever answered"


@pytest.mark.parametrize(
    ("share", "is_rate"),
    [(0.0, False), (0.05, False), (0.051, True), (0.3, True), (0.499, True), (0.5, False), (1.0, False)],
)
def test_more_than_a_twentieth_and_less_than_half_is_refused(share: float, is_rate: bool) -> None:
    assert looks(watched(), share) is is_rate


@pytest.mark.parametrize(
    ("refusal_s", "is_rate"), [(0.001, True), (0.024, True), (0.026, False), (0.05, False)]
)
def test_refusals_take_less_than_half_the_time_of_an_answer(refusal_s: float, is_rate: bool) -> None:
    """Of many, and of the first alone."""
    assert looks(watched(refusal_s=refusal_s)) is is_rate
    it = Refusals()
    it.note(START, False, refusal_s, USUAL_S, 1)
    it.note(START + 1.0, True, USUAL_S, USUAL_S, 1)
    assert looks(it) is is_rate


def test_how_long_refusals_took_is_forgotten_within_some_dozens() -> None:
    it = watched(refusal_s=0.1)
    for _ in range(20):
        it.note(START + 2000.0, False, 0.005, USUAL_S, 0)
    assert not looks(it)
    for _ in range(30):
        it.note(START + 2000.0, False, 0.005, USUAL_S, 0)
    assert looks(it)


@pytest.mark.parametrize(("near", "is_rate"), [(0, True), (18, True), (32, False), (60, False)])
def test_where_refusals_come_amid_answers_and_nobody_is_alone_it_is_a_queue(near: int, is_rate: bool) -> None:
    assert looks(watched(near=near, others=100 - near, ok_alone=0, refused_alone=0)) is is_rate


@pytest.mark.parametrize(("near_s", "is_rate"), [(1.0, True), (1.04, True), (1.1, False), (1.3, False)])
def test_amid_answers_it_is_a_rate_for_who_is_alone_and_need_not_wait(near_s: float, is_rate: bool) -> None:
    assert looks(watched(near=60, others=40, near_s=near_s * USUAL_S)) is is_rate


@pytest.mark.parametrize(("ok_alone", "is_rate"), [(0, False), (3, True), (4, True)])
def test_amid_answers_it_is_enough_to_be_alone_now_and_then(ok_alone: int, is_rate: bool) -> None:
    """Where every answer is near a refusal, too, though nothing says then whether it waited."""
    assert looks(watched(near=60, others=40, ok_alone=ok_alone, refused_alone=ok_alone)) is is_rate
    assert looks(watched(near=100, others=0, ok_alone=ok_alone, refused_alone=ok_alone)) is is_rate


@pytest.mark.parametrize(("gap_s", "is_rate"), [(0.005, False), (0.06, False), (0.09, False), (0.11, True)])
def test_an_answer_is_near_that_was_under_way_or_a_usual_one_later(gap_s: float, is_rate: bool) -> None:
    """It took 50 ms, and so it does usually: within 100 ms of a refusal."""
    assert looks(watched(near=50, others=50, gap_s=gap_s, ok_alone=0, refused_alone=0)) is is_rate


@pytest.mark.parametrize(
    ("near", "near_s", "is_rate"),
    [(16, 1.0, True), (16, 1.2, True), (16, 1.3, False), (16, 4.0, False), (9, 4.0, True), (12, 4.0, False)],
)
def test_where_ten_answers_near_refusals_are_slower_than_others_they_had_waited(
    near: int, near_s: float, is_rate: bool
) -> None:
    """By more than a quarter; of fewer nothing is said."""
    assert looks(watched(near=near, others=100 - near, near_s=near_s * USUAL_S)) is is_rate


def test_answers_near_refusals_that_are_quicker_are_no_objection() -> None:
    assert looks(watched(near=16, others=84, near_s=0.5 * USUAL_S))


@pytest.mark.parametrize(
    ("ok_alone", "refused_alone", "is_rate"),
    [
        (10, 10, True),
        (10, 6, True),
        (10, 3, False),
        (10, 0, False),
        (4, 3, True),
        (4, 1, False),
        (0, 0, True),
    ],
)
def test_who_is_alone_in_flight_is_refused_half_as_often_or_it_is_room_that_is_missing(
    ok_alone: int, refused_alone: int, is_rate: bool
) -> None:
    assert looks(watched(ok_alone=ok_alone, refused_alone=refused_alone)) is is_rate


# how it follows


def begun(rate: float) -> Refusals:
    it = Refusals()
    it.begin(rate)
    return it


def hear(it: Refusals, refused: int, ok: int, now: float = START) -> None:
    """So many ended since the last turn, answers a second after refusals."""
    for number in range(refused + ok):
        it.note(now if number < refused else now + 1.0, number >= refused, 0.005, USUAL_S, 0)


def turned(
    it: Refusals,
    refused: int,
    of: int = 100,
    *,
    base: float = 0.0,
    disproved: bool = False,
    now: float = START,
) -> float:
    """Return by how much the rate changes when so many of so many were refused."""
    before = it.rate
    hear(it, refused, of - refused, now)
    it.turn(now, base, disproved)
    return it.rate / before


def test_there_is_no_rate_before_it_begins() -> None:
    it = Refusals()
    assert it.rate == 0.0
    assert it.begin(12.345) == "pace 12.35/s: what is beyond is refused at once"
    assert it.rate == 12.345


def test_the_worked_example_of_the_docstring() -> None:
    it = begun(13.0)
    turned(it, 8)
    assert it.rate == pytest.approx(12.2, abs=0.05)
    assert it.rate == pytest.approx(13.0 * (1.0 - 0.7 * 0.08 * 13.0 / 12.0))
    for refused in (3, 0, 2):
        turned(it, refused)
    assert it.rate == pytest.approx(13.1, abs=0.05)


@pytest.mark.parametrize(
    ("rate", "refused", "weight"),
    [
        (12.0, 10, 1.0),
        (18.0, 10, 1.5),
        (24.0, 10, 2.0),
        (96.0, 10, 2.0),
        (6.0, 10, 0.5),
        (1.0, 10, 0.5),
        (12.0, 5, 1.0),
    ],
)
def test_large_pods_give_more(rate: float, refused: int, weight: float) -> None:
    assert turned(begun(rate), refused) == pytest.approx(1.0 - 0.7 * refused / 100 * weight)


@pytest.mark.parametrize("refused", [36, 40, 50])
def test_no_turn_takes_more_than_a_quarter(refused: int) -> None:
    assert turned(begun(12.0), refused) == pytest.approx(0.75)
    assert turned(begun(12.0), 35) == pytest.approx(1.0 - 0.7 * 0.35)


def test_it_never_falls_below_seven_tenths_of_its_mean() -> None:
    """The mean follows by a twentieth a turn, so that it goes on falling, but slowly."""
    it, mean = begun(12.0), 12.0
    for number in range(30):
        rate = it.rate
        mean += 0.05 * (rate - mean)
        turned(it, 40)
        assert it.rate == pytest.approx(max(0.7 * mean, 0.75 * rate))
        assert number < 2 or it.rate > 0.8 * rate


def test_a_rate_that_begins_anew_has_no_mean_from_before() -> None:
    it = begun(100.0)
    for _ in range(40):
        turned(it, 0)
    it.begin(12.0)
    turned(it, 40)
    assert it.rate == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("rate", "weight"),
    [(12.0, 1.0), (24.0, 0.5), (240.0, 0.1), (6.0, 2.0), (1.2, 2.0), (8.0, 1.5), (48.0, 0.25)],
)
def test_pair_by_pair_without_refusals_it_grows_twice_as_much_and_small_pods_the_most(
    rate: float, weight: float
) -> None:
    """Of the rate that it has by then; three tenths at most."""
    it = begun(rate)
    assert turned(it, 0) == pytest.approx(1.0 + 0.01 * weight)
    for doublings in range(1, 12):
        share = 12.0 / it.rate
        most = 0.01 * min(2.0, max(0.1, share)) * 2.0**doublings
        assert turned(it, 0) == pytest.approx(1.0 + min(0.3, most))
    assert turned(it, 0) == pytest.approx(1.3)


def test_growth_begins_anew_after_a_pair_that_was_refused_too_much() -> None:
    it = begun(12.0)
    assert [turned(it, 0) > 1.03 for _ in range(4)] == [False, False, True, True]
    turned(it, 10)
    assert turned(it, 0) == pytest.approx(1.0 + 0.12 / it.rate, rel=0.002)


def test_growth_begins_anew_with_the_rate() -> None:
    it = begun(12.0)
    for _ in range(4):
        turned(it, 0)
    it.begin(12.0)
    assert turned(it, 0) == pytest.approx(1.01)


def test_four_hundredths_are_borne() -> None:
    assert turned(begun(12.0), 4) == pytest.approx(1.01)
    assert turned(begun(12.0), 41, 1000) < 1.0


@pytest.mark.parametrize(("base", "refused", "beyond"), [(0.2, 28, 0.1), (0.1, 46, 0.4), (0.4, 64, 0.4)])
def test_what_would_fail_anyway_is_not_counted(base: float, refused: int, beyond: float) -> None:
    """Of those that would not fail."""
    assert turned(begun(12.0), refused, base=base) == pytest.approx(1.0 - min(0.25, 0.7 * beyond))
    assert turned(begun(12.0), round(100 * base), base=base) == pytest.approx(1.01)
    assert turned(begun(12.0), 0, base=base) == pytest.approx(1.01)


def test_of_fewer_than_twenty_nothing_is_learned_until_there_are_more() -> None:
    it = begun(12.0)
    for _ in range(5):
        hear(it, 1, 2)
        assert it.turn(START, 0.0, True) == ""
        assert it.rate == 12.0
    hear(it, 1, 3)
    assert it.turn(START, 0.0, False) == ""
    assert it.rate == 12.0, "these are nineteen"
    hear(it, 0, 1)
    it.turn(START, 0.0, False)
    assert it.rate == pytest.approx(12.0 * 0.79), "6 of 20: nothing was lost"
    hear(it, 0, 19)
    it.turn(START, 0.0, False)
    assert it.rate == pytest.approx(12.0 * 0.79), "and then it is counted anew"


def test_what_was_seen_before_it_began_is_not_counted() -> None:
    it = Refusals()
    hear(it, 50, 50)
    it.begin(12.0)
    hear(it, 0, 19)
    assert it.turn(START, 0.0, False) == ""
    assert it.rate == 12.0
    assert turned(it, 0, 1) == pytest.approx(1.01)


def test_a_thousand_pairs_without_a_refusal_are_no_error() -> None:
    it = begun(12.0)
    for _ in range(1100):
        turned(it, 0, 20)
        it.rate = min(it.rate, 1000.0)
    assert it.rate == 1000.0


@pytest.mark.parametrize(("ok_per_s", "rate"), [(9.0, 9.0), (7.6, 7.6), (7.4, 7.5), (0.0, 7.5)])
def test_a_cut_goes_back_to_what_went_well_by_a_quarter_at_most(ok_per_s: float, rate: float) -> None:
    it = begun(10.0)
    it.cut(ok_per_s)
    assert it.rate == rate


def test_growth_begins_anew_after_a_cut() -> None:
    it = begun(12.0)
    for _ in range(5):
        turned(it, 0)
    it.cut(0.0)
    it.rate = 12.0
    assert turned(it, 0) == pytest.approx(1.01)


# when it goes


def test_it_ends_at_the_third_pair_that_shows_it_is_not_the_rate() -> None:
    it = begun(12.0)
    for _ in range(2):
        hear(it, 5, 95)
        assert it.turn(START, 0.0, True) == ""
        assert it.rate > 0.0
    hear(it, 1, 10)
    assert it.turn(START, 0.0, True) == "", "too few to make a pair"
    hear(it, 5, 95)
    assert it.turn(START, 0.0, True) == "pacing ends: it is not the rate that is refused"
    assert it.rate == 0.0


def test_what_is_disproved_later_ends_it_at_once_and_the_next_rate_has_three_pairs_again() -> None:
    it = begun(12.0)
    for _ in range(3):
        assert turned(it, 2) > 0.0
    assert turned(it, 2, disproved=True) == 0.0
    it.begin(12.0)
    assert [turned(it, 2, disproved=True) > 0.0 for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("refused", "base", "ends"), [(50, 0.0, False), (51, 0.0, True), (69, 0.4, False), (71, 0.4, True)]
)
def test_it_ends_where_more_than_half_is_refused(refused: int, base: float, ends: bool) -> None:
    """Beyond what would fail anyway; in the first pair as well."""
    assert (turned(begun(12.0), refused, base=base) == 0.0) is ends


def test_it_is_not_tried_again_for_30_s_and_then_twice_as_long_up_to_five_minutes() -> None:
    it, now = watched(), START + 5000.0
    for barred_s in (30.0, 60.0, 120.0, 240.0, 300.0, 300.0):
        assert looks(it, now=now)
        it.begin(12.0)
        now += 1000.0
        assert turned(it, 60, now=now) == 0.0
        assert not looks(it, now=now)
        assert not looks(it, now=now + barred_s - 0.1)
        now += barred_s + 0.1


def test_neither_a_turn_nor_a_cut_that_leaves_a_rate_bars_one() -> None:
    it = watched()
    it.begin(12.0)
    turned(it, 40, now=START + 2000.0)
    it.cut(0.0)
    assert looks(it, now=START + 2000.0)


@given(
    st.floats(0.5, 500.0),
    st.lists(
        st.tuples(
            st.integers(0, 60), st.integers(0, 60), st.floats(0.0, 0.49), st.booleans(), st.floats(0.0, 5.0)
        ),
        max_size=40,
    ),
)
def test_whatever_is_heard_it_stays_a_rate_or_ends(
    rate: float, pairs: list[tuple[int, int, float, bool, float]]
) -> None:
    it, now, highest = begun(rate), START, rate
    for refused, ok, base, disproved, ok_per_s in pairs:
        now += 4.0
        before = it.rate
        hear(it, refused, ok, now)
        said = it.turn(now, base, disproved)
        assert math.isfinite(it.rate)
        assert (it.rate == 0.0) is bool(said)
        if said:
            return
        assert 0.749 * before <= it.rate <= max(1.301 * before, 0.7 * highest)
        it.cut(min(ok_per_s, it.rate))
        assert it.rate > 0.0
        highest = max(highest, it.rate)


# a pod, a fleet, and what is no rate at all


def said(pull: Pull) -> list[str]:
    """What it said of rates."""
    return [words for _, words in pull.limit.notes if "pac" in words]


def alone(quota: Quota, seed: int, **over: float) -> tuple[Pull, Upstream]:
    """One pod, and the upstream that it finds."""
    pull = Pull(made(rng=random.Random(seed), **over), seed=seed)
    return pull, quota.of(pull)


def refusing(share: float) -> Upstream:
    """Fails by chance, at once and whatever the rate."""
    return lambda inflight, rng: (
        (rng.uniform(0.025, 0.075), True) if rng.random() >= share else (0.005, False)
    )


ALONE = [(12, 0.05), (50, 0.01)]
"""Calls a second, and seconds that an answer takes."""


@pytest.mark.parametrize(("per_s", "took_s"), ALONE)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_pod_finds_the_rate_of_its_quota(per_s: int, took_s: float, seed: int) -> None:
    quota = Quota(per_s, took_s)
    pull, upstream = alone(quota, seed)
    pull.run(120.0, upstream).run(60.0, upstream)
    assert pull.successes / pull.seconds > 0.9 * per_s
    assert pull.successes / pull.starts > 0.92
    assert 0.85 * per_s < pull.limit.inside()["pace"] < 1.2 * per_s
    (words,) = said(pull)
    assert words.endswith("/s: what is beyond is refused at once")


@pytest.mark.parametrize(("pods", "per_s"), [(3, 30), (8, 100)])
def test_pods_that_share_a_quota_find_their_rates(pods: int, per_s: int) -> None:
    """Nearly equal ones, at few refusals, though none knows of the others."""
    quota = Quota(per_s)
    pulls = [alone(quota, seed)[0] for seed in range(pods)]
    together(pulls, quota, 120.0)
    counts = together(pulls, quota, 60.0)
    starts, carried = (sum(count[which] for count in counts) for which in (0, 1))
    assert carried / 60.0 > 0.9 * per_s
    assert carried / starts > 0.92
    assert all(0.3 < ok / 60.0 / (per_s / pods) < 3.0 for _, ok in counts)
    assert all(pull.limit.inside()["pace"] < math.inf for pull in pulls)


def test_the_first_rate_is_what_went_well_since_the_pod_started() -> None:
    """It began 4 s ago, which is not the 16 s that rates are of."""
    pull, upstream = alone(Quota(50, 0.01), 1)
    while not said(pull):
        pull.run(0.25, upstream)
        assert pull.now < START + 10.0
    assert pull.limit.inside()["pace"] == pytest.approx(50.0, rel=0.1)


def test_at_a_rate_attempts_start_evenly_and_no_failure_takes_the_limit_down() -> None:
    """Room for six times what is in flight on average, so that the limit is not in the way."""
    pull, upstream = alone(Quota(12), 1)
    pull.run(60.0, upstream)
    pull.levels, gaps, last = [], [], pull.now
    while pull.now < START + 120.0:
        pull.run(0.01, upstream)
        if pull.starts:
            gaps.append(pull.now - last)
            last = pull.now
            assert pull.starts == 1
    assert sorted(gaps)[len(gaps) // 20] > 0.06, "12 a second are 83 ms apart"
    assert min(pull.levels) > 0.9 * (6.0 * 10.0 * 0.05 + 1.0)
    assert not [words for at, words in pull.limit.notes if at > START + 60.0 and words.startswith("cut")]


def test_in_the_halves_of_a_pair_attempts_start_a_twentieth_faster_and_slower() -> None:
    """And the votes of these halves count, though the limit holds nobody."""
    pull, upstream = alone(Quota(50, 0.01), 1)
    pull.run(60.0, upstream)
    pairs = pull.limit.inside()["pairs"]
    starts, seconds = {-1: 0, 0: 0, 1: 0}, {-1: 0.0, 0: 0.0, 1: 0.0}
    while pull.now < START + 300.0:
        phase = pull.limit._phase
        pull.run(0.05, upstream)
        if 0.2 < (WALL + pull.now - START) % 2.0 < 1.9:
            starts[phase] += pull.starts
            seconds[phase] += pull.seconds
    assert min(seconds.values()) > 5.0
    fast, slow = starts[1] / seconds[1], starts[-1] / seconds[-1]
    assert 1.06 < fast / slow < 1.15
    assert pull.limit.inside()["pairs"] > pairs


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_quota_that_triples_is_followed_within_a_minute(seed: int) -> None:
    quota = Quota(12)
    pull, upstream = alone(quota, seed)
    pull.run(120.0, upstream)
    quota.per_s = 36
    pull.run(60.0, upstream).run(30.0, upstream)
    assert pull.successes / pull.seconds > 0.8 * 36
    assert pull.successes / pull.starts > 0.92
    assert len(said(pull)) == 1, "it is the same rate all the time"


def test_a_fleet_follows_a_quota_up_and_down() -> None:
    """Within 45 s to three times as much, and within 15 s back to two thirds of that."""
    quota = Quota(30)
    pulls = [alone(quota, seed)[0] for seed in range(3)]
    together(pulls, quota, 90.0)
    for per_s, after_s in ((90, 45.0), (60, 15.0)):
        quota.per_s = per_s
        together(pulls, quota, after_s)
        counts = together(pulls, quota, 15.0)
        assert sum(ok for _, ok in counts) / 15.0 > 0.85 * per_s
        assert sum(ok for _, ok in counts) > 0.88 * sum(starts for starts, _ in counts)


@pytest.mark.parametrize("most", [2, 6])
@pytest.mark.parametrize("seed", range(4))
def test_room_that_is_used_up_never_gets_a_rate(most: int, seed: int) -> None:
    """Five minutes on the edge of a hard cap, refused at once beyond it."""
    pull = Pull(made(rng=random.Random(seed)), seed=seed).run(300.0, full_above(most))
    assert said(pull) == []
    assert pull.limit.inside()["pace"] == math.inf
    assert pull.successes / pull.seconds > 0.6 * most / 0.1


@pytest.mark.parametrize("seed", range(4))
def test_failures_that_do_not_answer_to_the_rate_end_it(seed: int) -> None:
    """One call at a time, of which a tenth fails from the third minute on: it looks like a rate, and is soon known not to be."""
    pull = Pull(made(rng=random.Random(seed), highest=1.0), seed=seed).run(120.0, refusing(0.0))
    could = 0.9 * 20.0
    carried = []
    for _ in range(5):
        pull.run(60.0, refusing(0.1))
        carried.append(pull.successes / pull.seconds)
    words = said(pull)
    assert words[0].startswith("pace ")
    assert words[-1] == "pacing ends: it is not the rate that is refused"
    assert len(words) == 2
    assert pull.limit.inside()["pace"] == math.inf
    assert sum(carried) / 5.0 > 0.5 * could
    assert carried[-1] > 0.9 * could


@pytest.mark.parametrize("highest", [4.0, 256.0])
def test_a_tenth_that_fails_at_once_costs_who_has_many_in_flight_no_half(highest: float) -> None:
    pull = Pull(made(rng=random.Random(1), highest=highest), seed=1).run(60.0, refusing(0.0))
    before = pull.successes / pull.seconds
    pull.run(300.0, refusing(0.1))
    assert pull.successes / pull.seconds > 0.5 * before
    assert pull.limit.inside()["pace"] == math.inf


@pytest.mark.parametrize("per_s", [3, 4])
def test_of_few_answers_no_rate_is_found(per_s: int) -> None:
    """Fewer than 5 a second; nor on the way up, whatever is refused."""
    pull, upstream = alone(Quota(per_s), 1)
    pull.run(120.0, upstream)
    assert said(pull) == []


def test_when_a_rate_ends_the_limit_is_no_more_than_it_was_before() -> None:
    """Most is refused all of a sudden; within a pair or two the rate is gone, and for 30 s there is none."""
    pull, upstream = alone(Quota(12), 1)
    before = pull.limit.limit
    while not said(pull):
        before = pull.limit.limit
        pull.run(0.25, upstream)
    pull.run(60.0, upstream)
    assert pull.limit.limit > 2.0 * before
    mostly = failing(0.8)
    while len(said(pull)) == 1:
        pull.run(0.25, mostly)
        assert pull.now < START + 90.0
    ended_at = pull.now
    assert said(pull)[-1] == "pacing ends: it is not the rate that is refused"
    assert pull.limit.limit <= before
    assert pull.limit.inside()["pace"] == math.inf
    while len(said(pull)) == 2 and pull.now < ended_at + 200.0:
        pull.run(0.25, upstream)
    assert pull.now > ended_at + 29.0


def test_a_gate_that_closes_for_a_moment_leaves_the_rate() -> None:
    pull, upstream = alone(Quota(12), 1)
    pull.run(60.0, upstream)
    rate = pull.limit.inside()["pace"]
    pull.limit.on_gate_closed(pull.now)
    pull.now += 2.5
    pull.run(0.06, fine)
    pull.limit.on_gate_opened(pull.now)
    assert pull.limit.inside()["pace"] == rate < math.inf
    pull.run(60.0, upstream)
    assert pull.successes / pull.seconds > 0.85 * 12


def test_an_alarm_at_a_rate_cuts_the_rate_and_not_the_limit() -> None:
    """Six in a row that fail at once, after a while in which fewer were carried than it goes by."""
    pull, upstream = alone(Quota(12), 1)
    pull.run(60.0, upstream)
    before, rate = pull.limit.limit, pull.limit.inside()["pace"]
    while pull.limit.inside()["pace"] == rate:
        pull.run(0.01, broken)
        assert pull.now < START + 61.5
    assert 0.74 * rate < pull.limit.inside()["pace"] < rate
    assert pull.limit.limit == before
