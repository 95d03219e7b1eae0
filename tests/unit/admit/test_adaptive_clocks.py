"""The learning limit and odd clocks: a wall clock that is put right, a machine that sleeps, an answer that took for ever."""

from __future__ import annotations

import pytest

from proxy.admit.leap import LEAP
from proxy.admit.limit import Verdict
from tests.fakes.pull import LATENCY_S, START, WALL, Pull, failing, fine, full_above, made, settled


@pytest.mark.parametrize("jump_s", [3 * 3600.0, -3 * 3600.0, 0.7, -0.7, -WALL])
def test_a_wall_clock_that_is_put_right_disturbs_nothing(jump_s: float) -> None:
    """There and back, again and again: it goes on ticking, and keeps about the limit that it had."""
    pull = Pull(made()).run(120.0, full_above(8))
    before, asked = pull.limit.limit, pull.asked
    for number in range(40):
        wall = WALL + pull.now - START
        pull.limit.set_wall(pull.now, wall + jump_s if number % 2 == 0 else wall)
        pull.run(1.7, full_above(8))
    assert pull.successes / pull.seconds > 0.5 * 8 / LATENCY_S
    assert 0.5 * before < pull.limit.limit < 2.0 * before
    assert pull.asked - asked < 40 * 1.7 * 400


def test_two_pods_swing_together_once_their_clocks_are_right() -> None:
    pulls = [settled(10.0, seed=seed).run(0.1, fine) for seed in (1, 2)]

    def swings(seconds: int) -> list[tuple[int, int]]:
        """Whether each is up or down, four times a second and never as a half ends."""
        found = []
        for _ in range(4 * seconds):
            one, other = (pull.run(0.25, fine).limit.value for pull in pulls)
            found.append(((one > 10) - (one < 10), (other > 10) - (other < 10)))
        return found

    pulls[1].limit.set_wall(pulls[1].now, WALL + pulls[1].now - START + 1234.5)
    assert sum(one != other for one, other in swings(30)) > 30
    pulls[1].limit.set_wall(pulls[1].now, WALL + pulls[1].now - START)
    swings(8)
    together = swings(60)
    assert all(one == other for one, other in together)
    assert {one for one, _ in together} >= {-1, 1}


@pytest.mark.parametrize("gap_s", [20.0, 3600.0, 1e9])
def test_a_machine_that_sleeps_goes_on_where_it_was(gap_s: float) -> None:
    """With attempts under way, which end after it and seem to have taken that long: some well, some not."""
    pull = Pull(made()).run(120.0, full_above(8))
    before, asked = pull.limit.limit, pull.asked
    assert pull.inflight > 4
    pull.now += gap_s
    pull.limit.next_start_s(pull.now)
    assert 0.5 * before <= pull.limit.limit <= LEAP * before * 1.001, "it may wake up as a leap begins"
    pull.run(60.0, full_above(8))
    assert pull.successes / pull.seconds > 0.5 * 8 / LATENCY_S
    assert pull.asked - asked < 60 * 400


def test_one_answer_that_took_very_long_holds_up_nobody() -> None:
    pull = Pull(made()).run(120.0, full_above(8))
    before = pull.successes / pull.seconds
    pull.limit.on_start(pull.now)
    pull.inflight += 1
    pull.end(pull.now - 1800.0, Verdict.SUCCESS)
    pull.run(1.0, failing(0.5)).run(30.0, full_above(8))
    assert pull.successes / pull.seconds > 0.7 * before
