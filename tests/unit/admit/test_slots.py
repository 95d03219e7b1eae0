"""Fractional slots keep their word in attempts in flight over time, and nobody gets more from a limit by failing fast."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.slots import Slots

USUAL_S = 0.1
LATENCIES: dict[str, Callable[[random.Random], float]] = {
    "constant": lambda rng: USUAL_S,
    "uniform": lambda rng: rng.uniform(0.0, 2 * USUAL_S),
    "exponential": lambda rng: rng.expovariate(1 / USUAL_S),
    "two kinds": lambda rng: USUAL_S * rng.choice((0.2, 1.8)),
}


class Held:
    """Somebody always wants a slot. ``mean_inflight`` is what came of it, cooling slots being nobody's."""

    def __init__(self, limit: float, latency: Callable[[], float], cool_s: float = 0.0) -> None:
        self.slots = Slots(0.0, limit)
        self.slots.usual_s = USUAL_S
        self.started = 0
        self.now = 0.0
        self._latency = latency
        self._cool_s = cool_s
        self._ends: list[float] = []
        self._sum_s = 0.0

    def run(self, seconds: float) -> None:
        """Let time pass."""
        slots, ends = self.slots, self._ends
        until = self.now + seconds
        while self.now < until:
            while slots.inflight < slots.open_slots(self.now):
                slots.inflight += 1
                self.started += 1
                ends.append(self.now + self._latency())
            at = min([*ends, max(self.now + 0.0001, slots.next_change_at(self.now)), until])
            self._sum_s += slots.inflight * (at - self.now)
            self.now = at
            slots.settle(at)
            for end in [end for end in ends if end <= at]:
                ends.remove(end)
                slots.inflight -= 1
                if self._cool_s:
                    slots.cool(at + self._cool_s)

    @property
    def mean_inflight(self) -> float:
        return self._sum_s / self.now


@pytest.mark.parametrize("kind", LATENCIES)
@pytest.mark.parametrize("limit", [0.2, 0.5, 0.9, 1.0, 1.1, 2.4, 3.97, 7.5])
def test_the_mean_in_flight_is_the_limit(limit: float, kind: str) -> None:
    rng = random.Random(f"{limit}/{kind}")
    held = Held(limit, lambda: LATENCIES[kind](rng))
    held.run(400 * USUAL_S / min(1.0, limit))
    assert held.mean_inflight == pytest.approx(limit, rel=0.03)


@given(st.floats(0.2, 6.0), st.floats(0.005, 0.5), st.floats(0.0, 1.0), st.integers())
def test_the_mean_in_flight_is_the_limit_for_any(
    limit: float, fast_s: float, share_fast: float, seed: int
) -> None:
    """Two latencies in any mixture, none beyond five times the usual one; a part below 0.02 is not kept."""
    rng = random.Random(seed)
    held = Held(limit, lambda: fast_s if rng.random() < share_fast else USUAL_S)
    held.run(60.0)
    assert held.mean_inflight == pytest.approx(limit, abs=0.05 + 0.03 * limit)


def test_a_limit_that_changes_is_kept_before_and_after() -> None:
    held = Held(2.4, lambda: USUAL_S)
    held.run(50.0)
    held.slots.set_limit(0.6)
    held.run(50.0)
    assert held.mean_inflight == pytest.approx((2.4 + 0.6) / 2, rel=0.03)


def test_a_limit_below_one_opens_now_and_then_and_says_when() -> None:
    """A quarter of the time: after 100 ms in use it is shut for 300."""
    slots = Slots(0.0, 0.25)
    slots.usual_s = USUAL_S
    assert slots.open_slots(0.0) == 1
    slots.inflight = 1
    slots.settle(0.1)
    assert slots.open_slots(0.1) == 1, "it is in use, and stays so"
    slots.inflight = 0
    assert slots.open_slots(0.1) == 0
    assert slots.next_change_at(0.1) == pytest.approx(0.4)
    slots.settle(0.39)
    assert slots.open_slots(0.39) == 0
    slots.settle(0.4001)
    assert slots.open_slots(0.4001) == 1


def test_nothing_is_saved_up_while_nobody_comes() -> None:
    """After an hour of rest the part-time slot is worth a tenth of an attempt, not an hour."""
    held = Held(1.5, lambda: USUAL_S)
    held.slots.settle(3600.0)
    held.now = 3600.0
    held._sum_s = 1.5 * 3600.0
    before = held._sum_s
    held.run(1.0)
    assert (held._sum_s - before) / 1.0 == pytest.approx(1.5, abs=0.07)


def test_one_endless_attempt_is_not_held_against_the_slot_for_ever() -> None:
    """A debt is forgotten beyond two attempts' worth of earning."""
    slots = Slots(0.0, 0.5)
    slots.usual_s = USUAL_S
    slots.inflight = 1
    slots.settle(3600.0)
    slots.inflight = 0
    assert slots.open_slots(3600.0) == 0
    assert slots.next_change_at(3600.0) - 3600.0 == pytest.approx(2 * USUAL_S / 0.5 / 0.5)


def test_whole_limits_keep_no_account() -> None:
    slots = Slots(0.0, 3.01)
    slots.inflight = 3
    slots.settle(10.0)
    assert (slots.open_slots(10.0), slots.next_change_at(10.0)) == (3, math.inf)


def test_who_fails_fast_leaves_the_slot_to_cool() -> None:
    slots = Slots(0.0, 2.0)
    slots.cool(1.0)
    assert (slots.open_slots(0.5), slots.next_change_at(0.5)) == (1, 1.0)
    slots.cool(1.2)
    slots.cool(1.3)
    assert slots.open_slots(0.5) == 0, "three cool of two: the limit has fallen"
    assert slots.open_slots(1.25) == 1
    assert (slots.open_slots(1.3), slots.next_change_at(1.3)) == (2, math.inf)


@pytest.mark.parametrize("limit", [1.0, 3.0, 0.2, 0.5, 1.5, 2.4])
def test_instant_failures_get_no_more_attempts_than_successes_would(limit: float) -> None:
    """Each fails in 1 ms and cools for the rest of 100: limit / 100 ms a second, as if all had gone well."""
    held = Held(limit, lambda: 0.001, cool_s=USUAL_S - 0.001)
    held.run(200.0)
    assert held.started / 200.0 == pytest.approx(limit / USUAL_S, rel=0.05)


def test_a_clock_that_stands_or_goes_back_changes_nothing() -> None:
    slots = Slots(100.0, 0.5)
    slots.usual_s = USUAL_S
    slots.inflight = 1
    assert slots.settle(100.1) == pytest.approx(0.1)
    due = slots.next_change_at(100.1)
    assert (slots.settle(100.1), slots.settle(40.0)) == (0.0, 0.0)
    assert slots.next_change_at(100.1) == due


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["start", "end", "fail", "limit"]),
            st.floats(0.0, 5.0),
            st.floats(0.2, 9.0),
        ),
        max_size=80,
    )
)
def test_open_slots_stay_between_none_and_the_next_whole_number(
    moves: list[tuple[str, float, float]],
) -> None:
    """Whatever happens in whatever order; a promised change is never in the past of what is shut."""
    slots, now, limit = Slots(0.0, 2.4), 0.0, 2.4
    for what, passes_s, value in moves:
        now += passes_s
        slots.settle(now)
        is_open = slots.inflight < slots.open_slots(now)
        if what == "start" and is_open:
            slots.inflight += 1
        elif what in ("end", "fail") and slots.inflight:
            slots.inflight -= 1
            slots.usual_s = value / 10
            if what == "fail":
                slots.cool(now + value)
        elif what == "limit":
            limit = value
            slots.set_limit(limit)
        assert 0 <= slots.open_slots(now) <= math.ceil(limit)
        if not slots.open_slots(now) and not slots.inflight:
            at = slots.next_change_at(now)
            assert now < at < math.inf
            slots.settle(at + 1e-6)
            now = at + 1e-6
