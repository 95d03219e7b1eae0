"""The way up: steps while latency stays, a hold and an end when it does not, patience with an upstream that takes long.

Failures that do not rise with the height are borne.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.admit.ramp import Ramp

WALL = 1_700_000_000.0
QUARTER_S = 0.25
HOLD_S = 6.0
LONGEST_S = 12.0
"""How long the height is held where fewer than 40 attempts of the step ended."""


def step(ramp: Ramp, now: float, *, ok: int = 0, bad: int = 0, took_s: float = 0.1) -> None:
    """Attempts that began on the step and ended by now; those that failed are the last, one after the other."""
    for number in range(ok + bad):
        ramp.note(now, number < ok, took_s)


def mixed(ramp: Ramp, now: float, n: int, bad: int, bad_s: float = 0.1) -> None:
    """The same in 100 ms each, with the failures evenly among them, of other times if so."""
    for number in range(n):
        succeeded = (number + 1) * bad // n == number * bad // n
        ramp.note(now, succeeded, 0.1 if succeeded else bad_s)


def verdict(ramp: Ramp, now: float, height: float = 1.0) -> str:
    return ramp.verdict(now, WALL + now, height)


def stopped(*before_s: float, took_s: float) -> tuple[Ramp, float]:
    """One that holds because of so slow a step after others, and when it began to."""
    ramp, now = Ramp(0.0), 0.0
    for mean_s in before_s:
        now += 1.0
        step(ramp, now, ok=12, took_s=mean_s)
        assert verdict(ramp, now) == "up"
    now += 1.0
    step(ramp, now, ok=12, took_s=took_s)
    assert verdict(ramp, now) == ""
    return ramp, now


def held(ramp: Ramp, since: float, seconds: float = HOLD_S) -> str:
    """Let the hold pass, in which it must be silent; return what it says then."""
    now = since
    while now < since + seconds - QUARTER_S:
        now += QUARTER_S
        assert verdict(ramp, now) == ""
    return verdict(ramp, since + seconds)


def heights(failed: list[int], n: int = 20) -> list[str]:
    """Climb one height a second, at which so many of n fail, evenly among them; return the verdicts up to one that is no step."""
    ramp, said = Ramp(0.0), []
    for number, bad in enumerate(failed):
        now = 1.0 + number
        mixed(ramp, now, n, bad)
        said.append(verdict(ramp, now, 1.25**number))
        if said[-1] != "up":
            break
    return said


def climbed_among(bad: int) -> Ramp:
    """One that went up five heights, a second each, at each of which so many of 100 failed."""
    ramp = Ramp(0.0)
    for number in range(5):
        mixed(ramp, 1.0 + number, 100, bad)
        assert verdict(ramp, 1.0 + number, 1.25**number) == "up"
    return ramp


def climb(
    latency_s: Callable[[float], float], per_s: Callable[[float], float], seconds: float = 60.0
) -> tuple[float, float, str]:
    """Let a limit of 1 climb; return when and how high it stopped and what was said."""
    ramp, limit, now, owed = Ramp(0.0), 1.0, 0.0, 0.0
    while now < seconds:
        now += QUARTER_S
        owed += per_s(limit) * QUARTER_S
        for _ in range(int(owed)):
            ramp.note(now - latency_s(limit), True, latency_s(limit))
        owed -= int(owed)
        verdict = ramp.verdict(now, WALL + now, limit)
        if verdict == "up":
            limit *= 1.25
        elif verdict:
            return now, limit, verdict
    return now, limit, ""


def test_the_worked_example_of_the_docstring() -> None:
    """100 ms, then 102 ms, then 178 ms of 12 answers each: the third stops it, and with 28 more it ends 6 s later."""
    ramp, since = stopped(0.1, 0.102, took_s=0.178)
    step(ramp, since + 1.0, ok=28, took_s=0.178)
    assert held(ramp, since) == "latency is 178 ms, 1.7 times the lowest seen"


@pytest.mark.parametrize(
    ("more", "after_s", "seconds"),
    [(28, 5.0, 6.0), (27, 5.0, 12.0), (0, 5.0, 12.0), (28, 8.0, 8.25), (28, 11.5, 11.75)],
)
def test_the_height_is_held_until_40_ended_for_6_to_12_s(more: int, after_s: float, seconds: float) -> None:
    """12 stopped it; so many more come so late, and what it says then is said a quarter of a second later at the latest."""
    ramp, since = stopped(0.1, took_s=0.2)
    assert held(ramp, since, after_s) == ""
    step(ramp, since + after_s, ok=more, took_s=0.2)
    assert held(ramp, since + after_s, seconds - after_s).startswith("latency is 200 ms, ")


def test_one_millisecond_less_and_the_climb_goes_on() -> None:
    """176 ms: 181 / 105 = 1.72 is the bound."""
    ramp = Ramp(0.0)
    for second, took_s in ((1.0, 0.1), (2.0, 0.102), (3.0, 0.175)):
        step(ramp, second, ok=12, took_s=took_s)
        assert verdict(ramp, second) == "up"


def test_fewer_answers_need_a_clearer_rise() -> None:
    """The same 178 ms of 6 answers could be chance; 200 ms could not."""
    for took_s, stops in ((0.178, False), (0.2, True)):
        ramp = Ramp(0.0)
        step(ramp, 1.0, ok=12, took_s=0.1)
        assert ramp.verdict(1.0, WALL + 1.0, 1.0) == "up"
        step(ramp, 4.0, ok=6, took_s=took_s)
        assert ramp.verdict(4.0, WALL + 4.0, 1.0) == ("" if stops else "up")


def test_what_looked_slow_and_was_chance_lets_the_climb_go_on() -> None:
    """12 of 178 ms, then 60 of 100 ms: 113 ms in all are no slower than a fifth more than 101 ms."""
    ramp, since = stopped(0.1, 0.102, took_s=0.178)
    step(ramp, since + 3.0, ok=60, took_s=0.1)
    assert held(ramp, since) == "up"
    step(ramp, since + HOLD_S + 1.0, ok=12, took_s=0.1)
    assert verdict(ramp, since + HOLD_S + 1.0) == "up", "and so do its steps"


@pytest.mark.parametrize(("took_s", "is_chance"), [(0.139, True), (0.149, False)])
def test_what_looked_slow_is_held_against_all_steps_before_it(took_s: float, is_chance: bool) -> None:
    """100 and 140 ms, of which the fifth more is 144 ms: the 100 alone may have been low by chance."""
    ramp, since = stopped(0.1, 0.14, took_s=0.2)
    step(ramp, since + 1.0, ok=1200, took_s=took_s)
    assert (held(ramp, since) == "up") is is_chance


def test_what_came_before_the_stop_counts_as_well() -> None:
    """12 of 178 ms and 12 of 90 ms are 134 ms."""
    ramp, since = stopped(0.1, 0.102, took_s=0.178)
    step(ramp, since + 3.0, ok=12, took_s=0.09)
    assert held(ramp, since, LONGEST_S) == "latency is 178 ms, 1.7 times the lowest seen"


def test_it_may_stop_again_after_what_was_chance_and_end_then() -> None:
    ramp, since = stopped(0.1, 0.1, took_s=0.2)
    step(ramp, since + 1.0, ok=100, took_s=0.1)
    assert held(ramp, since) == "up"
    again = since + HOLD_S + 1.0
    step(ramp, again, ok=12, took_s=0.25)
    assert verdict(ramp, again) == ""
    assert held(ramp, again, LONGEST_S).startswith("latency is 250 ms, ")


@pytest.mark.parametrize(("bad", "ends"), [(6, False), (7, True)])
def test_who_stopped_goes_on_only_if_no_more_than_a_fifth_failed_meanwhile(bad: int, ends: bool) -> None:
    """12 were slow, 18 more are quick or fail: 30 in all."""
    ramp, since = stopped(0.1, 0.1, took_s=0.19)
    step(ramp, since + 1.0, ok=30 - 12 - bad, bad=bad, took_s=0.02)
    said = held(ramp, since, LONGEST_S)
    assert said == ("latency is 190 ms, 1.9 times the lowest seen" if ends else "up")


@pytest.mark.parametrize(("bad", "ends"), [(43, False), (45, True)])
def test_of_those_that_fail_meanwhile_the_borne_are_left_out(bad: int, ends: bool) -> None:
    """Three tenths failed at five heights: now 13 or 15 more of the 70 that would go well, of which a fifth is 14."""
    ramp = climbed_among(30)
    mixed(ramp, 6.0, 100, 45)
    assert verdict(ramp, 6.0, 1.25**5) == ""
    mixed(ramp, 7.0, 100, 2 * bad - 45)
    assert held(ramp, 6.0) == ("45 of 100 attempts failed" if ends else "up")


def test_failures_that_were_chance_let_the_climb_go_on() -> None:
    """6 of 19, one after the other, and none of the 40 that follow."""
    ramp = Ramp(0.0)
    step(ramp, 1.0, ok=12)
    assert verdict(ramp, 1.0) == "up"
    step(ramp, 2.0, ok=13, bad=6)
    assert verdict(ramp, 2.0) == ""
    step(ramp, 3.0, ok=40)
    assert held(ramp, 2.0) == "up"


def test_a_stop_on_the_first_step_can_be_chance_too() -> None:
    """The same where there is no step before it to hold its latency against."""
    ramp = Ramp(0.0)
    step(ramp, 1.0, ok=13, bad=6)
    assert verdict(ramp, 1.0) == ""
    step(ramp, 2.0, ok=40)
    assert held(ramp, 1.0) == "up"
    step(ramp, 8.0, ok=40)
    assert verdict(ramp, 8.0) == "up"


def test_what_began_before_the_step_tells_nothing_in_the_hold_either() -> None:
    ramp, since = stopped(0.1, 0.1, took_s=0.2)
    for _ in range(500):
        ramp.note(since - 2.0, True, 0.01)
    assert held(ramp, since) != "up"


@pytest.mark.parametrize(
    ("n", "after_s", "verdict"),
    [
        (11, 2.0, ""),
        (12, 1.0, "up"),
        (6, 3.0, "up"),
        (5, 4.0, ""),
        (3, 5.0, "up"),
        (2, 6.0, ""),
        (0, 7.0, "up"),
    ],
)
def test_a_step_needs_twelve_answers_or_patience(n: int, after_s: float, verdict: str) -> None:
    ramp = Ramp(0.0)
    step(ramp, after_s, ok=n)
    assert ramp.verdict(after_s, WALL + after_s, 1.0) == verdict


def test_it_steps_as_the_wall_clock_turns_a_second_whenever_it_started() -> None:
    ramp = Ramp(10.0)
    wall, seen = WALL + 0.6, []
    for number in range(1, 200):
        now = 10.0 + number / 100
        step(ramp, now, ok=20 if number in (5, 100) else 0)
        if ramp.verdict(now, wall + number / 100, 1.0) == "up":
            seen.append(round(0.6 + number / 100, 2))
    assert seen == [1.0, 2.0]


def test_where_answers_abound_a_step_takes_a_quarter_of_a_second() -> None:
    stopped_at, limit, _ = climb(lambda _: 0.005, lambda limit: limit / 0.005, seconds=5.0)
    assert stopped_at == 5.0
    assert limit >= 1.25**18


def test_only_attempts_that_began_on_the_step_are_judged() -> None:
    ramp = Ramp(0.0)
    step(ramp, 1.0, ok=12)
    assert ramp.verdict(1.0, WALL + 1.0, 1.0) == "up"
    for _ in range(50):
        ramp.note(0.9, True, 5.0)
        ramp.note(0.9, False, 5.0)
    assert ramp.verdict(2.0, WALL + 2.0, 1.0) == "", "they were sent before it"


def unbeaten() -> Ramp:
    """One that saw no failure at three heights, so that none is borne at the next, from 4.0 on."""
    ramp = Ramp(0.0)
    for number in range(3):
        step(ramp, 1.0 + number, ok=12)
        assert verdict(ramp, 1.0 + number, 1.25**number) == "up"
    return ramp


@pytest.mark.parametrize(("ok", "bad"), [(9, 3), (10, 3), (11, 3), (15, 4)])
def test_some_failures_keep_it_on_its_step(ok: int, bad: int) -> None:
    """More than a fifth, but 3, or no more than 10 % + 0.5 / sqrt(19) = 21.5 %: the next are judged by themselves."""
    ramp = unbeaten()
    step(ramp, 4.0, ok=ok, bad=bad)
    assert verdict(ramp, 4.0, 1.25**3) == ""
    step(ramp, 5.0, ok=12)
    assert verdict(ramp, 5.0, 1.25**3) == "up"


@pytest.mark.parametrize(("ok", "bad"), [(12, 3), (16, 4), (20, 5), (60, 10)])
def test_no_more_than_a_fifth_failing_is_no_reason_to_stay(ok: int, bad: int) -> None:
    ramp = unbeaten()
    step(ramp, 4.0, ok=ok, bad=bad)
    assert verdict(ramp, 4.0, 1.25**3) == "up"


@pytest.mark.parametrize(("ok", "bad"), [(14, 4), (8, 4), (8, 8), (83, 17)])
def test_more_failures_stop_it(ok: int, bad: int) -> None:
    """4 of 18 are more than 10 % + 0.5 / sqrt(18) = 21.8 %, 17 of 100 more than 15 %."""
    ramp = unbeaten()
    step(ramp, 4.0, ok=ok, bad=bad)
    assert verdict(ramp, 4.0, 1.25**3) == ""
    step(ramp, 5.0, ok=ok * 4, bad=bad * 4 + 20)
    assert held(ramp, 4.0) == f"{bad} of {ok + bad} attempts failed"


@pytest.mark.parametrize(("ok", "bad"), [(13, 6), (9, 9)])
def test_more_failures_in_a_row_stop_it_on_the_first_step(ok: int, bad: int) -> None:
    ramp = Ramp(0.0)
    step(ramp, 1.0, ok=ok, bad=bad)
    assert verdict(ramp, 1.0) == ""
    assert held(ramp, 1.0, LONGEST_S) == f"{bad} of {ok + bad} attempts failed"


@pytest.mark.parametrize(("bad", "stops"), [(40, False), (41, True)])
def test_what_exceeds_the_borne_is_taken_of_what_would_go_well_else(bad: int, stops: bool) -> None:
    """Three tenths of 100 at five heights, then 41: 11 of the 70 that would go well are more than 15 %, 10 are not."""
    ramp = climbed_among(30)
    assert ramp.borne == pytest.approx(0.3)
    mixed(ramp, 6.0, 100, bad)
    assert verdict(ramp, 6.0, 1.25**5) == ("" if stops else "up")


@pytest.mark.parametrize(("ok", "bad"), [(9, 10), (0, 12), (5, 6)])
def test_more_than_half_failing_ends_it_at_once(ok: int, bad: int) -> None:
    ramp = Ramp(0.0)
    step(ramp, 3.0, ok=ok, bad=bad)
    assert verdict(ramp, 3.0) == f"{bad} of {ok + bad} attempts failed"


def test_slow_and_more_than_half_failing_ends_it_at_once() -> None:
    ramp = Ramp(0.0)
    step(ramp, 1.0, ok=12, took_s=0.1)
    assert verdict(ramp, 1.0) == "up"
    step(ramp, 2.0, ok=12, bad=13, took_s=0.3)
    assert verdict(ramp, 2.0) != ""


@pytest.mark.parametrize("bad", [3, 5, 6, 8])
def test_failures_that_do_not_rise_with_the_height_are_borne(bad: int) -> None:
    """15 to 40 % at every height, whatever the load."""
    assert heights([bad] * 14) == ["up"] * 14


@pytest.mark.parametrize("capacity", [1.5, 2.0, 4.0, 8.0])
def test_failures_that_rise_with_the_height_stop_it(capacity: float) -> None:
    """Carries so much and fails the rest; it is found before 1.6 times of it."""
    said = heights([round(20 * (1.0 - min(1.0, capacity / 1.25**number))) for number in range(20)])
    assert said[-1] == ""
    assert capacity < 1.25 ** (len(said) - 1) < 1.6 * capacity


def test_the_more_heights_were_seen_the_clearer_it_must_be_that_failures_do_not_rise() -> None:
    """A fifth, and a quarter at the sixth height: where the first had none, odds of 1.9 for no load are too few by then."""
    assert heights([2, 4, 4, 4, 4, 5]) == ["up"] * 6
    assert heights([1, 3, 4, 5]) == ["up"] * 4, "after three heights odds of next to nothing will do"
    assert heights([0, 2, 4, 4, 4, 5]) == ["up"] * 5 + [""]


def test_many_that_fail_at_once_are_too_many_however_steady_the_others_were() -> None:
    assert heights([2] * 7 + [9]) == ["up"] * 7 + [""]
    assert heights([9, 9]) == ["up"] * 2, "where no height is there to compare with"


def test_more_than_half_is_never_borne() -> None:
    ramp = Ramp(0.0)
    mixed(ramp, 1.0, 100, 60)
    assert verdict(ramp, 1.0) == "60 of 100 attempts failed"
    assert ramp.borne == 0.0


def test_failures_in_a_row_are_not_borne_however_steady() -> None:
    """A quota that is used up in every second: the last 5 of 20."""
    ramp = Ramp(0.0)
    step(ramp, 1.0, ok=15, bad=5)
    assert verdict(ramp, 1.0) == ""
    for second in (2.0, 3.0, 4.0):
        step(ramp, second, ok=15, bad=5)
        assert ramp.borne == 0.0
    assert held(ramp, 1.0) == "5 of 20 attempts failed"


@pytest.mark.parametrize(
    ("bad_s", "climbs"),
    [(0.0, 3), (0.04, 3), (0.06, 12), (0.3, 12)],
    ids=["at once", "fast", "slower", "slow"],
)
def test_failures_faster_than_half_of_an_answer_are_borne_for_three_heights_only(
    bad_s: float, climbs: int
) -> None:
    """Three tenths of 20 at every height: by then it can be seen that work is refused."""
    ramp = Ramp(0.0)
    for number in range(12):
        now = 1.0 + number
        mixed(ramp, now, 20, 6, bad_s)
        assert (ramp.borne == 0.0) is (number >= climbs)
        said = verdict(ramp, now, 1.25**number)
        assert said == ("up" if number < climbs else "")
        if not said:
            break


def test_what_is_borne_is_the_steady_share_of_all_heights() -> None:
    ramp = Ramp(0.0)
    assert ramp.borne == 0.0
    for number, bad in enumerate((4, 6, 5, 6, 4, 6)):
        mixed(ramp, 1.0 + number, 20, bad)
        assert verdict(ramp, 1.0 + number, 1.25**number) == "up"
        if number == 1:
            assert ramp.borne == pytest.approx(10 / 40)
    assert ramp.borne == ramp.rungs.steady == pytest.approx(0.25, abs=0.02)


def test_of_less_than_twelve_attempts_the_failures_are_borne_as_if_of_twelve() -> None:
    """Two that begin with a failure are no upstream that fails half."""
    ramp = Ramp(0.0)
    mixed(ramp, 1.0, 2, 1)
    assert ramp.borne == pytest.approx(1 / 12)


def test_nothing_is_borne_where_failures_rise_with_the_height() -> None:
    ramp = Ramp(0.0)
    for number, bad in enumerate((0, 0, 0, 0, 4)):
        mixed(ramp, 1.0 + number, 20, bad)
        verdict(ramp, 1.0 + number, 1.25**number)
    assert ramp.borne == 0.0


def test_only_attempts_on_the_step_are_borne() -> None:
    ramp = Ramp(0.0)
    mixed(ramp, 1.0, 20, 4)
    assert verdict(ramp, 1.0) == "up"
    for _ in range(50):
        ramp.note(0.9, False, 0.1)
    assert (ramp.rungs.ok, ramp.rungs.bad) == (16, 4)
    assert ramp.borne == pytest.approx(0.2)


@pytest.mark.parametrize("latency_s", [0.02, 0.1, 0.2])
def test_it_stops_a_little_beyond_where_queueing_begins(latency_s: float) -> None:
    """A station that serves 8 at a time: beyond it, latency grows with what is in flight."""
    stopped_at, limit, why = climb(
        lambda limit: latency_s * max(1.0, limit / 8), lambda limit: min(limit, 8.0) / latency_s, seconds=90.0
    )
    assert why.startswith("latency is ")
    assert 8.0 * 1.5 < limit < 8.0 * 2.8
    assert stopped_at < 45.0


def test_an_upstream_that_takes_long_is_not_taken_for_a_full_one() -> None:
    """8 s an answer: the first ones come after several steps, and none is judged too slow."""
    _, limit, why = climb(lambda _: 8.0, lambda limit: limit / 8.0, seconds=29.0)
    assert why == ""
    assert limit > 1.25**3


def test_it_ends_after_half_a_minute_whatever_comes() -> None:
    stopped_at, _, why = climb(lambda _: 0.1, lambda limit: 1.0, seconds=90.0)
    assert why == "nothing stood in the way"
    assert 30.0 < stopped_at < 45.0


def test_it_ends_where_answers_abound_and_nothing_stands_in_the_way() -> None:
    stopped_at, _, why = climb(lambda _: 0.1, lambda limit: min(limit, 64.0) / 0.1, seconds=90.0)
    assert why == "nothing stood in the way"
    assert 30.0 < stopped_at < 45.0


def test_the_floor_is_the_lowest_mean_a_little_below_it() -> None:
    ramp = Ramp(0.0)
    for second, took_s in ((1.0, 0.12), (2.0, 0.1), (3.0, 0.13)):
        step(ramp, second, ok=30, took_s=took_s)
        ramp.verdict(second, WALL + second, 1.0)
    assert 0.09 < ramp.floor_s < 0.11
