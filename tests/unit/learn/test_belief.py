"""What comparisons of two heights say of where most is carried: the belief against upstreams whose top is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from proxy.learn.evidence.belief import Belief, best, expected, promise

KNEE = math.log(20)


def kink(u: float) -> float:
    return u - 2.0 * max(0.0, u - KNEE)


def pool(u: float) -> float:
    return 0.92 * u - max(0.0, u - KNEE)


def told(shape: Callable[[float], float], pairs: list[tuple[float, float]], sd: float = 0.05) -> Belief:
    """A belief that has seen these pairs of slots, with some chance."""
    belief, rng = Belief(), random.Random(5)
    for before, there in pairs:
        a, b = math.log(before), math.log(there)
        belief.note(a, b, shape(b) - shape(a) + rng.gauss(0.0, sd), sd * sd)
    return belief


def top(belief: Belief, low: float = 1, high: float = 200) -> float:
    return math.exp(best(belief.weights(), math.log(low), math.log(high)))


@pytest.mark.parametrize("shape", [kink, pool])
def test_a_doubling_search_and_some_visits_find_the_top(shape: Callable[[float], float]) -> None:
    belief = told(shape, [(4, 8), (8, 16), (16, 32), (20, 26), (20, 16), (20, 23), (20, 17)])
    assert shape(math.log(top(belief))) > shape(KNEE) - 0.12


def test_without_evidence_every_height_is_as_likely() -> None:
    weights = Belief().weights()
    assert sum(weights) == pytest.approx(1.0)
    assert max(weights) == min(weights)


def test_one_comparison_that_a_burst_spoilt_does_not_decide() -> None:
    belief = told(kink, [(4, 8), (8, 16), (16, 32), (20, 26), (20, 16), (20, 23), (20, 17)])
    belief.note(KNEE, math.log(23), -2.0, 0.05**2)
    assert top(belief) == pytest.approx(20, rel=0.2)


def test_a_capacity_that_tripled_is_believed_after_some_looks_up() -> None:
    belief = told(kink, [(4, 8), (8, 16), (16, 32), (20, 26), (20, 16), (20, 23)])
    for _ in range(3):
        belief.note(KNEE, math.log(26), math.log(26 / 20), 0.05**2)
    assert top(belief) > 26


def test_what_was_seen_long_ago_says_less() -> None:
    belief = told(kink, [(4, 8), (8, 16), (16, 32), (20, 26), (20, 16), (20, 23)])
    _, before = expected(belief.weights(), KNEE, math.log(26))
    belief.spread(0.5)
    _, after = expected(belief.weights(), KNEE, math.log(26))
    assert sum(belief.weights()) == pytest.approx(1.0)
    assert after > 2 * before


def test_latency_at_its_floor_speaks_against_a_knee_below() -> None:
    belief = told(kink, [(4, 8)])
    u = math.log(30)
    calm, strained = (best(belief.weights(u, strain), 0.0, math.log(200)) for strain in (0.0, 1.5))
    assert calm > strained


@pytest.mark.parametrize(("mean", "spread"), [(-0.05, 0.01), (0.0, 0.01), (-0.2, 0.04)])
def test_a_look_promises_more_the_less_is_known_and_the_more_it_shows(mean: float, spread: float) -> None:
    assert 0.0 <= promise(mean, spread / 4, 0.01) < promise(mean, spread, 0.01) < promise(mean, spread, 0.001)
    assert promise(mean, 0.0, 0.01) == 0.0
