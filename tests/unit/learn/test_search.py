"""The first search of a fleet that knows nothing: where it goes, and what a burst does to it."""

from __future__ import annotations

import itertools
import random

import pytest

from proxy.learn.decision import Decision
from proxy.learn.evidence.tally import Window
from proxy.learn.learner import Learner
from tests.unit.learn.test_learner_state import kink


def searched(room: float, burst_at: range = range(0)) -> tuple[Learner, list[int]]:
    """Let a learner search before a kink at ``room``; a burst closes all gates for the windows of ``burst_at``."""
    learner, carry, decision = Learner(start=4), kink(random.Random(3), lambda: room), Decision(4)
    levels: list[int] = []
    for number in range(60):
        seen = carry(decision)
        if number in burst_at:
            is_last = number == burst_at[-1]
            seen = Window(
                span_s=0.5, wanted=200, waiting=200, shut=1.0, shut_now=0.0 if is_last else 1.0, pods=3
            )
        decision = learner.step(seen)
        levels.append(decision.slots)
        if learner.name == "hold":
            return learner, levels
    raise AssertionError(f"it goes on searching: {levels}")


@pytest.mark.parametrize("room", [3, 12, 30, 150])
def test_it_doubles_or_halves_and_ends_near_the_room(room: float) -> None:
    learner, levels = searched(room)
    assert 0.8 * room <= learner.resting <= 2.0 * room
    assert all(0.5 <= after / before <= 2.0 for before, after in itertools.pairwise(levels))


def test_it_goes_no_further_than_is_wanted() -> None:
    learner, levels = searched(1000.0)
    assert learner.resting == max(levels)
    assert 200 <= max(levels) <= 256


@pytest.mark.parametrize("began", range(2, 16))
def test_one_burst_does_not_end_it_early(began: int) -> None:
    learner, _ = searched(100.0, burst_at=range(began, began + 3))
    assert learner.resting >= 60


def test_a_height_that_closes_the_gates_twice_is_too_much() -> None:
    learner, carry, decision = Learner(start=4), kink(random.Random(3), lambda: 1000.0), Decision(4)
    closed = 0
    while learner.name != "hold":
        seen = carry(decision)
        if decision.slots >= 32:
            seen = Window(span_s=0.5, wanted=200, waiting=200, shut=1.0, pods=3)
            seen.shut_now = float(not learner.is_shut)
            closed += not learner.is_shut
        decision = learner.step(seen)
    assert (closed, learner.resting) == (2, 16)
    assert "the gates closed at 32" in learner.notes[-1][1]
