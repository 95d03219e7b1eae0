"""What the way up says about failures: steady ones are acquitted.

Those of a full upstream never are, nor those in clusters, nor those that come much faster than answers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.rungs import Rungs

WORKED = ((1.0, 4), (1.25, 3), (1.56, 4), (1.95, 4), (2.44, 3))
"""The worked example of the docstring: heights, and how many of 12 failed."""
Upstream = Callable[[float, random.Random], bool]
"""Whether an attempt at a height goes well."""
Counts = list[tuple[int, int]]
TOOK_S = 0.1


def steady(share: float) -> Upstream:
    return lambda height, rng: rng.random() >= share


def full(capacity: float) -> Upstream:
    """Carries so much and fails the rest."""
    return lambda height, rng: rng.random() < capacity / height


def both(share: float, capacity: float) -> Upstream:
    """Fails a share whatever the load, and what goes beyond its capacity."""
    return lambda height, rng: rng.random() < (1.0 - share) * min(1.0, capacity / height)


def at(it: Rungs, height: float, n: int, bad: int, *, ok_s: float = TOOK_S, bad_s: float = TOOK_S) -> None:
    """Attempts at a height, with the failures evenly among them."""
    for number in range(n):
        succeeded = (number + 1) * bad // n == number * bad // n
        it.note_one(succeeded, ok_s if succeeded else bad_s)
    it.note(height, n - bad, bad)


def climb(upstream: Upstream, seed: int, *, steps: int = 12, n: int = 12) -> tuple[Rungs, bool]:
    """Up by a quarter a step; return what was learned, and whether there was an acquittal on the way."""
    it, rng, ever = Rungs(), random.Random(seed), False
    for number in range(steps):
        went = [upstream(1.25**number, rng) for _ in range(n)]
        for succeeded in went:
            it.note_one(succeeded, TOOK_S)
        it.note(1.25**number, sum(went), n - sum(went))
        ever = ever or it.is_acquitted
    return it, ever


def noted(counts: Counts, heights: list[float]) -> Rungs:
    """So many went well and failed at each height."""
    it = Rungs()
    for height, (ok, bad) in zip(heights, counts, strict=True):
        for succeeded in [True] * ok + [False] * bad:
            it.note_one(succeeded, TOOK_S)
        it.note(height, ok, bad)
    return it


def rising(count: int) -> list[float]:
    return [1.25**number for number in range(count)]


def likelihood(shares: list[float]) -> float:
    """Return ln of it: of the worked example, were these the shares that fail."""
    counts = zip(shares, WORKED, strict=True)
    return sum(bad * math.log(share) + (12 - bad) * math.log(1.0 - share) for share, (_, bad) in counts)


def test_nothing_is_known_at_first() -> None:
    it = Rungs()
    assert (it.odds, it.heights, it.steady) == (0.0, 0, 0.0)
    assert (it.is_clustered, it.is_refusal, it.is_acquitted) == (False, False, False)
    at(it, 1.0, 100, 0)
    at(it, 1.25, 100, 0)
    assert (it.odds, it.heights, it.steady, it.is_acquitted) == (0.0, 2, 0.0, False)


def test_the_worked_example_of_the_docstring() -> None:
    """Steady -36.7, full -43.5, where 1.6, 3.7, 5.4, 6.7 and 7.7 should have failed: +6.8."""
    it = Rungs()
    for height, bad in WORKED:
        at(it, height, 12, bad)
    beyond = [1.0 - 0.864 / height for height, _ in WORKED]
    assert [12 * share for share in beyond] == pytest.approx([1.6, 3.7, 5.4, 6.7, 7.7], abs=0.06)
    assert likelihood([0.3] * 5) == pytest.approx(-36.7, abs=0.05)
    assert likelihood(beyond) == pytest.approx(-43.5, abs=0.05)
    assert it.steady == pytest.approx(0.3)
    assert it.odds == pytest.approx(likelihood([0.3] * 5) - likelihood(beyond), abs=0.03)
    assert not it.is_acquitted, "above 10, it says"


def test_the_capacity_that_fits_best_is_found_to_a_fortieth() -> None:
    """Steady and full of the worked example, by every capacity there is."""
    it = Rungs()
    for height, bad in WORKED:
        at(it, height, 12, bad)
    tried = [
        likelihood([1.0 - capacity / 1000 / height for height, _ in WORKED]) for capacity in range(400, 1000)
    ]
    assert likelihood([0.3] * 5) - max(tried) <= it.odds <= likelihood([0.3] * 5) - max(tried) + 0.05


@pytest.mark.parametrize("share", [0.2, 0.3, 0.4])
def test_steady_failures_are_acquitted(share: float) -> None:
    """Under all of 20 seeds or nearly, within twelve heights."""
    found = [climb(steady(share), seed)[0] for seed in range(20)]
    assert sum(it.is_acquitted for it in found) >= 18
    assert all(it.steady == pytest.approx(share, abs=0.15) for it in found)


@pytest.mark.parametrize("capacity", [3.0, 4.0, 5.0])
@pytest.mark.parametrize("share", [0.1, 0.15, 0.2, 0.25, 0.3])
def test_of_failures_beyond_a_capacity_the_steady_part_is_acquitted(share: float, capacity: float) -> None:
    """Twelve heights up to 11.6, where 61 to 82 % fail: what is steady is not the share over all, but that below."""
    it, acquitted = Rungs(), 0
    for height in rising(12):
        at(it, height, 200, round(200 * (1.0 - (1.0 - share) * min(1.0, capacity / height))))
        if it.is_acquitted:
            acquitted += 1
            assert it.steady == pytest.approx(share, abs=0.05)
    assert acquitted > 3
    assert it.bad / (it.ok + it.bad) > share + 0.07


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_by_chance_as_well_the_steady_part_is_found_below_the_capacity(share: float) -> None:
    """40 at each height, room for 4: the share over all is 0.27 to 0.43."""
    found = [climb(both(share, 4.0), seed, n=40)[0] for seed in range(20)]
    acquitted = [it.steady for it in found if it.is_acquitted]
    assert len(acquitted) >= 12
    assert sum(acquitted) / len(acquitted) == pytest.approx(share, abs=0.03)
    assert sum(it.bad / (it.bad + it.ok) for it in found) / len(found) > share + 0.1


@pytest.mark.parametrize("n", [12, 40])
@pytest.mark.parametrize("capacity", [0.4, 0.7, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0])
def test_a_full_upstream_is_never_acquitted_on_the_way(capacity: float, n: int) -> None:
    for seed in range(20):
        it, ever = climb(full(capacity), seed, n=n)
        assert not ever
        assert it.odds < 5.0


@pytest.mark.parametrize("share", [0.1, 0.12, 0.15, 0.3, 0.4, 0.5])
def test_one_height_tells_nothing(share: float) -> None:
    """Whatever fails there, a capacity explains it as well; so it is where nobody waits and the height stays."""
    it = Rungs()
    at(it, 8.0, 2000, round(2000 * share))
    assert 0.0 <= it.odds < 1.5
    assert not it.is_acquitted


def test_a_half_or_more_is_never_acquitted() -> None:
    it = Rungs()
    for number, height in enumerate(rising(12)):
        at(it, height, 40, 19)
        assert it.is_acquitted is (number >= 3 and it.odds > 10.0)
    assert it.is_acquitted
    more = Rungs()
    for height in rising(12):
        at(more, height, 40, 20)
        assert not more.is_acquitted
    assert more.odds > 10.0, "the heights would speak for it"


def test_fewer_than_four_heights_acquit_nobody() -> None:
    """Far apart, so the odds are good from the second on."""
    it = Rungs()
    for number, height in enumerate((1.0, 2.0, 4.0, 8.0)):
        at(it, height, 100, 20)
        assert it.odds > 10.0 or number == 0
        assert it.is_acquitted is (number == 3)


def test_failures_in_clusters_are_not_acquitted() -> None:
    """The same three tenths at every height, as the last of each; or evenly among the rest."""
    clustered, even = Rungs(), Rungs()
    for height in rising(12):
        for number in range(20):
            clustered.note_one(number < 14, TOOK_S)
        clustered.note(height, 14, 6)
        at(even, height, 20, 6)
    assert clustered.odds == even.odds > 10.0
    assert (clustered.is_clustered, clustered.is_acquitted) == (True, False)
    assert (even.is_clustered, even.is_acquitted) == (False, True)


@pytest.mark.parametrize(
    ("bad_s", "is_refusal"), [(0.001, True), (0.049, True), (0.051, False), (0.1, False), (2.0, False)]
)
def test_failures_faster_than_half_the_time_of_an_answer_are_not_acquitted(
    bad_s: float, is_refusal: bool
) -> None:
    """Three tenths at every height: whoever refuses work is quick about it."""
    it = Rungs()
    for height in rising(12):
        at(it, height, 20, 6, ok_s=0.1, bad_s=bad_s)
        assert it.is_refusal is is_refusal
        assert not (it.is_refusal and it.is_acquitted)
    assert it.odds > 10.0
    assert it.is_acquitted is not is_refusal


def test_it_is_the_mean_failure_that_is_held_against_the_mean_answer() -> None:
    """A third of the failures took as long as an answer, the others no time: they are refusals; of two thirds they are not."""
    for quick, is_refusal in ((2, True), (1, False)):
        it = Rungs()
        for _ in range(10):
            for number in range(3):
                it.note_one(True, 0.1)
                it.note_one(False, 0.0 if number < quick else 0.1)
        assert it.is_refusal is is_refusal


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_chance_is_not_taken_for_clusters(share: float) -> None:
    """Of 20 seeds one may be, after 144 attempts."""
    assert sum(climb(steady(share), seed)[0].is_clustered for seed in range(20)) <= 1


def test_two_in_a_row_each_time_are_clusters() -> None:
    """A quarter fails: 0.65 as many turns as chance would make; one by one, 1.3."""
    for row, is_clustered in ((1, False), (2, True), (3, True)):
        it = Rungs()
        for _ in range(20):
            for number in range(4 * row):
                it.note_one(number < 3 * row, TOOK_S)
        assert it.is_clustered is is_clustered


def test_a_few_failures_in_a_row_are_no_cluster() -> None:
    it = Rungs()
    for number in range(20):
        it.note_one(number < 16, TOOK_S)
    assert not it.is_clustered
    it.note_one(False, TOOK_S)
    assert it.is_clustered


def test_nothing_but_failures_is_a_cluster() -> None:
    it = Rungs()
    for number in range(1, 100):
        it.note_one(False, TOOK_S)
        assert it.is_clustered is (number > 4)


def test_fewer_than_15_failures_acquit_nobody() -> None:
    """Two of 10 at each of seven heights: odds of 17, and one failure too few."""
    it = Rungs()
    for number in range(7):
        at(it, 1.6**number, 10, 2)
        assert not it.is_acquitted
    assert it.odds > 15.0
    at(it, 1.6**6, 1, 1)
    assert it.bad == 15
    assert it.is_acquitted


def test_failures_at_one_height_of_many_are_not_steady() -> None:
    it = Rungs()
    for height in rising(9):
        at(it, height, 20, 0)
    at(it, 1.25**9, 20, 8)
    assert it.odds == 0.0


def test_notes_at_one_height_are_one() -> None:
    """Whoever does not climb, for nobody waits, is noted many times: neither memory nor time grow with it."""
    often, once = Rungs(), Rungs()
    for it in (often, once):
        at(it, 1.0, 20, 5)
    for _ in range(60):
        at(often, 4.0, 12, 3)
    at(once, 4.0, 12 * 60, 3 * 60)
    assert often.heights == once.heights == 2
    assert often.odds == pytest.approx(once.odds)


COUNTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12)


@given(COUNTS, st.floats(0.2, 256.0))
def test_any_counts_make_odds_and_too_few_or_too_many_failures_no_acquittal(
    counts: Counts, height: float
) -> None:
    it = noted(counts, [height * rung for rung in rising(len(counts))])
    ok, bad = (sum(column) for column in zip(*counts, strict=True))
    assert (it.ok, it.bad, it.heights) == (ok, bad, len(counts))
    assert 0.0 <= it.steady <= 1.0
    assert math.isfinite(it.odds)
    assert it.odds >= 0.0
    assert bad or it.odds == 0.0
    assert (it.odds == 0.0) is (it.steady == 0.0)
    assert not it.is_acquitted or (bad >= 15 and len(counts) >= 4 and it.steady < 0.5 and it.odds > 10.0)


@given(COUNTS, st.floats(0.1, 10.0))
def test_how_large_a_pod_is_makes_no_difference(counts: Counts, factor: float) -> None:
    """Pods that climb from 0.5 and from 5 are told the same."""
    heights = rising(len(counts))
    larger = [factor * height for height in heights]
    assert noted(counts, larger).odds == pytest.approx(noted(counts, heights).odds, abs=1e-6)


@given(COUNTS)
def test_failures_moved_to_a_greater_height_hardly_speak_less_for_the_load(counts: Counts) -> None:
    """All that failed, as high as there were attempts, is worse than all of it as low; the capacity is found to a fortieth."""
    attempts, bad = [ok + bad for ok, bad in counts], sum(bad for _, bad in counts)
    heights = rising(len(counts))
    high, low = noted(piled(attempts[::-1], bad)[::-1], heights), noted(piled(attempts, bad), heights)
    assert high.odds <= low.odds + 3.0


def piled(attempts: list[int], bad: int) -> Counts:
    """So many failures, as many as fit into the first, the rest into the next."""
    found = []
    for n in attempts:
        found.append((n - min(n, bad), min(n, bad)))
        bad -= found[-1][1]
    return found
