"""The leap: when all take it, what passes, what it is held against, and what becomes of a limit that leapt."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.adaptive import LOWEST
from proxy.admit.experiment import Half, Schedule
from proxy.admit.leap import LEAP, Leap
from tests.fakes.halves import half
from tests.fakes.pull import LATENCY_S, START, Pull, Upstream, broken, fine, full_above, made, settled


def leapt(it: Half, *before: Half) -> Leap:
    """A leap that is over: ``it``, after ``before``."""
    leap = Leap()
    for one in before or (half(40),):
        leap.note(one)
    leap.begin(it)
    leap.end()
    return leap


# when


def test_the_first_half_of_pair_3_in_4_is_one() -> None:
    leap = Leap()
    leap.note(half(40))
    assert [number for number in range(32) if leap.is_due(number)] == [6, 14, 22, 30]


@given(st.integers(0, 10**9))
def test_it_never_takes_the_place_of_a_calm_pairs_experiment(fourth: int) -> None:
    schedule, leap = Schedule(b"upstream"), Leap()
    schedule.duty = 6
    leap.note(half(40))
    (number,) = [number for number in range(8 * fourth, 8 * (fourth + 1)) if leap.is_due(number)]
    assert schedule.phase_of(number) == schedule.phase_of(number + 1) == 0


@pytest.mark.parametrize(
    ("before", "is_due"),
    [
        (half(5), True),
        (half(4), False),
        (half(40, binding=False), False),
        (half(40, clean=False), False),
    ],
    ids=["5 answers", "4 answers", "not held by the limit", "disturbed"],
)
def test_there_is_none_before_something_usable_is_known(before: Half, is_due: bool) -> None:
    leap = Leap()
    assert not leap.is_due(6)
    leap.note(before)
    assert leap.is_due(6) is is_due
    leap.forget()
    assert not leap.is_due(6)


@pytest.mark.parametrize(("took_s", "is_due"), [(0.12, False), (0.18, True)], ids=["passed", "failed"])
def test_what_was_usual_before_a_leap_that_passed_is_forgotten(took_s: float, is_due: bool) -> None:
    leap = leapt(half(40, took_s=took_s))
    assert leap.is_due(14) is is_due
    leap.note(half(40))
    assert leap.is_due(14)


# what passes


@pytest.mark.parametrize(
    ("took_s", "elasticity", "passes"), [(0.12, 1.0, True), (0.125, 0.90, True), (0.18, 0.0, False)]
)
def test_the_worked_example_of_the_docstring(took_s: float, elasticity: float, passes: bool) -> None:
    leap = leapt(half(40, took_s=took_s), half(40, took_s=0.12))
    assert leap.elasticity == pytest.approx(elasticity, abs=0.04)
    assert leap.has_passed is passes


@pytest.mark.parametrize(("elasticity", "passes"), [(0.77, True), (0.74, False)])
def test_its_error_is_that_of_the_docstring(elasticity: float, passes: bool) -> None:
    """0.16 for 40 answers, and 0.6 is to be exceeded by it."""
    took_s = 0.125 * LEAP ** (1.0 - elasticity) - 0.005
    leap = leapt(half(40, took_s=took_s))
    assert leap.elasticity == pytest.approx(elasticity)
    assert leap.has_passed is passes


@pytest.mark.parametrize(
    ("ok", "took_s", "passes"), [(8, 0.12, True), (7, 0.12, False), (8, 0.06, True), (7, 0.06, False)]
)
def test_few_answers_prove_nothing(ok: int, took_s: float, passes: bool) -> None:
    assert leapt(half(ok, took_s=took_s)).has_passed is passes


@pytest.mark.parametrize("over", [{"binding": False}, {"clean": False}], ids=["not held", "disturbed"])
def test_a_leap_that_was_not_taken_in_full_fails(over: dict[str, bool]) -> None:
    assert not leapt(half(200, **over)).has_passed


@pytest.mark.parametrize(
    ("before", "after", "passes"),
    [
        ((40, 0), (40, 2), True),
        ((40, 0), (40, 4), False),
        ((40, 10), (40, 10), True),
        ((40, 10), (60, 15), True),
        ((40, 10), (40, 18), False),
        ((40, 10), (40, 0), True),
    ],
)
def test_more_failures_than_before_fail_it_and_as_many_do_not(
    before: tuple[int, int], after: tuple[int, int], passes: bool
) -> None:
    assert leapt(half(*after), half(*before)).has_passed is passes


latencies = st.floats(0.001, 5.0)


@given(st.integers(0, 300), st.integers(0, 300), latencies, latencies, st.floats(0.0, 1.0))
def test_who_passes_would_with_more_answers_or_sooner_ones(
    ok: int, more: int, before_s: float, took_s: float, sooner: float
) -> None:
    before = half(40, took_s=before_s)
    if leapt(half(ok, took_s=took_s), before).has_passed:
        assert leapt(half(ok + more, took_s=took_s), before).has_passed
        assert leapt(half(ok, took_s=took_s * sooner), before).has_passed
        assert took_s + 0.005 < (before_s + 0.005) * LEAP**0.5


# what it is held against


def test_it_is_held_against_the_latest_four_halves() -> None:
    halves = [half(40, took_s=0.5), *[half(40, took_s=took_s) for took_s in (0.11, 0.13, 0.10, 0.14)]]
    leap = leapt(half(40, took_s=0.12), *halves)
    assert leap.elasticity == pytest.approx(1.0)


def test_leaps_in_a_row_are_held_against_what_was_before_the_first() -> None:
    """Each a tenth slower than the one before: the second is a fifth slower than what was usual."""
    leap = leapt(half(100, took_s=0.1323), half(40, took_s=0.12))
    assert leap.has_passed
    leap.begin(half(100, took_s=0.1458, limit=15.0))
    assert leap.end() == 15.0
    assert leap.elasticity == pytest.approx(0.53, abs=0.02)
    assert not leap.has_passed


def test_a_new_row_is_held_against_what_was_before_it() -> None:
    leap = leapt(half(100, took_s=0.18), half(40, took_s=0.12))
    assert not leap.has_passed
    for _ in range(4):
        leap.note(half(40, took_s=0.18))
    leap.begin(half(100, took_s=0.18))
    leap.end()
    assert leap.has_passed


def test_its_end_tells_where_it_began() -> None:
    leap = Leap()
    leap.note(half(40))
    it = half(40, limit=7.3)
    leap.begin(it)
    assert leap.half is it
    assert leap.end() == 7.3
    assert leap.half is None


# what is hopeless


@pytest.mark.parametrize(
    ("before", "ok", "bad", "is_hopeless"),
    [
        (half(40), 0, 7, False),
        (half(40), 0, 8, True),
        (half(40), 9, 9, False),
        (half(40), 8, 9, True),
        (half(40, 10), 4, 8, False),
        (half(40, 10), 3, 9, True),
    ],
)
def test_it_is_hopeless_once_more_than_half_fails_beyond_the_usual(
    before: Half, ok: int, bad: int, is_hopeless: bool
) -> None:
    leap = Leap()
    leap.note(before)
    assert not leap.is_hopeless()
    leap.begin(half(ok, bad))
    assert leap.is_hopeless() is is_hopeless


def test_who_gave_it_up_is_not_told_again() -> None:
    leap = Leap()
    leap.note(half(40))
    leap.begin(half(0, 20, clean=False))
    assert not leap.is_hopeless()


# the limit that leaps


def room_for(most: int, latency_s: float = LATENCY_S) -> Upstream:
    """Answers so many at a time, each in a tenth of a second; those beyond them share."""
    return lambda inflight, rng: (latency_s * max(1.0, inflight / most), True)


def jumps(levels: list[float]) -> list[tuple[float, float, float]]:
    """Each leap among the limits seen: from where, how far, and what came next."""
    steps = [level for number, level in enumerate(levels) if number == 0 or level != levels[number - 1]]
    return [
        (before, high, after)
        for before, high, after in zip(steps, steps[1:], steps[2:], strict=False)
        if high == before * LEAP
    ]


def until_a_leap(pull: Pull, upstream: Upstream) -> float:
    """Run until one is under way; return where it began, which may be where the pair before it has just moved the limit to."""
    for _ in range(2000):
        pull.run(0.05, upstream)
        it = pull.limit._leap.half
        if it is not None:
            assert pull.limit.limit == LEAP * it.limit
            return it.limit
    raise AssertionError("no leap")


def left(pull: Pull, upstream: Upstream) -> float:
    """Run until the limit leaves where it is; return after how long, to a fiftieth of a second."""
    before, since = pull.limit.limit, pull.now
    while pull.limit.limit == before:
        assert pull.now < since + 20.0
        pull.run(0.02, upstream)
    return pull.now - since


def experienced(most: int, slowest_s: float, latency_s: float, highest: float = 256.0) -> Pull:
    """A pull that had room for so many for two minutes, at first with slower answers, and had an upper bound."""
    pull = Pull(made(highest=highest), callers=1000)
    pull.run(50.0, room_for(most, slowest_s)).run(70.0, room_for(most, latency_s))
    pull.limit.set_bounds(LOWEST, 256.0)
    return pull


PARTS = pytest.mark.parametrize(
    ("slowest_s", "latency_s", "period_s", "lasts_s"),
    [
        (0.05, 0.05, 2.0, 1.0),
        (0.1, 0.1, 2.0, 1.0),
        (0.25, 0.25, 2.0, 1.0),
        (0.4, 0.4, 2.0, 2.0),
        (1.0, 0.57, 4.0, 2.0),
        (1.0, 0.75, 4.0, 4.0),
    ],
)
"""How long halves are, and how long a leap: half a half where settling takes less than a quarter of it, else all of it."""


@PARTS
def test_a_leap_that_did_not_pass_is_over_and_the_limit_is_back(
    slowest_s: float, latency_s: float, period_s: float, lasts_s: float
) -> None:
    """In the middle of the half; where answers are slow at its end, for too few would have come back."""
    upstream = room_for(8, latency_s)
    pull = experienced(8, slowest_s, latency_s)
    before = until_a_leap(pull, upstream)
    assert pull.limit._schedule.period_s == period_s
    assert left(pull, upstream) == pytest.approx(lasts_s, abs=0.08)
    assert pull.limit.limit == before
    if lasts_s < period_s:
        rest = pull.limit._half
        assert rest is not None
        assert not rest.is_clean, "what is left of the half tells nothing of the load"
        pull.levels = []
        pull.run(period_s - lasts_s - 0.1, upstream)
        assert set(pull.levels) == {before}, "and nothing moves it there"


@PARTS
def test_a_leap_that_passed_leaps_on_at_once(
    slowest_s: float, latency_s: float, period_s: float, lasts_s: float
) -> None:
    """Again and again after each such part."""
    pull = experienced(1000, slowest_s, latency_s, highest=10.0)
    before = until_a_leap(pull, room_for(1000, latency_s))
    assert pull.limit._schedule.period_s == period_s
    for row in (2, 3, 4):
        assert left(pull, room_for(1000, latency_s)) == pytest.approx(lasts_s, abs=0.08)
        assert pull.limit.limit == pytest.approx(before * LEAP**row)


def test_a_row_of_leaps_goes_on_beyond_its_half() -> None:
    """From 9 to above 60 in flight it takes six of them, a second each, and the last, which fails, is over as soon."""
    pull = Pull(made(), callers=300).run(90.0, room_for(8))
    heights = [until_a_leap(pull, room_for(60)), pull.limit.limit]
    since = pull.now
    while heights[-1] > heights[-2]:
        left(pull, room_for(60))
        heights.append(pull.limit.limit)
    assert pull.now - since == pytest.approx(len(heights) - 2.0, abs=0.1)
    assert len(heights) > 6
    assert heights[-1] == pytest.approx(1.2 * heights[-3])


def test_a_leap_that_finds_room_keeps_the_higher_limit() -> None:
    """Room for 8 for a minute and a half, then for 40; 38 callers."""
    pull = Pull(made(), callers=38).run(90.0, room_for(8))
    pull.levels = []
    before = until_a_leap(pull, room_for(40))
    pull.levels = []
    pull.run(60.0, room_for(40))
    assert min(pull.levels) >= LEAP * before
    assert any(words.startswith(f"leapt from {before:.2f} to") for _, words in pull.limit.notes)


def test_a_row_of_leaps_ends_where_the_room_does() -> None:
    pull = Pull(made(), callers=200).run(90.0, room_for(8))
    before = until_a_leap(pull, room_for(50))
    pull.levels = [before]
    pull.run(20.0, room_for(50))
    assert max(pull.levels) >= LEAP * LEAP * LEAP * before
    (*passed, failed) = jumps(pull.levels)
    assert all(after > high for _, high, after in passed)
    assert failed[2] == pytest.approx(1.2 * failed[0])
    assert pull.limit.limit < 50 * LEAP


@pytest.mark.parametrize("most", [4, 8, 16])
def test_a_leap_into_a_wall_goes_back_to_exactly_the_limit_before(most: int) -> None:
    pull = Pull(made(), callers=100).run(60.0, room_for(most))
    pull.levels = []
    pull.run(240.0, room_for(most))
    found = jumps(pull.levels)
    assert len(found) >= 5
    assert all(after == before for before, _, after in found)
    assert pull.successes / pull.seconds > 0.9 * most / LATENCY_S


def test_a_leap_into_failures_goes_back_to_exactly_the_limit_before_and_is_no_cut() -> None:
    pull = Pull(made(), callers=100).run(90.0, room_for(8))
    before = until_a_leap(pull, room_for(8))
    pull.run(0.9, broken)
    assert pull.limit.limit == before
    pull.run(1.0, room_for(8))
    assert pull.limit.limit == before
    assert not [words for _, words in pull.limit.notes if words.startswith("cut")]


def test_a_gate_that_closes_in_a_leap_restores_the_limit_from_before_it() -> None:
    pull = Pull(made(), callers=100).run(90.0, room_for(8))
    before = until_a_leap(pull, room_for(8))
    pull.limit.on_gate_closed(pull.now)
    assert pull.limit.limit == before
    pull.limit.next_start_s(pull.now + 60.0)
    assert pull.limit.limit == before
    pull.limit.on_gate_opened(pull.now + 60.0)
    assert pull.limit.limit == pytest.approx(0.85 * before)


def test_who_is_not_held_by_its_limit_does_not_leap() -> None:
    pull = Pull(made(), callers=100).run(44.0, room_for(8)).run(240.0, room_for(8), blocked=False)
    assert not [after for high, after in pairwise(pull.levels) if high == LEAP * after]


def test_nobody_leaps_in_the_first_45_s_or_within_30_s_of_a_cut() -> None:
    pull = Pull(made(), callers=100)
    leaps = []
    while pull.now < START + 600.0:
        before = pull.limit.limit
        pull.run(0.05, full_above(8))
        if pull.limit.limit == LEAP * before:
            leaps.append(pull.now)
    cuts = [at for at, words in pull.limit.notes if words.startswith("cut")]
    assert len(leaps) > 3
    assert len(cuts) > 3
    assert min(leaps) > START + 45.0
    assert not [leap for leap in leaps for cut in cuts if 0.0 < leap - cut < 30.0]


@pytest.mark.parametrize(("after_s", "slots"), [(1.2, 2), (4.0, 3), (12.0, 3)])
def test_who_was_cut_leaps_at_the_first_slot_more_than_30_s_later(after_s: float, slots: int) -> None:
    """So long after a slot of each 16 s: the second is 30.7 s later, or 28 s, which is too soon, or 20 s."""
    pull = Pull(made(), callers=100).run(90.0, room_for(8))
    until_a_leap(pull, room_for(8))
    slot = pull.now
    pull.run(after_s, room_for(8))
    while not any(words.startswith("cut") for _, words in pull.limit.notes):
        assert pull.now < slot + after_s + 0.5
        pull.run(0.02, broken)
    until_a_leap(pull, room_for(8))
    assert pull.now - slot == pytest.approx(16.0 * slots, abs=0.3)


def test_a_row_goes_on_though_answers_ask_for_longer_halves() -> None:
    """Halves of 2 s do for 0.79 s and not for 0.85 s; they are given up when the row is over."""
    pull = experienced(1000, 0.79, 0.79, highest=20.0)
    before = until_a_leap(pull, room_for(1000, 0.79))
    for row in (2, 3, 4):
        assert left(pull, room_for(1000, 0.85)) == pytest.approx(2.0, abs=0.08)
        assert pull.limit.limit == pytest.approx(before * LEAP**row)
    assert pull.limit._schedule.period_s == 2.0
    pull.run(20.0, room_for(1000, 0.85))
    assert pull.limit._schedule.period_s == 4.0


def test_a_row_that_an_upper_bound_ends_is_not_gone_on_with_later() -> None:
    """The operator raises it five seconds after; the next slot is eight later still."""
    pull = Pull(made(highest=40.0), callers=100).run(90.0, room_for(8))
    until_a_leap(pull, room_for(100))
    pull.run(5.0, room_for(100))
    assert 40.0 / LEAP < pull.limit.limit <= 40.0
    pull.limit.set_bounds(LOWEST, 100.0)
    pull.levels = []
    pull.run(8.0, room_for(100))
    assert not jumps([*pull.levels, 0.0])


def test_a_limit_that_cannot_rise_does_not_leap() -> None:
    """At its upper bound a leap would learn nothing, pass, and be followed by another for ever."""
    pull = settled(10.0).run(120.0, fine)
    assert not [words for _, words in pull.limit.notes if words.startswith("leapt")]


def test_a_row_of_leaps_that_a_question_ends_is_not_gone_on_with_later() -> None:
    """A stall just before, seen by the setback, which asks at the end of the half, as a leap passes; the next slot is 16 s on."""
    pull = Pull(made(), callers=100).run(90.0, room_for(8))
    until_a_leap(pull, room_for(40))
    since = pull.now
    pull.limit._setback._is_slow = True
    while not any(words.startswith("answers are suddenly slow") for _, words in pull.limit.notes):
        assert pull.now < since + 2.1
        pull.run(0.05, room_for(40))
    assert sum(words.startswith("leapt") for _, words in pull.limit.notes) == 2
    pull.levels = []
    pull.run(since + 15.5 - pull.now, room_for(40))
    assert any(" moved goodput as if " in words for _, words in pull.limit.notes), "it is over"
    assert not jumps(pull.levels)
