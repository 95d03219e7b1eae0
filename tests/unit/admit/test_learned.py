"""A limit that is told what it may use: it enforces its share, cools after refusals, spaces starts, and counts."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.learned import LearnedLimit
from proxy.admit.limit import UNLIMITED
from proxy.base.outcomes import AttemptOutcome, Verdict

T = 1000.0


def made(slots: int = 4, *, most: int = 256, least: int = 0, is_fixed: bool = False) -> LearnedLimit:
    return LearnedLimit(now=T, rng=random.Random(1), slots=slots, most=most, least=least, is_fixed=is_fixed)


def end(limit: LearnedLimit, at: float, took_s: float, verdict: Verdict) -> None:
    outcome = AttemptOutcome("default", "first", at - took_s, 1)
    outcome.ended_at = at
    limit.on_outcome(outcome, verdict)


def attempt(limit: LearnedLimit, began: float, took_s: float, verdict: Verdict = Verdict.SUCCESS) -> None:
    limit.on_start(began)
    end(limit, began + took_s, took_s, verdict)


def test_a_share_is_put_in_force_up_to_the_most() -> None:
    limit = made(4, most=10)
    limit.apply(T, 7, 0.0)
    assert (limit.value, limit.nominal) == (7, 7.0)
    limit.apply(T, 20, 0.0)
    assert limit.value == 10


def test_a_share_of_nothing_lets_nobody_in() -> None:
    limit = made(4)
    limit.apply(T, 0, 0.0)
    assert (limit.value, limit.nominal) == (0, 1.0)
    assert limit.next_change_s(T) == math.inf, "only another share helps"


def test_bounds_move_the_share_at_once_and_the_most_wins() -> None:
    limit = made(4)
    limit.set_bounds(6, 20)
    assert limit.value == 6
    limit.set_bounds(0, 3)
    assert limit.value == 3
    limit.set_bounds(9, 5)
    assert limit.value == 5


def test_a_fixed_limit_stays_and_counts() -> None:
    limit = made(4, is_fixed=True)
    limit.apply(T, 9, 50.0)
    limit.set_bounds(6, 2)
    attempt(limit, T, 1.0)
    attempt(limit, T + 1.0, 0.01, Verdict.DROPPED)
    assert (limit.value, limit.rate, limit.cooling) == (4, 0.0, 0)
    assert (limit.ok, limit.bad, limit.fast) == (1, 1, 1)


def test_a_failure_that_is_faster_than_a_success_keeps_its_slot_until_one_would_have_come() -> None:
    """Between 0.7 and 1.3 times what is usual, so that refused calls do not come back together."""
    limit = made(4)
    attempt(limit, T, 1.0)
    limit.on_start(T + 1.0)
    end(limit, T + 1.1, 0.1, Verdict.DROPPED)
    assert (limit.value, limit.cooling, limit.inflight) == (3, 1, 0)
    change_s = limit.next_change_s(T + 1.1)
    assert 0.6 <= change_s <= 1.2
    limit.next_start_s(T + 1.1 + change_s - 0.01)
    assert limit.value == 3
    limit.next_start_s(T + 1.1 + change_s)
    assert (limit.value, limit.cooling) == (4, 0)


def test_a_slow_failure_frees_its_slot_at_once() -> None:
    limit = made(4)
    attempt(limit, T, 1.0)
    attempt(limit, T + 1.0, 1.4, Verdict.DROPPED)
    assert (limit.value, limit.cooling, limit.bad, limit.fast) == (4, 0, 1, 0)


def test_a_failure_before_any_success_cools_nothing_and_is_taken_for_a_refusal() -> None:
    limit = made(4)
    attempt(limit, T, 1.4, Verdict.DROPPED)
    assert (limit.value, limit.bad, limit.fast) == (4, 1, 1)


def test_cooling_slots_end_in_the_order_of_their_time() -> None:
    limit = made(8)
    attempt(limit, T, 1.0)
    for _ in range(6):
        attempt(limit, T + 1.0, 0.01, Verdict.DROPPED)
    ends = []
    at = T + 1.01
    while limit.cooling:
        at += limit.next_change_s(at)
        limit.next_start_s(at)
        ends.append(at)
    assert ends == sorted(ends)
    assert T + 1.7 <= ends[0] < ends[-1] <= T + 2.3 + 0.01


def test_more_cooling_slots_than_the_share_are_a_limit_of_nothing() -> None:
    limit = made(8)
    attempt(limit, T, 1.0)
    for _ in range(6):
        attempt(limit, T + 1.0, 0.01, Verdict.DROPPED)
    limit.apply(T + 1.1, 2, 0.0)
    assert (limit.value, limit.nominal) == (0, 2.0)


def test_a_rate_spaces_starts_evenly() -> None:
    limit = made(100)
    limit.apply(T, 100, 20.0)
    now, starts = T + 5.0, []
    while len(starts) < 50:
        pause_s = limit.next_start_s(now)
        if pause_s > 0.0:
            now += pause_s
            continue
        limit.on_start(now)
        starts.append(now)
    assert starts[0] == T + 5.0
    gaps = [late - early for early, late in pairwise(starts)]
    assert gaps[0] == pytest.approx(0.0), "what came late by 50 ms is made up for"
    assert gaps[1:] == pytest.approx([0.05] * 48)


def test_where_a_rate_is_in_force_nothing_cools() -> None:
    limit = made(4)
    attempt(limit, T, 1.0)
    attempt(limit, T + 1.0, 0.01, Verdict.DROPPED)
    assert limit.cooling == 1
    limit.apply(T + 1.1, 4, 10.0)
    assert limit.cooling == 0
    attempt(limit, T + 2.0, 0.01, Verdict.DROPPED)
    assert (limit.cooling, limit.bad) == (0, 2)


def test_without_a_rate_anybody_may_start_at_once() -> None:
    limit = made(4)
    limit.apply(T, 4, 0.5)
    limit.on_start(T + 10.0)
    assert limit.next_start_s(T + 10.0) > 0.0
    limit.apply(T + 10.0, 4, 0.0)
    assert limit.next_start_s(T + 10.0) == 0.0


def test_a_higher_rate_does_not_wait_for_the_lower_ones_next_start() -> None:
    limit = made(4)
    limit.apply(T, 4, 0.1)
    limit.on_start(T)
    limit.apply(T, 4, 10.0)
    assert limit.next_start_s(T) <= 0.1 + 1e-9


def test_an_ignored_attempt_frees_its_slot_and_says_nothing() -> None:
    limit = made(4)
    attempt(limit, T, 1.0)
    before = (limit.ok, limit.bad, limit.fast, limit.took_s, limit.log, limit.log2, limit.usual_s)
    limit.on_start(T + 1.0)
    assert limit.inflight == 1
    end(limit, T + 1.1, 0.1, Verdict.IGNORE)
    assert (limit.inflight, limit.cooling) == (0, 0)
    assert before == (limit.ok, limit.bad, limit.fast, limit.took_s, limit.log, limit.log2, limit.usual_s)


def test_successes_add_up() -> None:
    limit = made(4)
    for took_s in (0.5, 2.0):
        attempt(limit, T, took_s)
    assert (limit.ok, limit.took_s) == (2, 2.5)
    assert limit.log == pytest.approx(0.0)
    assert limit.log2 == pytest.approx(2 * math.log(2.0) ** 2)


def test_the_time_that_the_gate_is_closed_is_counted_as_it_passes() -> None:
    limit = made(4)
    limit.on_gate(False, T)
    limit.on_gate(True, T + 1.0)
    limit.count(T + 3.0)
    assert limit.shut_s == pytest.approx(2.0)
    limit.count(T + 4.0)
    limit.on_gate(False, T + 4.5)
    limit.count(T + 9.0)
    assert limit.shut_s == pytest.approx(3.5)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "success", "refused", "slow", "ignore", "ask", "apply", "rate"]),
        st.floats(0.0, 2.0),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_busy_seconds_are_the_integral_of_slots_in_use_and_cooling(steps: list[tuple[str, float]]) -> None:
    """Against a list of when each slot was taken and free again. In flight is never below 0."""
    limit = made(8)
    now = T
    spans: list[tuple[float, float]] = []
    out: list[float] = []
    cooling: list[tuple[float, float]] = []
    for what, passed_s in steps:
        now += passed_s
        if what == "start":
            limit.on_start(now)
            out.append(now)
        elif what in ("apply", "rate"):
            clears = what == "rate" and not limit.rate
            limit.apply(now, 5, 10.0 if what == "rate" else 0.0)
            if clears:
                spans += [(began, min(until, now)) for began, until in cooling]
                cooling = []
        elif what == "ask":
            limit.next_start_s(now)
        elif out:
            began = out.pop(0)
            verdict = {"success": Verdict.SUCCESS, "ignore": Verdict.IGNORE}.get(what, Verdict.DROPPED)
            known = set(limit._cooling)
            took_s = now - began if what != "refused" else min(0.01, now - began)
            end(limit, now, took_s, verdict)
            spans.append((began, now))
            cooling += [(now, until) for until in limit._cooling if until not in known and until > now]
        assert limit.inflight == len(out)
    now += 1.0
    limit.count(now)
    spans += [(began, now) for began in out] + [(began, min(until, now)) for began, until in cooling]
    assert limit.busy_s == pytest.approx(sum(until - began for began, until in spans), abs=1e-6)


def test_a_lease_ends_by_the_limits_own_clock() -> None:
    """Nobody has to say so, and no timer: whoever asks to start finds it ended."""
    limit = made(4)
    limit.apply(T, 4, 0.0)
    limit.lease(T + 2.5, 0, 0.0)
    assert (limit.next_start_s(T + 2.4), limit.value, limit.probes) == (0.0, 4, 4)
    assert (limit.next_start_s(T + 2.5), limit.value, limit.probes) == (0.0, 0, 0)
    limit.apply(T + 3.0, 3, 0.0)
    limit.lease(T + 5.5, 1, 2.0)
    limit.next_start_s(T + 5.0)
    assert limit.value == 3
    limit.next_start_s(T + 6.0)
    assert (limit.value, limit.rate) == (1, 2.0)


def test_a_share_that_is_no_lease_lets_any_probe_go() -> None:
    assert made(0).probes == UNLIMITED


def test_slots_set_by_hand_are_leased_to_nobody() -> None:
    limit = made(4, is_fixed=True)
    limit.lease(T, 0, 0.0)
    limit.next_start_s(T + 1.0)
    assert limit.value == 4
