"""Blame: chance is acquitted, a full upstream never, and neither are failures that come in clusters."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.blame import Blame
from proxy.admit.experiment import EPS, Half

HIGH, LOW = 1, -1


def half(phase: int, ok: int, bad: int) -> Half:
    made = Half(phase, 10.0, 0.0)
    made.successes, made.failures = ok, bad
    return made


Upstream = Callable[[int, random.Random], int]
"""How many of so many attempts in one half fail."""


def by_chance(share: float) -> Upstream:
    return lambda attempts, rng: sum(rng.random() < share for _ in range(attempts))


def full(capacity: float, noise: float = 0.03) -> Upstream:
    """Serves so many in a half and fails the rest."""
    return lambda attempts, rng: max(0, min(attempts, round(attempts - capacity * rng.gauss(1.0, noise))))


def in_clusters(share: float) -> Upstream:
    """A half fails as a whole or not at all."""
    return lambda attempts, rng: attempts if rng.random() < share else 0


def judge(
    upstream: Upstream, seed: int = 1, *, pairs: int = 60, attempts: int = 100, leaning: float = 0.0
) -> Blame:
    """Let the arms differ by twice EPS, as they do where the limit binds."""
    it, rng = Blame(), random.Random(seed)
    it.lean(leaning)
    for _ in range(pairs):
        n_hi = round(attempts * (1 + EPS) * rng.gauss(1.0, 0.02))
        n_lo = round(attempts * (1 - EPS) * rng.gauss(1.0, 0.02))
        bad_hi, bad_lo = upstream(n_hi, rng), upstream(n_lo, rng)
        it.take(half(HIGH, n_hi - bad_hi, bad_hi), half(LOW, n_lo - bad_lo, bad_lo))
    return it


def failing(it: Blame) -> float:
    return (it.high_failures + it.low_failures) / (it.high_attempts + it.low_attempts)


def test_nothing_is_known_at_first() -> None:
    it = Blame()
    assert (it.value, it.is_clustered, it.is_disproved(0.01)) == (0.5, False, False)
    it.take(half(HIGH, 50, 0), half(LOW, 40, 0))
    assert it.value == 0.5, "no failure, no vote"


def test_the_worked_example_of_the_docstring() -> None:
    """30 % of 333 attempts fail, 55 % of them high: 52 and 48. Were it full, 67 would have been high."""
    it = Blame()
    it.take(half(HIGH, 183 - 52, 52), half(LOW, 150 - 48, 48))
    assert it.odds == pytest.approx(-4.3, abs=0.3), "expected and variance are rounded there"


@pytest.mark.parametrize("share", [0.03, 0.1, 0.2, 0.3])
def test_failures_by_chance_are_disproved(share: float) -> None:
    """Under all of 20 seeds or nearly."""
    found = [judge(by_chance(share), seed, pairs=100) for seed in range(20)]
    assert sum(it.is_disproved(failing(it)) for it in found) >= 16
    assert sum(it.value < 0.1 for it in found) >= 18
    assert not any(it.value > 0.9 for it in found)


@pytest.mark.parametrize("capacity", [60.0, 80.0, 90.0])
def test_a_full_upstream_is_blamed_and_never_acquitted_on_the_way(capacity: float) -> None:
    for seed in range(20):
        rng, it = random.Random(seed), Blame()
        for _ in range(40):
            n_hi, n_lo = round(100 * (1 + EPS)), round(100 * (1 - EPS))
            bad_hi, bad_lo = full(capacity)(n_hi, rng), full(capacity)(n_lo, rng)
            it.take(half(HIGH, n_hi - bad_hi, bad_hi), half(LOW, n_lo - bad_lo, bad_lo))
            assert not it.is_disproved(failing(it))
        assert it.value > 0.95


def test_failures_in_clusters_are_not_acquitted() -> None:
    """Whole halves fail, high or low alike: that is no chance, and silence of the arms proves nothing."""
    found = [judge(in_clusters(0.2), seed) for seed in range(20)]
    assert all(it.is_clustered for it in found)
    assert not any(it.is_disproved(failing(it)) for it in found)
    assert not any(judge(by_chance(0.2), seed).is_clustered for seed in range(20))


def test_clusters_are_forgotten() -> None:
    it, rng = judge(in_clusters(0.2)), random.Random(2)
    for _ in range(60):
        bad_hi, bad_lo = by_chance(0.2)(114, rng), by_chance(0.2)(86, rng)
        it.take(half(HIGH, 114 - bad_hi, bad_hi), half(LOW, 86 - bad_lo, bad_lo))
    assert not it.is_clustered


def test_one_burst_is_one_vote() -> None:
    """300 failures in one high half, after 60 pairs that speak of chance, turn nothing round."""
    it = judge(by_chance(0.02))
    assert it.value < 0.01
    it.take(half(HIGH, 200, 300), half(LOW, 84, 2))
    assert 0.3 < it.value < 0.75, "it shakes what was known and proves nothing"


def test_the_more_fail_the_surer_it_must_be() -> None:
    """The evidence that acquits a tenth does not acquit four tenths; of so few a pair it takes more than the 8 votes."""
    it = Blame()
    rng = random.Random(4)
    pairs = 0
    while not it.is_disproved(0.1):
        pairs += 1
        bad_hi, bad_lo = by_chance(0.1)(23, rng), by_chance(0.1)(17, rng)
        it.take(half(HIGH, 23 - bad_hi, bad_hi), half(LOW, 17 - bad_lo, bad_lo))
    assert pairs > 8
    assert not it.is_disproved(0.4)
    shares = [share / 100 for share in range(100)]
    answers = [it.is_disproved(share) for share in shares]
    assert answers == sorted(answers, reverse=True), "no larger share is acquitted where a smaller is not"


def test_seven_votes_acquit_nobody_however_clear_they_are() -> None:
    """And a pair without a failure is no vote."""
    it, rng = Blame(), random.Random(1)
    it.take(half(HIGH, 114, 0), half(LOW, 86, 0))
    for votes in range(8):
        assert (it.is_known, it.is_disproved(0.1)) == (False, False), votes
        bad_hi, bad_lo = by_chance(0.2)(342, rng), by_chance(0.2)(258, rng)
        it.take(half(HIGH, 342 - bad_hi, bad_hi), half(LOW, 258 - bad_lo, bad_lo))
        assert it.odds < -2.7 or votes < 2
    assert (it.is_known, it.is_disproved(0.1)) == (True, True)


def test_the_way_up_needs_no_eight_votes_until_it_has_faded() -> None:
    for odds, is_known in ((0.9, False), (1.0, False), (1.1, True), (20.0, True)):
        it = Blame()
        it.lean(odds)
        assert it.is_known is is_known
    it.lean(1.1)
    known = []
    for _ in range(9):
        known.append(it.is_known)
        it.take(half(HIGH, 50, 7), half(LOW, 40, 3))
    assert known == [True] * 4 + [False] * 4 + [True], "1.1 * 0.97^3 is still 1, and then there are 8 votes"


def test_a_handful_of_failures_disproves_nothing() -> None:
    it = Blame()
    for _ in range(14):
        it.take(half(HIGH, 113, 0), half(LOW, 85, 1))
        assert not it.is_disproved(0.01)


def test_arms_that_did_not_differ_tell_nothing_much() -> None:
    """Chance with equal counts in both halves takes far longer to be disproved than with different ones."""
    rng, it = random.Random(1), Blame()
    for _ in range(6):
        bad_hi, bad_lo = by_chance(0.2)(100, rng), by_chance(0.2)(100, rng)
        it.take(half(HIGH, 100 - bad_hi, bad_hi), half(LOW, 100 - bad_lo, bad_lo))
    assert it.odds > judge(by_chance(0.2), 1, pairs=6).odds


@pytest.mark.parametrize(("odds", "counts"), [(0.0, 0.0), (3.0, 3.0), (4.0, 4.0), (4.5, 4.0), (100.0, 4.0)])
def test_what_the_way_up_said_counts_at_once_and_for_no_more_than_4(odds: float, counts: float) -> None:
    """And for as much as was said below that; the first vote adds to it."""
    it = Blame()
    it.lean(odds)
    assert it.odds == -counts
    assert it.value == pytest.approx(1.0 / (1.0 + math.exp(counts)))
    plain = judge(by_chance(0.2), pairs=1).odds
    assert judge(by_chance(0.2), pairs=1, leaning=odds).odds == pytest.approx(plain - 0.97 * counts)


def test_what_the_way_up_said_fades_with_every_vote_and_only_then() -> None:
    for pairs in (1, 10, 60):
        leaning, plain = judge(full(80.0), pairs=pairs, leaning=20.0), judge(full(80.0), pairs=pairs)
        assert leaning.odds == pytest.approx(plain.odds - 4.0 * 0.97**pairs)
    waiting = Blame()
    waiting.lean(20.0)
    for _ in range(100):
        waiting.take(half(HIGH, 50, 0), half(LOW, 40, 0))
        assert waiting.odds == -4.0
    waiting.take(half(HIGH, 30, 20), half(LOW, 24, 16))
    assert waiting.value < 0.03


@pytest.mark.parametrize(("share", "pairs"), [(0.1, 2), (0.2, 2), (0.3, 4)])
def test_who_was_acquitted_on_the_way_up_is_so_within_a_few_pairs(share: float, pairs: int) -> None:
    """Without it eight of twenty or more need longer."""
    found = [judge(by_chance(share), seed, pairs=pairs, leaning=20.0) for seed in range(20)]
    assert sum(it.is_disproved(failing(it)) for it in found) >= 18
    plain = [judge(by_chance(share), seed, pairs=pairs) for seed in range(20)]
    assert sum(it.is_disproved(failing(it)) for it in plain) <= 12


@pytest.mark.parametrize("capacity", [60.0, 80.0, 90.0])
def test_a_full_upstream_is_blamed_whatever_the_way_up_said(capacity: float) -> None:
    """Within 20 pairs; without it, six."""
    assert all(judge(full(capacity), seed, pairs=20, leaning=1000.0).value > 0.9 for seed in range(20))
    assert all(judge(full(capacity), seed, pairs=6).value > 0.9 for seed in range(20))


def test_what_the_way_up_said_acquits_nobody_alone() -> None:
    """Nor does it excuse clusters."""
    it = Blame()
    it.lean(20.0)
    assert not it.is_disproved(0.01)
    it.take(half(HIGH, 113, 2), half(LOW, 85, 2))
    assert not it.is_disproved(0.01), "four failures are too few"
    found = [judge(in_clusters(0.2), seed, leaning=20.0) for seed in range(20)]
    assert not any(it.is_disproved(failing(it)) for it in found)


def test_what_fell_where_is_said_in_words() -> None:
    it = Blame()
    it.take(half(HIGH, 50, 7), half(LOW, 40, 3))
    assert it.describe() == "7 of 57 at more load, 3 of 43 at less"


@given(st.lists(st.tuples(*[st.integers(0, 2000)] * 4), max_size=40), st.floats(0.0, 1e9))
def test_any_votes_make_a_probability(votes: list[tuple[int, int, int, int]], leaning: float) -> None:
    it = Blame()
    it.lean(leaning)
    for high_ok, high_bad, low_ok, low_bad in votes:
        it.take(half(HIGH, high_ok, high_bad), half(LOW, low_ok, low_bad))
        assert 0.0 <= it.value <= 1.0
        assert math.isfinite(it.odds)
        assert isinstance(it.is_disproved(0.3), bool)
