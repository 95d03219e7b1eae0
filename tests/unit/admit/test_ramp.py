"""The way up: steps while latency stays, an end when it does not, and patience with an upstream that takes long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.admit.ramp import Ramp

WALL = 1_700_000_000.0
QUARTER_S = 0.25


def step(ramp: Ramp, now: float, *, ok: int = 0, bad: int = 0, took_s: float = 0.1) -> None:
    """Attempts that began on the step and ended by now."""
    for number in range(ok + bad):
        ramp.note(now, number < ok, took_s)


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
        verdict = ramp.verdict(now, WALL + now)
        if verdict == "up":
            limit *= 1.25
        elif verdict:
            return now, limit, verdict
    return now, limit, ""


def test_the_worked_example_of_the_docstring() -> None:
    """100 ms, then 102 ms, then 178 ms of 12 answers each: the third ends it."""
    ramp = Ramp(0.0)
    for second, took_s in ((1.0, 0.1), (2.0, 0.102)):
        step(ramp, second, ok=12, took_s=took_s)
        assert ramp.verdict(second, WALL + second) == "up"
    step(ramp, 3.0, ok=12, took_s=0.178)
    assert ramp.verdict(3.0, WALL + 3.0) == "latency is 178 ms, 1.7 times the lowest seen"


def test_fewer_answers_need_a_clearer_rise() -> None:
    """The same 178 ms of 6 answers could be chance; 200 ms could not."""
    for took_s, ends in ((0.178, False), (0.2, True)):
        ramp = Ramp(0.0)
        step(ramp, 1.0, ok=12, took_s=0.1)
        assert ramp.verdict(1.0, WALL + 1.0) == "up"
        step(ramp, 4.0, ok=6, took_s=took_s)
        assert (ramp.verdict(4.0, WALL + 4.0) != "up") is ends


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
    assert ramp.verdict(after_s, WALL + after_s) == verdict


def test_it_steps_as_the_wall_clock_turns_a_second_whenever_it_started() -> None:
    ramp = Ramp(10.0)
    wall, seen = WALL + 0.6, []
    for number in range(1, 200):
        now = 10.0 + number / 100
        step(ramp, now, ok=20 if number in (5, 100) else 0)
        if ramp.verdict(now, wall + number / 100) == "up":
            seen.append(round(0.6 + number / 100, 2))
    assert seen == [1.0, 2.0]


def test_where_answers_abound_a_step_takes_a_quarter_of_a_second() -> None:
    stopped_at, limit, _ = climb(lambda _: 0.005, lambda limit: limit / 0.005, seconds=5.0)
    assert stopped_at == 5.0
    assert limit >= 1.25**18


def test_only_attempts_that_began_on_the_step_are_judged() -> None:
    ramp = Ramp(0.0)
    step(ramp, 1.0, ok=12)
    assert ramp.verdict(1.0, WALL + 1.0) == "up"
    for _ in range(50):
        ramp.note(0.9, True, 5.0)
        ramp.note(0.9, False, 5.0)
    assert ramp.verdict(2.0, WALL + 2.0) == "", "they were sent before it"


@pytest.mark.parametrize(
    ("ok", "bad", "verdict"),
    [
        (10, 2, "up"),
        (9, 3, ""),
        (15, 6, ""),
        (13, 6, "6 of 19 attempts failed"),
        (0, 12, "12 of 12 attempts failed"),
    ],
)
def test_failures_hold_it_and_many_end_it(ok: int, bad: int, verdict: str) -> None:
    ramp = Ramp(0.0)
    step(ramp, 1.0, ok=ok, bad=bad)
    assert ramp.verdict(1.0, WALL + 1.0) == verdict


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
        ramp.verdict(second, WALL + second)
    assert 0.09 < ramp.floor_s < 0.11
