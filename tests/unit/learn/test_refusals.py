"""What a learner makes of refusals: a quota of a second, a pool that lost its room, and errors that answer to nothing.

A window is half a second, so that each shows half of what such a quota does.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from proxy.learn.decision import Decision
from proxy.learn.evidence.ground import Point, tail
from proxy.learn.evidence.tally import Window
from proxy.learn.learner import Learner
from proxy.learn.modes.hold import Hold
from proxy.learn.modes.pace import Pace

PERIOD_S = 0.5
LATENCY_S = 0.1
THREADS = 60

Upstream = Callable[[Decision], Window]


def window(ok: int, fast: int, n: float) -> Window:
    log = math.log(LATENCY_S)
    return Window(
        span_s=PERIOD_S,
        ok=ok,
        bad=fast,
        fast=fast,
        took_s=ok * LATENCY_S,
        log=ok * log,
        log2=ok * (log * log + 0.04),
        n=n,
        wanted=THREADS,
        waiting=max(0, THREADS - round(n)),
        pods=3,
    )


def started(decision: Decision, rng: random.Random) -> tuple[int, float]:
    """Return how many attempts start in a window, and the slots in use; a refused one keeps its slot as long as a success."""
    n = float(min(decision.slots, THREADS))
    per_s = n / LATENCY_S
    if decision.rate:
        per_s = min(per_s, decision.rate)
    count = per_s * PERIOD_S
    return int(count) + (rng.random() < count % 1.0), per_s * LATENCY_S


def quota(rng: random.Random, a_second: int) -> Upstream:
    """So many pages in each second; what comes after them is refused."""
    windows, left = 0, a_second

    def carry(decision: Decision) -> Window:
        nonlocal windows, left
        if windows % 2 == 0:
            left = a_second
        windows += 1
        attempts, n = started(decision, rng)
        ok = min(attempts, left)
        left -= ok
        return window(ok, attempts - ok, n)

    return carry


def pool(rng: random.Random, room: Callable[[], int]) -> Upstream:
    """So many at once; what is beyond is refused."""

    def carry(decision: Decision) -> Window:
        attempts, n = started(decision, rng)
        ok = min(attempts, round(room() * PERIOD_S / LATENCY_S))
        return window(ok, attempts - ok, n)

    return carry


def run(learner: Learner, carry: Upstream, windows: int) -> float:
    """Return the share of the attempts that were refused."""
    decision = Decision(max(1, learner.slots), learner.rate)
    seen = [Window()]
    for _ in range(windows):
        seen.append(carry(decision))
        decision = learner.step(seen[-1])
    return sum(w.fast for w in seen) / sum(w.attempts for w in seen)


@pytest.mark.parametrize("a_second", [4, 9, 40, 115])
def test_a_quota_of_a_second_is_not_run_into_for_ever(a_second: int) -> None:
    """With half of each quota in a window every other one looked like trouble, and a handful of pages like nothing at all."""
    learner, carry = Learner(start=4), quota(random.Random(a_second), a_second)
    run(learner, carry, 300)
    assert run(learner, carry, 300) < 0.15, learner.notes


def test_a_pool_that_loses_its_room_during_a_visit_is_left_again() -> None:
    """What was seen after a visit used to be waited for as long as it was trouble, for minutes."""
    room = 30
    learner = Learner.at(30)
    run(learner, pool(random.Random(3), lambda: room), 40)
    for _ in range(200):
        if isinstance(learner.mode, Hold) and learner.mode.visit and learner.mode.visit.kind == "down":
            break
        run(learner, pool(random.Random(4), lambda: room), 1)
    assert isinstance(learner.mode, Hold)
    assert learner.mode.visit
    room = 15
    run(learner, pool(random.Random(5), lambda: room), 60)
    assert learner.resting <= 20, learner.notes


def test_a_rate_that_steps_down_without_effect_is_no_rate() -> None:
    """A quarter is refused whatever the rate is: it must not be followed to nothing."""
    learner = Learner.at(10)
    learner.mode = Pace(rate=80.0, home=10)
    learner.rate = learner.mode.base = learner.mode.began = 80.0

    def carry(decision: Decision) -> Window:
        attempts, n = started(decision, random.Random(1))
        return window(attempts - attempts // 4, attempts // 4, n)

    run(learner, carry, 60)
    assert isinstance(learner.mode, Hold)
    assert "refusals do not follow the rate" in " ".join(said for _, said in learner.notes)


def test_the_last_points_hold_as_many_attempts_as_tell() -> None:
    points = [Point(ok=ok, windows=1) for ok in (30, 6, 6, 6, 6)]
    assert tail(points, 2).windows == 4
    assert tail(points, 5).ok == 54
    assert tail(points[1:], 2).windows == 4
    assert tail([], 2).windows == 0
