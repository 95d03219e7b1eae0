"""The learning limit as its owner sees it: what moves it, what does not, and how it takes outages and other bounds."""

from __future__ import annotations

import json
import math
import random

import pytest

from proxy.admit.adaptive import LOWEST
from proxy.admit.experiment import Half
from proxy.admit.limit import Verdict
from proxy.base.outcomes import AttemptOutcome
from proxy.operations import _number
from tests.fakes.pull import (
    LATENCY_S,
    START,
    WALL,
    Pull,
    Upstream,
    broken,
    ended,
    failing,
    fine,
    full_above,
    made,
    pinned,
    settled,
)

# what is in flight


def slow(inflight: int, rng: random.Random) -> tuple[float, bool]:
    """One second, whatever the load."""
    return 1.0, True


def quick(inflight: int, rng: random.Random) -> tuple[float, bool]:
    """50 ms, whatever the load."""
    return 0.05, True


def full(inflight: int, rng: random.Random) -> tuple[float, bool]:
    """Carries 20 a second, more load only takes longer; up to half of it is no slower for it."""
    return 0.05 * max(1, inflight), True


def full_by_chance(capacity: float) -> Upstream:
    """Carries so many in flight and fails the rest, whichever they are."""
    return lambda inflight, rng: (LATENCY_S * rng.uniform(0.5, 1.5), rng.random() * inflight < capacity)


def rest(pull: Pull, limit: float) -> None:
    """Put the lower bound, and the limit, there."""
    pull.limit.set_bounds(limit, limit)
    pull.limit.set_bounds(limit, 100.0)


def resting(limit: float) -> Pull:
    """A pull whose upstream is full, so the limit rests on its lower bound."""
    pull = Pull(made())
    rest(pull, limit)
    pull.run(150.0, full)
    rest(pull, float(round(limit)))
    rest(pull, limit)
    return pull


def pair_at(pull: Pull) -> tuple[float, float]:
    """Which pair it is, and since how many seconds."""
    return divmod(WALL + pull.now - START, 4.0)


def in_calm(pull: Pull, seconds: float) -> set[int]:
    """How many it lets be in flight in the pairs that are neither an experiment nor a leap."""
    found, until = set(), pull.now + seconds
    while pull.now < until:
        pull.run(0.05, full)
        pair, into_s = pair_at(pull)
        if pair % 6 and pair % 4 != 3 and 0.2 < into_s < 3.9:
            found.add(pull.limit.value)
    return found


@pytest.mark.parametrize("limit", [0.4, 1.0, 7.0])
def test_over_time_as_many_are_in_flight_as_the_limit_says(limit: float) -> None:
    """Up and down by a seventh in the experiment, and the mean is the limit."""
    pull = settled(limit).run(400.0, fine)
    assert pull.held_s / pull.seconds == pytest.approx(limit, rel=0.04)


@pytest.mark.parametrize("limit", [0.6, 2.4])
def test_where_answers_are_few_parts_of_a_slot_are_used(limit: float) -> None:
    pull = Pull(pinned(limit)).run(60.0, slow).run(400.0, slow)
    assert pull.held_s / pull.seconds == pytest.approx(limit, rel=0.04)


@pytest.mark.parametrize(("limit", "whole"), [(2.4, 2), (7.4, 7), (7.6, 8)])
def test_in_calm_halves_a_whole_number_is_in_flight(limit: float, whole: int) -> None:
    pull = resting(limit)
    assert in_calm(pull, 60.0) == {whole}
    assert pull.limit.limit == limit


@pytest.mark.parametrize(
    ("limit", "then", "whole"), [(7.4, 7.7, 7), (7.4, 7.8, 8), (7.6, 7.3, 8), (7.6, 7.2, 7)]
)
def test_it_is_held_at_another_whole_number_only_far_from_the_first(
    limit: float, then: float, whole: int
) -> None:
    pull = resting(limit)
    while pair_at(pull)[0] % 4:
        pull.run(0.25, full)
    rest(pull, then)
    assert in_calm(pull, 20.0) == {whole}
    assert pull.limit.limit == then


@pytest.mark.parametrize(("limit", "then", "whole"), [(7.4, 7.7, 7), (7.6, 7.3, 8)])
def test_a_leap_that_fails_does_not_change_the_whole_number(limit: float, then: float, whole: int) -> None:
    pull = resting(limit)
    rest(pull, then)
    pull.run(40.0, full)
    assert in_calm(pull, 60.0) == {whole}


def test_below_nine_tenths_of_a_slot_it_is_used_in_part_even_in_calm() -> None:
    pull = Pull(pinned(0.8)).run(60.0, quick).run(400.0, quick)
    assert pull.held_s / pull.seconds == pytest.approx(0.8, rel=0.04)


def test_for_8_s_after_a_cut_none_is_held_at_a_whole_number() -> None:
    """Were it, a limit on its way back would move in steps of a slot."""
    pull = Pull(made(start=7.4, lowest=7.4)).run(150.0, full)
    pull.limit.set_bounds(LOWEST, 100.0)
    while not any(words.startswith("cut") for _, words in pull.limit.notes):
        pull.run(0.05, broken)
    until, off, total = pull.now + 7.0, 0.0, 0
    while pull.now < until:
        pull.run(0.25, full)
        off += abs(pull.limit._slots._whole + pull.limit._slots._part - pull.limit.limit)
        total += 1
    assert off / total < 0.02


@pytest.mark.parametrize("limit", [0.4, 1.0, 4.0])
def test_who_fails_at_once_is_not_tried_more_often_than_who_answers(limit: float) -> None:
    """Failures in 1 ms under a limit that was used to 100 ms: limit / 100 ms a second, the experiment's swing apart."""
    pull = Pull(pinned(limit)).run(30.0, fine)
    carried = pull.starts / pull.seconds
    pull.run(120.0, broken)
    assert pull.starts / pull.seconds < 1.15 * carried


def test_an_upstream_that_breaks_sees_fewer_and_fewer_attempts() -> None:
    pull = Pull(made()).run(60.0, full_above(10))
    before = pull.starts / pull.seconds
    pull.run(20.0, broken)
    pull.run(60.0, broken)
    assert pull.limit.limit < 1.0
    assert pull.starts / pull.seconds < before / 10


def test_ignored_attempts_free_their_slot_and_teach_nothing() -> None:
    limit = Pull(made()).run(60.0, full_above(6)).limit
    now = START + 60.0
    limit.next_start_s(now)
    for _ in range(500):
        before, held = (limit.limit, limit.inside(), len(limit.notes)), limit.inflight
        limit.on_start(now)
        assert limit.inflight == held + 1
        limit.on_outcome(ended(now, 9.0), Verdict.IGNORE)
        assert (limit.limit, limit.inside(), len(limit.notes)) == before
        assert limit.inflight == held


# what it learns


def test_a_body_that_streams_is_no_latency_and_its_slot_counts_to_the_end() -> None:
    """Heads in 100 ms, bodies that take their app 3 s: no contention, and goodput is what was carried."""
    limit = pinned(2.0)
    limit._half = half = Half(1, 2.0, START)
    now = START
    for _ in range(40):
        limit.on_start(now)
        outcome = AttemptOutcome("default", "first", now, 1)
        outcome.head_at, outcome.ended_at = now + 0.1, now + 3.0
        now = outcome.ended_at
        limit.on_outcome(outcome, Verdict.SUCCESS)
    assert limit._traffic.latency_s == pytest.approx(0.1)
    assert half.carried == pytest.approx(40.0, rel=0.01)


@pytest.mark.parametrize("most", [2, 6, 20])
def test_it_finds_about_what_a_full_upstream_can_carry(most: int) -> None:
    """More than ``most`` in flight are answered 500: after two minutes most of what can be carried is, at few failures."""
    pull = Pull(made()).run(120.0, full_above(most)).run(300.0, full_above(most))
    assert pull.successes / pull.seconds > 0.6 * most / LATENCY_S
    assert pull.successes / pull.starts > 0.8
    assert 0.5 * most < pull.limit.limit < 1.6 * most


def test_nobody_who_waits_for_it_means_no_more() -> None:
    """However well it goes: a limit that is not used up does not grow, on the way up or after."""
    pull = Pull(made(start=6.0), callers=3).run(240.0, failing(0.0), blocked=False)
    assert max(pull.levels) == 6.0
    pull = Pull(made(start=6.0)).run(240.0, failing(0.0), blocked=False)
    assert max(pull.levels) == 6.0
    assert Pull(made(start=6.0)).run(20.0, failing(0.0)).limit.limit > 12.0, (
        "and with somebody who waits it would"
    )


def test_while_a_pace_holds_the_limit_does_not_grow() -> None:
    """Somebody waits all the time, but it may be for the pace."""
    pull = Pull(made(), callers=300).run(90.0, full_above(8))
    for rate in (10_000.0, 0.0):
        before, pull.levels = pull.limit.limit, []
        pull.limit._pace._set(pull.now, rate)
        pull.limit._pace.rate = rate
        pull.run(60.0, failing(0.0))
        assert (max(pull.levels) > 1.3 * before) is (rate == 0.0)


@pytest.mark.parametrize("share", [0.05, 0.15])
def test_failures_that_have_nothing_to_do_with_load_are_acquitted(share: float) -> None:
    pull = Pull(pinned(8.0)).run(900.0, failing(share))
    assert pull.limit.base_rate > 0.5 * share
    said = [words for _, words in pull.limit.notes if words.endswith("not held against it")]
    assert said or share < 0.1


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_failures_that_did_not_rise_on_the_way_up_are_acquitted_at_its_end(share: float) -> None:
    """Two pods of three or more get as high as their callers want, and know about how many fail.

    The way up ends after 30 s, or after the hold that it is in by then.
    """
    pulls = [Pull(made(rng=random.Random(seed)), seed=seed).run(43.0, failing(share)) for seed in range(20)]
    climbed = [pull for pull in pulls if max(pull.levels) > 40.0]
    assert len(climbed) >= 13
    assert all(pull.limit.base_rate == pytest.approx(share, abs=0.05) for pull in climbed)


def test_who_is_acquitted_on_the_way_up_does_not_blame_the_load_from_then_on() -> None:
    """Of up to four in flight one pair alone tells next to nothing."""
    heard = 0
    for seed in range(10):
        pull = Pull(made(rng=random.Random(seed), highest=4.0), seed=seed)
        while pull.limit.inside()["blame"] == 0.5:
            pull.run(0.25, failing(0.3))
        if max(pull.bases) > 0.0:
            assert pull.limit.inside()["blame"] < 0.02, "before any pair"
            heard += 1
            pull.run(8.0, failing(0.3))
            assert pull.limit.inside()["blame"] < 0.2
    assert heard >= 6


@pytest.mark.parametrize("capacity", [1.0, 2.0, 4.0, 8.0])
def test_failures_that_rose_on_the_way_up_are_not_acquitted(capacity: float) -> None:
    """It is found before two and a half times of it."""
    for seed in range(10):
        pull = Pull(made(rng=random.Random(seed)), seed=seed).run(32.0, full_by_chance(capacity))
        assert max(pull.bases) == 0.0
        assert max(pull.levels) < 2.5 * capacity


@pytest.mark.parametrize("share", [0.5, 0.6, 0.75, 1.0])
def test_a_half_or_more_is_never_acquitted(share: float) -> None:
    for seed in range(3):
        pull = Pull(pinned(8.0), seed=seed).run(300.0, failing(share))
        assert max(pull.bases) < 0.5


def test_an_app_that_rests_keeps_what_it_had_where_all_is_well() -> None:
    pull = Pull(made()).run(60.0, fine)
    before = pull.limit.limit
    pull.callers = 1
    pull.run(300.0, fine)
    assert pull.limit.limit == before > 10.0


def test_an_app_that_rests_a_moment_finds_about_what_it_had() -> None:
    """A tenth fails, as it does at the edge; then but one caller for eight seconds. Now and then a cut falls into it."""
    found = []
    for seed in range(8):
        pull = Pull(made(rng=random.Random(seed)), seed=seed).run(200.0, full_above(10))
        before = pull.successes / pull.seconds
        pull.callers = 1
        pull.run(8.0, fine)
        pull.callers = 40
        pull.run(20.0, full_above(10))
        found.append(pull.successes / pull.seconds / before)
    assert sum(found) / len(found) > 0.8
    assert min(found) > 0.45


# the gate


def test_while_the_gate_is_closed_nothing_moves_it() -> None:
    """Attempts from before, probes, ticks and half an hour: all the same."""
    pull = Pull(made()).run(60.0, full_above(8))
    limit, now = pull.limit, pull.now
    limit.on_gate_closed(now)
    before = limit.limit
    for number in range(1000):
        now += 1.8
        limit.next_start_s(now)
        limit.on_start(now)
        limit.on_outcome(ended(now, 1.7), Verdict.DROPPED if number % 7 else Verdict.IGNORE)
        assert limit.limit == before


def test_when_it_opens_most_of_what_was_known_is_in_force_and_soon_all() -> None:
    pull = Pull(made()).run(120.0, full_above(8))
    limit, before = pull.limit, pull.limit.limit
    limit.on_gate_closed(pull.now)
    pull.now += 300.0
    pull.limit.on_gate_opened(pull.now)
    assert 0.7 * before < limit.limit < before
    pull.run(12.0, full_above(8))
    assert limit.limit > 0.85 * before


def test_cuts_on_the_way_into_an_outage_are_taken_back() -> None:
    """The failures that closed the gate had cut the limit first; they were the outage's."""
    pull = Pull(made()).run(120.0, full_above(8))
    before = pull.limit.limit
    while pull.limit.limit > 0.7 * before:
        pull.run(0.5, broken)
    pull.limit.on_gate_closed(pull.now)
    pull.limit.on_gate_opened(pull.now + 60.0)
    assert pull.limit.limit > 0.75 * before


def test_a_gate_that_flaps_long_after_a_cut_does_not_bring_back_the_height_of_then() -> None:
    limit, now = made(start=60.0), START
    while not any("cut" in words for _, words in limit.notes):
        now += 0.05
        limit.next_start_s(now)
        limit.on_start(now)
        limit.on_outcome(ended(now, 0.01), Verdict.DROPPED)
    limit.set_bounds(LOWEST, 5.0)
    limit.set_bounds(LOWEST, 256.0)
    now += 3600.0
    for _ in range(3):
        before = limit.limit
        limit.on_gate_closed(now)
        limit.on_gate_opened(now + 2.0)
        now += 4.0
        assert limit.limit <= before


@pytest.mark.parametrize("later_s", [4.0, 3600.0])
def test_a_cut_never_raises_it(later_s: float) -> None:
    """It was cut at 60, then came down to 5 in other ways, and a gate opened; a third of the attempts fails."""
    limit, now, rng = made(start=60.0), START, random.Random(1)
    for number in range(4000):
        now += 0.02
        if number == 1000:
            now += later_s
            limit.set_bounds(LOWEST, 5.0)
            limit.set_bounds(LOWEST, 256.0)
            limit.on_gate_closed(now)
            limit.on_gate_opened(now)
        limit.next_start_s(now)
        limit.on_start(now)
        before = limit.limit
        limit.on_outcome(ended(now, 0.01), Verdict.SUCCESS if rng.random() < 0.7 else Verdict.DROPPED)
        assert limit.limit <= before
    assert sum(words.startswith("cut") for _, words in limit.notes) > 3


def test_an_outage_on_the_way_up_is_no_end_of_it() -> None:
    """The upstream is down when the pod starts, or a second later; then it climbs as it would have."""
    for lives_s in (0.0, 1.0):
        pull = Pull(made()).run(lives_s, fine)
        pull.limit.on_gate_closed(pull.now)
        pull.now += 60.0
        pull.run(0.2, fine)
        pull.limit.on_gate_opened(pull.now)
        pull.run(15.0, full_above(8))
        assert pull.limit.limit > 5.0


# the operator


def test_it_starts_within_its_bounds() -> None:
    assert made().limit == 1.0
    assert made(start=3.0, lowest=5.0).limit == 5.0
    assert made(start=300.0, highest=20.0).limit == 20.0
    assert made(start=3.0, lowest=5.0).value == 5


def test_other_bounds_move_it_into_them_and_no_further() -> None:
    pull = Pull(made()).run(60.0, full_above(8))
    limit, before = pull.limit, pull.limit.limit
    known = limit.inside()["pairs"]
    limit.set_bounds(LOWEST, 300.0)
    assert limit.limit == before
    limit.set_bounds(LOWEST, 2.0)
    assert limit.limit == 2.0
    limit.next_start_s(pull.now)
    assert limit.value <= 3
    limit.set_bounds(12.0, 300.0)
    assert limit.limit == 12.0
    assert limit.inside()["pairs"] == known
    before_run = len(pull.levels)
    pull.run(60.0, full_above(2))
    assert min(pull.levels[before_run:]) == 12.0


def test_what_it_has_inside_can_be_shown_as_gauges_and_as_json() -> None:
    pull = Pull(made())
    for upstream in (fine, full_above(3), broken, failing(0.3)):
        pull.run(20.0, upstream)
        inside = pull.limit.inside()
        assert all(isinstance(value, float) and not math.isnan(value) for value in inside.values())
        text = json.dumps({name: _number(value) for name, value in inside.items()}, allow_nan=False)
        assert set(json.loads(text)) == set(inside)
    assert made().inside()["ceiling"] == math.inf
    assert inside["exact"] == pull.limit.limit


def test_it_tells_what_it_decided_in_order_and_not_without_end() -> None:
    pull = Pull(made())
    for _ in range(60):
        pull.run(20.0, full_above(8)).run(5.0, broken)
    times = [at for at, _ in pull.limit.notes]
    assert times == sorted(times)
    assert 20 < len(times) <= 200
    assert all(words for _, words in pull.limit.notes)
