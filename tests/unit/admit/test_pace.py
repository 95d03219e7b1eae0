"""A quota is learned from two openings; an outage is not taken for one, and a pace that is no help is given up."""

from __future__ import annotations

from itertools import pairwise

import pytest

from proxy.admit.pace import Pace

START = 1000.0


def carry(pace: Pace, since: float, seconds: float, count: int) -> float:
    """So many attempts go well, evenly spread; return when the stretch is over."""
    for number in range(count):
        pace.on_success(since + seconds * (number + 0.5) / count)
    return since + seconds


def opened(pace: Pace, now: float) -> str:
    """An attempt goes well and the gate opens."""
    pace.on_success(now)
    return pace.on_open(now)


def stretches(*counts: int, each_s: float = 60.0) -> tuple[Pace, float, list[str]]:
    """A pod that carries so many between one opening and the next; then comes a stop, and the gate opens."""
    pace, now = Pace(), START
    said = [opened(pace, now)]
    for count in counts:
        carry(pace, now, 0.2 * each_s, count - 1)
        now += each_s
        said.append(opened(pace, now))
    return pace, now, said


def starts(pace: Pace, since: float, seconds: float) -> list[float]:
    """Somebody always wants to start."""
    now, found = since, []
    while now < since + seconds:
        wait_s = pace.wait_s(now)
        if wait_s > 0.0:
            now += wait_s + 1e-9
            continue
        found.append(now)
        pace.on_start(now)
    return found


def test_without_an_outage_there_is_no_pace() -> None:
    pace = Pace()
    carry(pace, START, 600.0, 6000)
    assert (pace.rate, pace.wait_s(START + 600.0), pace.grow(START + 600.0)) == (0.0, 0.0, "")
    assert len(starts(Pace(), START, 0.0)) == 0


def test_a_quota_is_learned_from_two_openings() -> None:
    """The worked example of the docstring: 131, then 120 calls in a minute each, all in its first seconds."""
    pace, now, said = stretches(130, 120)  # and the one that opened the gate at first
    assert said[0] == ""
    assert pace.rate == pytest.approx(2.05, abs=0.005)
    assert said[2].startswith("pace 2.05/s: 131 and 120 attempts went well in the 60 and 60 s before")
    pace.grow(now + 60.0)
    assert pace.rate == pytest.approx(2.09, abs=0.005)


def test_one_stretch_is_tried_and_the_trial_is_soon_over() -> None:
    """131 in a minute, all in 12 s: 2.2/s at first, and no pace any more when it is as fast as the best 15 s were."""
    pace, now, said = stretches(130)
    assert said[1] == "begins at 2.18/s, as on average since the last opening, and twice as fast every 5 s"
    assert pace.rate == pytest.approx(131 / 60.0)
    pace.grow(now + 5.0)
    assert pace.rate == pytest.approx(2 * 131 / 60.0)
    pace.cut(now + 6.0, 0.1)
    assert pace.rate == pytest.approx(2 * 131 / 60.0), (
        "a cut takes nothing from a trial: the next stop decides"
    )
    for second in range(5, 16):
        pace.grow(now + second)
    assert pace.rate == 0.0
    assert pace.wait_s(now + 16.0) == 0.0


def test_an_app_that_rests_for_hours_while_a_pace_is_tried_comes_back() -> None:
    """Nobody asked meanwhile; two to the power of so many seconds is no number."""
    for rests_s in (6_000.0, 86_400.0, 1e9):
        pace, now, _ = stretches(130)
        assert pace.grow(now + rests_s) == ""
        assert pace.rate == 0.0


@pytest.mark.parametrize(("count", "each_s"), [(18, 60.0), (100, 7.9), (400, 301.0)])
def test_a_trifle_a_moment_or_an_outage_after_long_is_not_tried(count: int, each_s: float) -> None:
    assert stretches(count, each_s=each_s)[0].rate == 0.0


def test_who_waited_for_the_opening_need_not_wait_for_the_pace() -> None:
    """A tenth of a stretch's 120 at once in the first 3 s; the rest of the stretch goes so much slower."""
    pace, now, _ = stretches(120, 120)
    at_once = starts(pace, now, 0.1)
    assert len(at_once) == 12
    later = starts(pace, now + 0.1, 59.9)
    assert len(at_once) + len(later) == pytest.approx(60.0 * pace.rate, abs=3)
    assert stretches(130)[0].wait_s(START + 60.0) == 0.0


def test_what_was_not_wanted_at_the_opening_is_not_kept() -> None:
    pace, now, _ = stretches(120, 120)
    assert len(starts(pace, now + 3.1, 0.14)) <= 2


def test_the_pace_is_kept_and_leaves_a_little_room_for_chance() -> None:
    pace, now, _ = stretches(120, 120)
    found = starts(pace, now + 3.1, 60.0)
    assert len(found) == pytest.approx(60.0 * pace.rate, abs=3)
    gaps = [after - before for before, after in pairwise(found)]
    assert min(gaps[2:]) >= 1.0 / pace.rate - 1e-6
    carried = starts(pace, now + 600.0, 0.14)
    assert 1 <= len(carried) <= 2, "a pause is not made up for in a burst"


def test_a_part_of_what_is_carried_at_best_is_believed_even_if_the_counts_differ() -> None:
    """20 a second for a minute, next to nothing in the next: the mean is half the best."""
    assert stretches(1200, 10)[0].rate == pytest.approx(0.98 * 10.1, rel=0.01)


def test_counts_that_differ_and_are_a_trifle_are_no_quota() -> None:
    """A busy app that rests through two outages: 40 calls in a minute, then 3, where it had 20 a second."""
    pace = Pace()
    opened(pace, START)
    now = carry(pace, START, 400.0, 8000)
    for count in (0, 40, 3):
        now = carry(pace, now, 60.0, count)
        assert not opened(pace, now).startswith("pace")
        for second in range(30):
            pace.grow(now + second)
        assert pace.rate == 0.0


def test_an_idle_app_is_not_paced_to_nothing_by_two_outages() -> None:
    assert stretches(3, 3)[0].rate == 0.0


def test_an_app_that_rests_while_paced_is_not_paced_to_nothing() -> None:
    pace, _, _ = stretches(1200, 10, 1)
    assert pace.rate == 0.0 or pace.rate > 1.0


def test_outages_that_are_far_apart_are_no_quota() -> None:
    assert stretches(400, 400, 400, each_s=301.0)[0].rate == 0.0


def test_brief_openings_belong_to_the_stretch() -> None:
    """The gate opens for a moment three times while the quota is used up: it has not opened for good."""
    pace, now = Pace(), START
    for _ in range(3):
        opened(pace, now)
        now = carry(pace, now, 12.0, 117)
        for later_s in (0.0, 1.0, 2.0):
            opened(pace, now - 12.0 + later_s)
        now += 48.0
    assert pace.rate == pytest.approx(2.0, rel=0.05)


def test_it_grows_with_time_slowly_and_goes_when_it_has_tripled() -> None:
    pace, now, _ = stretches(120, 120)
    rate, rates = pace.rate, []
    for minute in range(1, 20):
        said = pace.grow(now + 60.0 * minute)
        rates.append(pace.rate)
        if said:
            break
    assert rates[0] == pytest.approx(rate * 1.02)
    assert rates[:-1] == sorted(rates[:-1])
    assert rates[-1] == 0.0
    assert len(rates) == pytest.approx(11, abs=1)
    assert said == "pacing ends: the rate tripled without an objection"
    assert pace.wait_s(now + 1e4) == 0.0


def test_an_objection_takes_it_back_to_what_went_well() -> None:
    pace, now, _ = stretches(120, 120)
    pace.grow(now + 200.0)
    pace.cut(now + 200.0, 2.0)
    assert pace.rate == pytest.approx(0.96 * 2.0)
    pace.grow(now + 201.0)
    assert pace.rate == pytest.approx(0.96 * 2.0, rel=0.01), "it grows from there"
    pace.cut(now + 201.0, 0.3)
    assert pace.rate == pytest.approx(0.75 * 0.96 * 2.0, rel=0.01), (
        "just after an opening, there was next to nothing"
    )
    idle = Pace()
    idle.cut(START, 1.5)
    assert idle.rate == 0.0, "there is nothing to take back"


def test_nothing_that_goes_well_leaves_one_try_in_a_while() -> None:
    pace, now, _ = stretches(120, 120)
    for _ in range(30):
        pace.cut(now, 0.0)
    assert 0.0 < pace.rate <= 0.1
    assert len(starts(pace, now + 1.0, 100.0)) >= 4


def test_two_misses_give_it_up_and_bar_it_for_a_while() -> None:
    """Under the pace much less went well, twice: so it is not the volume. For five minutes it is not tried again, then ten."""
    pace, now, _ = stretches(120, 120)
    barred = []
    for _ in range(2):
        said = ""
        for _ in range(4):
            now += 60.0
            carry(pace, now - 60.0, 12.0, 30)
            said = opened(pace, now)
            if not pace.rate:
                break
        assert said == "pacing ends: it was no help, so it is not the volume that fails"
        gave_up_at = now
        while not pace.rate:
            carry(pace, now, 12.0, 119)
            now += 60.0
            opened(pace, now)
            assert now < gave_up_at + 1000.0
        barred.append(now - gave_up_at)
    assert barred[0] == pytest.approx(300.0, abs=61.0)
    assert barred[1] == pytest.approx(600.0, abs=61.0)


def test_a_miss_is_forgotten_when_the_next_stretch_is_none() -> None:
    pace, now, _ = stretches(120, 120)
    for count in (40, 150, 160, 40, 150):
        carry(pace, now, 12.0, count - 1)
        now += 60.0
        opened(pace, now)
        assert pace.rate > 0.0


def test_a_first_opening_before_anything_went_well_is_the_first_and_no_stretch() -> None:
    """The upstream was down when the pod started."""
    pace = Pace()
    assert opened(pace, 5.0) == ""
    carry(pace, 5.0, 12.0, 100)
    assert opened(pace, 65.0).startswith("begins at 1.7")


# a rate that somebody else found


@pytest.mark.parametrize("rate", [0.5, 10.0, 200.0])
def test_at_a_rate_that_it_is_told_attempts_start_evenly_from_the_first_on(rate: float) -> None:
    pace = Pace()
    pace.follow(START, rate)
    assert pace.rate == rate
    found = starts(pace, START, 100.0 / rate)
    late = int(0.15 * rate)  # what a pause leaves to be made up for
    assert len(found) == pytest.approx(100 + late, abs=2)
    gaps = [after - before for before, after in pairwise(found)][late + 1 :]
    assert gaps == pytest.approx([1.0 / rate] * len(gaps), rel=1e-3)


def test_a_rate_of_nothing_ends_it() -> None:
    pace = Pace()
    pace.follow(START, 0.1)
    starts(pace, START, 1.0)
    assert pace.wait_s(START + 1.0) > 8.0
    pace.follow(START + 1.0, 0.0)
    assert (pace.rate, pace.wait_s(START + 1.0)) == (0.0, 0.0)
    assert pace.grow(START + 2.0) == ""
    pace.cut(START + 2.0, 3.0)
    assert pace.rate == 0.0


def test_what_it_is_told_is_neither_grown_nor_cut() -> None:
    """Whoever told it sees to that."""
    pace = Pace()
    pace.follow(START, 10.0)
    for second in range(0, 3600, 60):
        assert pace.grow(START + second) == ""
        pace.cut(START + second, 1.0)
        assert pace.rate == 10.0


def test_who_is_told_a_higher_rate_does_not_wait_for_the_lower_one() -> None:
    pace = Pace()
    pace.follow(START, 0.1)
    starts(pace, START, 1.0)
    pace.follow(START + 1.0, 10.0)
    assert pace.wait_s(START + 1.0) == pytest.approx(0.1)
    pace.follow(START + 1.0, 2.0)
    assert pace.wait_s(START + 1.0) == pytest.approx(0.1), "and nobody waits anew for a lower one"


@pytest.mark.parametrize("faster", [1.05, 1.0, 0.95])
def test_in_a_half_attempts_start_so_much_faster(faster: float) -> None:
    pace = Pace()
    pace.follow(START, 10.0)
    now = START + 0.1
    for _ in range(20):
        assert pace.wait_s(now) <= 1e-9
        pace.on_start(now, faster)
        wait_s = pace.wait_s(now)
        assert wait_s <= 0.1 / faster + 1e-9
        now += wait_s
    assert now - START - 0.1 == pytest.approx(2.0 / faster - 0.15, abs=0.01)
    assert pace.rate == 10.0


@pytest.mark.parametrize("counts", [(120, 120), (130,)])
def test_what_it_is_told_takes_the_place_of_what_it_learned(counts: tuple[int, ...]) -> None:
    """Of a quota, or on trial: neither what may start at once nor the doubling is left."""
    pace, now, _ = stretches(*counts)
    assert pace.rate > 0.0
    pace.follow(now, 10.0)
    assert len(starts(pace, now, 1.0)) <= 12
    pace.grow(now + 20.0)
    assert pace.rate == 10.0
    pace.follow(now + 20.0, 0.0)
    assert pace.rate == 0.0


def test_nothing_is_owed_for_what_started_beyond_the_pace_before() -> None:
    pace, now, _ = stretches(120, 120)
    assert len(starts(pace, now, 0.1)) == 12
    pace.follow(now + 0.1, 2.0)
    assert len(starts(pace, now + 0.1, 30.0)) == pytest.approx(60, abs=2)


def test_when_it_is_told_no_rate_any_more_it_learns_as_before() -> None:
    pace, now, _ = stretches(120, 120)
    pace.follow(now, 10.0)
    pace.follow(now + 1.0, 0.0)
    for _ in range(2):
        carry(pace, now, 12.0, 119)
        now += 60.0
        opened(pace, now)
    rate = pace.rate
    assert rate == pytest.approx(0.98 * 2.0)
    pace.grow(now + 60.0)
    assert pace.rate == pytest.approx(1.02 * rate)
    pace.cut(now + 60.0, 1.9)
    assert pace.rate == pytest.approx(0.96 * 1.9)
