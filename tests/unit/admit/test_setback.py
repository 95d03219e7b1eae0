"""The setback: what is sudden, what half the load tells, how often it is asked, and what becomes of the limit."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.experiment import Half
from proxy.admit.setback import Setback
from tests.fakes.halves import half
from tests.fakes.pull import Pull, Upstream, broken, made

NOW = 1000.0


def after(*halves: Half, usual: int = 160) -> Setback:
    """What it makes of these, where so many answers a half were usual."""
    it = Setback()
    for one in (*[half(usual)] * 8, *halves):
        it.note(one)
    return it


def asked(before_s: float, *answers_s: float) -> Setback:
    """Half the load is tried at NOW; these answers came once the crowd had drained."""
    it = after(half(40), half(40))
    it.note_answer(NOW - 1.0, before_s)
    it.begin(NOW, 8.0)
    for took_s in answers_s:
        it.note_answer(NOW + max(2.5, 1.8 * before_s) + 0.1, took_s)
    return it


# what is sudden


def test_a_drop_to_an_eighth_of_the_answers_is_to_be_asked_about_if_it_lasts() -> None:
    assert not after(half(160), half(160)).is_due(NOW)
    assert not after(half(20)).is_due(NOW)
    assert after(half(20), half(20)).is_due(NOW)
    assert after(half(0), half(0)).is_due(NOW)


@pytest.mark.parametrize(("ok", "is_due"), [(60, True), (61, False)])
def test_less_than_38_per_cent_is(ok: int, is_due: bool) -> None:
    assert after(half(ok), half(20)).is_due(NOW) is is_due


def test_who_has_fewer_threads_than_its_limit_asks_too() -> None:
    """Five threads under a limit of 5 never wait for it, and are as much of the load as any other five."""
    drop = half(20, binding=False, used=0.8)
    assert after(drop, drop).is_due(NOW)


@pytest.mark.parametrize("kept", [0.9, 0.8])
def test_a_gradual_drop_is_not(kept: float) -> None:
    it = after()
    for number in range(1, 13):
        it.note(half(int(160 * kept**number)))
        assert not it.is_due(NOW)


@pytest.mark.parametrize(
    "drop",
    [
        half(20, 10),
        half(0, 100),
        half(20, binding=False, used=0.7),
        half(20, clean=False),
        half(0, seconds=0.7),
    ],
    ids=["failures", "nothing but failures", "not held by the limit", "disturbed", "too short"],
)
def test_a_drop_that_has_another_reason_is_not(drop: Half) -> None:
    assert not after(drop, drop).is_due(NOW)


def test_a_few_failures_are_no_reason() -> None:
    assert after(half(20), half(20, 4)).is_due(NOW)
    assert not after(half(20), half(20, 5)).is_due(NOW)


@pytest.mark.parametrize(("usual", "is_due"), [(9, False), (11, True)])
def test_where_too_few_answers_are_expected_their_absence_is_nothing(usual: int, is_due: bool) -> None:
    assert after(half(0), half(0), usual=usual).is_due(NOW) is is_due


def test_a_lower_limit_is_no_drop() -> None:
    assert not after(*[half(40, limit=2.5)] * 2).is_due(NOW)
    assert after(*[half(5, limit=2.5)] * 2).is_due(NOW)


def test_who_could_not_ask_at_once_may_later_and_not_once_it_is_over() -> None:
    assert after(*[half(20)] * 8).is_due(NOW)
    assert not after(half(20), half(20), half(160)).is_due(NOW)
    assert not after(half(20), half(160), half(20)).is_due(NOW)


def test_what_was_usual_is_not_forgotten_for_one_drop() -> None:
    assert after(half(20), half(20), half(160), half(20), half(20)).is_due(NOW)


# a shift of latency that is not asked about


@pytest.mark.parametrize(
    ("took_s", "has_shifted"), [(0.12, False), (0.19, False), (0.20, True), (0.08, False), (0.06, True)]
)
def test_a_shift_of_latency_is_told_once(took_s: float, has_shifted: bool) -> None:
    it = after()
    assert it.note(half(120, took_s=took_s)) is has_shifted
    assert it.note(half(120, took_s=took_s)) is False


def test_a_shift_that_is_to_be_asked_about_or_rests_on_few_answers_is_not_told() -> None:
    assert after().note(half(20, took_s=0.9)) is False
    assert after().note(half(4, took_s=0.9, seconds=0.5)) is False
    assert after().note(half(120, took_s=0.9, binding=False, used=0.7)) is False


def test_latency_that_creeps_is_no_shift() -> None:
    it, took_s = after(), 0.12
    for _ in range(20):
        took_s *= 1.1
        assert it.note(half(120, took_s=took_s)) is False


# when there is an answer


@pytest.mark.parametrize(("answers", "at_s"), [(8, 0.2), (7, 3.6), (3, 3.6), (2, 10.7), (0, 10.7)])
def test_eight_answers_will_do_or_three_after_a_while_or_none_at_last(answers: int, at_s: float) -> None:
    """Seconds after the crowd of before has drained, with answers of 0.9 s before; nothing is waited for for ever."""
    it = asked(0.9, *[0.9] * answers)
    drained = NOW + 2.5
    assert it.is_on
    if at_s > 1.0:
        assert not it.has_answer(drained + at_s - 0.3)
    assert it.has_answer(drained + at_s)


def test_the_crowd_of_before_says_nothing() -> None:
    it = asked(0.9)
    for _ in range(50):
        it.note_answer(NOW + 1.0, 0.1)
    assert not it.has_answer(NOW + 2.0)
    assert not it.end(NOW + 30.0)


# the verdict


@pytest.mark.parametrize(
    ("after_s", "stays_down"),
    [(0.9, False), (0.6, False), (0.5, True), (0.45, True), (0.225, True), (1.8, False)],
    ids=["unchanged", "a third less", "nearly half", "half", "a quarter", "twice"],
)
def test_it_stays_down_where_half_the_load_does_as_well(after_s: float, stays_down: bool) -> None:
    it = asked(0.9, *[after_s] * 8)
    assert it.end(NOW + 5.0) is stays_down
    assert not it.is_on


def test_the_worked_example_of_the_docstring() -> None:
    it = asked(0.75, *[0.19] * 8)
    assert it.end(NOW + 3.0)
    assert it.elasticity == pytest.approx(-0.95, abs=0.01)


def test_where_nothing_answers_it_goes_back_up() -> None:
    it = asked(0.9)
    assert it.has_answer(NOW + 13.3)
    assert it.end(NOW + 13.3) is False
    assert it.elasticity == 1.0


@given(st.floats(0.5, 60.0), st.lists(st.floats(0.0, 60.0), min_size=1, max_size=20), st.floats(0.0, 1.0))
def test_latency_that_hardly_fell_never_keeps_it_down_and_less_of_it_never_up(
    before_s: float, answers_s: list[float], less: float
) -> None:
    it = asked(before_s, *answers_s)
    stays_down = it.end(NOW + 100.0)
    assert math.isfinite(it.elasticity)
    if stays_down:
        assert sum(answers_s) / len(answers_s) < 0.62 * before_s
        assert asked(before_s, *[less * took_s for took_s in answers_s]).end(NOW + 100.0)


def test_slowness_is_proven_to_be_the_loads_for_a_minute() -> None:
    it = asked(0.9, *[0.2] * 8)
    assert not it.is_proven(NOW)
    assert it.end(NOW + 5.0)
    assert it.is_proven(NOW + 64.9)
    assert not it.is_proven(NOW + 65.0)
    it = asked(0.9, *[0.9] * 8)
    assert not it.end(NOW + 5.0)
    assert not it.is_proven(NOW + 6.0)


# how often


def gaps(count: int) -> list[float]:
    """Seconds between an answer and the next question, of an upstream that is slow all the time."""
    it, now, found = after(half(20), half(20)), NOW, []
    for _ in range(count):
        it.begin(now, 8.0)
        it.end(now + 5.0)
        ended_at = now = now + 5.0
        while not it.is_due(now):
            now += 0.5
        found.append(now - ended_at - 0.5)
    return found


def test_the_next_question_waits_18_s_and_then_three_times_as_long_up_to_5_minutes() -> None:
    assert gaps(4) == [18.0, 54.0, 162.0, 300.0]


def test_the_longest_gap_stays_the_longest() -> None:
    assert gaps(7)[3:] == [300.0] * 4


def test_after_a_long_peace_it_is_asked_as_at_first() -> None:
    it = after(half(20), half(20))
    for now in (NOW, NOW + 30.0, NOW + 100_000.0):
        assert it.is_due(now)
        it.begin(now, 8.0)
        it.end(now)
    assert not it.is_due(now + 17.9)
    assert it.is_due(now + 18.1)


# the limit that asks


def usual(inflight: int, rng: random.Random) -> tuple[float, bool]:
    """Answers eight at a time."""
    return 0.1 * max(1.0, inflight / 8), True


def dearer(inflight: int, rng: random.Random) -> tuple[float, bool]:
    """Six times as long, whatever the load."""
    return 0.6 * max(1.0, inflight / 8), True


def drowning(inflight: int, rng: random.Random) -> tuple[float, bool]:
    """Carries five as ever; with more, all are lost in each other's way."""
    return (0.1 if inflight <= 5 else 0.8), True


def asking(slow: Upstream) -> tuple[Pull, float]:
    """A pull in the moment of its question, and the limit that was halved."""
    pull = Pull(made(), callers=100).run(100.0, usual)
    for _ in range(400):
        before = pull.limit.limit
        pull.run(0.05, slow)
        if pull.limit.limit == 0.5 * before:
            return pull, before
    raise AssertionError("no question")


def heard(pull: Pull, slow: Upstream) -> Pull:
    """Run until the answer to the question moved the limit, or was told."""
    until = pull.now + 20.0
    while not said(pull, " moved goodput as if "):
        assert pull.now < until
        pull.run(0.05, slow)
    return pull


def said(pull: Pull, words: str) -> list[str]:
    return [said for _, said in pull.limit.notes if words in said]


def test_where_work_got_dearer_the_limit_goes_back_up_to_exactly_what_it_was() -> None:
    pull, before = asking(dearer)
    pull.run(1.0, dearer)
    assert pull.limit.limit == 0.5 * before
    assert heard(pull, dearer).limit.limit == before


def test_where_the_upstream_drowned_the_limit_stays_down_and_goodput_comes_back() -> None:
    pull, before = asking(drowning)
    assert heard(pull, drowning).limit.limit == pytest.approx(0.5 * before)
    pull.run(20.0, drowning)
    assert pull.limit.limit < 0.8 * before
    assert pull.successes / pull.seconds > 30.0


def test_a_cut_in_the_question_ends_it() -> None:
    """It stays where the cut and the way back from it have brought it."""
    pull, before = asking(dearer)
    while not said(pull, "cut from"):
        pull.run(0.05, broken)
    pull.levels = []
    pull.run(15.0, dearer)
    assert max(pull.levels) < 0.6 * before
    assert not said(pull, " moved goodput as if ")


def test_a_gate_that_closes_in_the_question_ends_it() -> None:
    pull, _ = asking(dearer)
    pull.limit.on_gate_closed(pull.now)
    pull.limit.on_gate_opened(pull.now + 60.0)
    pull.now += 60.0
    pull.run(9.5, dearer)
    assert not said(pull, " moved goodput as if ")


def test_a_gate_that_closes_in_the_question_restores_the_limit_from_before_it() -> None:
    pull, before = asking(dearer)
    pull.limit.on_gate_closed(pull.now)
    pull.limit.on_gate_opened(pull.now + 60.0)
    assert pull.limit.limit == pytest.approx(0.85 * before)


# how far down


@pytest.mark.parametrize(
    ("before_s", "after_s", "factor"),
    [
        (
            0.75,
            0.19,
            0.86,
        ),  # 1.33 times what was usual, which answers to the load with 1.98: 1.33^(-1 / 1.98)
        (0.75, 0.13, 1.0),
        (1.5, 0.5, 0.5),
        (0.3, 0.25, 1.0),
    ],
)
def test_who_drowned_goes_down_to_where_latency_is_nearly_usual(
    before_s: float, after_s: float, factor: float
) -> None:
    it = asked(before_s, *[after_s] * 8)
    it.end(NOW + 5.0)
    assert it.factor == pytest.approx(factor, abs=0.03)
