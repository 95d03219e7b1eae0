"""Anything in any order: the limit moves only when it may, stays in its bounds, and says what can be said of it."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.admit.adaptive import LOWEST, AdaptiveLimit
from proxy.admit.leap import LEAP
from proxy.admit.limit import Verdict
from proxy.base.outcomes import AttemptOutcome
from proxy.operations import _number
from tests.fakes.pull import HELD, LATENCY_S, START, SWING, Pull, Upstream, made


class Moves(RuleBasedStateMachine):
    """An owner that obeys the Limit's contract, and a world that obeys nothing.

    What moves the limit by itself is a tick at most four times a second, at a half's end or at a leap's, seen in
    ``next_start_s``; a cut or the end of a hopeless leap, seen in a failure; the gate; other bounds. Nothing else does.
    """

    @initialize(start=st.floats(0.1, 300.0), seed=st.integers(0, 9))
    def make(self, start: float, seed: int) -> None:
        self.now = START
        self.lowest, self.highest = LOWEST, 256.0
        self.rng = random.Random(seed)
        self.limit = AdaptiveLimit(
            now=self.now, wall=1.7e9, rng=random.Random(seed), salt=b"upstream", start=start
        )
        self.began: list[float] = []
        self.is_closed = False

    def unmoved(self, before: float) -> None:
        assert self.limit.limit == before

    def ask(self) -> float:
        """Ask as the limiter does; asking twice in a moment tells the same."""
        limit, before = self.limit, self.limit.limit
        pause_s = limit.next_start_s(self.now)
        if self.is_closed:
            self.unmoved(before)
        after, value = limit.limit, limit.value
        assert (limit.next_start_s(self.now), limit.limit, limit.value) == (pause_s, after, value)
        assert 0.0 <= pause_s < math.inf
        assert 0 <= value <= math.ceil((after + HELD) * SWING)
        assert 0.0 < limit.next_change_s(self.now) <= 0.25 + 1e-3
        return pause_s

    @rule(seconds=st.one_of(st.floats(0.0, 0.3), st.floats(0.0, 10.0), st.sampled_from([60.0, 3600.0])))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 30))
    def callers_come(self, count: int) -> None:
        """As many start as may; one that may not waits."""
        for _ in range(count):
            pause_s = self.ask()
            before = self.limit.limit
            if pause_s or len(self.began) >= self.limit.value:
                self.limit.on_blocked(self.now)
                self.unmoved(before)
                return
            self.limit.on_start(self.now)
            self.began.append(self.now)
            self.unmoved(before)

    @precondition(lambda self: self.is_closed)
    @rule()
    def a_probe_starts(self) -> None:
        self.limit.on_start(self.now)
        self.began.append(self.now)

    @precondition(lambda self: self.began)
    @rule(count=st.integers(1, 30), verdict=st.sampled_from(list(Verdict)), oldest=st.booleans())
    def attempts_end(self, count: int, verdict: Verdict, oldest: bool) -> None:
        for _ in range(min(count, len(self.began))):
            self.end(self.began.pop(0 if oldest else -1), verdict)

    def end(self, began: float, verdict: Verdict) -> None:
        limit, before, inside = self.limit, self.limit.limit, self.limit.inside()
        outcome = AttemptOutcome("default", "first", began, 1)
        outcome.ended_at = self.now
        limit.on_outcome(outcome, verdict)
        if verdict is Verdict.DROPPED and not self.is_closed:
            assert limit.limit <= before
        else:
            self.unmoved(before)
        if verdict is Verdict.IGNORE:
            assert limit.inside() == inside

    @rule(seconds=st.floats(0.5, 9.0), share=st.sampled_from([0.0, 0.0, 0.02, 0.2, 0.6, 1.0]))
    def a_pull_goes_on(self, seconds: float, share: float) -> None:
        """Many callers, answers within 20 to 200 ms, of which a share fails."""
        until = self.now + seconds
        ends: list[tuple[float, float]] = []
        while self.now < until:
            started = len(self.began)
            self.callers_come(8)
            ends += [(began + self.rng.uniform(0.02, 0.2), began) for began in self.began[started:]]
            self.now += 0.08
            for end, began in [pair for pair in ends if pair[0] <= self.now]:
                ends.remove((end, began))
                self.began.remove(began)
                self.end(began, Verdict.DROPPED if self.rng.random() < share else Verdict.SUCCESS)

    @rule()
    def the_gate_turns(self) -> None:
        """It opens with an attempt that goes well, which the limit hears of first."""
        before = self.limit.limit
        if self.is_closed:
            if not self.began:
                self.a_probe_starts()
            self.attempts_end(1, Verdict.SUCCESS, True)
            self.limit.on_gate_opened(self.now)
        else:
            self.limit.on_gate_closed(self.now)
            assert self.limit.limit <= before, "a leap is over"
        self.is_closed = not self.is_closed

    @rule(lowest=st.floats(LOWEST, 20.0), span=st.floats(1.0, 15.0))
    def the_operator_sets_bounds(self, lowest: float, span: float) -> None:
        before = self.limit.limit
        self.lowest, self.highest = lowest, lowest * span
        self.limit.set_bounds(self.lowest, self.highest)
        assert self.limit.limit == min(max(before, self.lowest), self.highest)

    @rule(wall=st.one_of(st.floats(0.0, 4e9), st.floats(1.7e9 - 5.0, 1.7e9 + 5.0)))
    def the_wall_clock_is_put_right(self, wall: float) -> None:
        before = self.limit.limit
        self.limit.set_wall(self.now, wall)
        self.unmoved(before)

    @invariant()
    def it_stays_in_its_bounds(self) -> None:
        limit = self.limit
        assert self.lowest <= limit.limit <= self.highest
        assert limit.inflight == len(self.began)
        assert 0.0 <= limit.base_rate < 0.5

    @invariant()
    def what_is_inside_can_be_shown(self) -> None:
        inside = self.limit.inside()
        assert not [name for name, value in inside.items() if math.isnan(value) or value == -math.inf]
        json.dumps({name: _number(value) for name, value in inside.items()}, allow_nan=False)
        assert 0.0 <= inside["blame"] <= 1.0
        assert 0.0 <= inside["failing"] <= 1.0
        assert inside["contention"] > 0.0
        assert inside["pace"] > 0.0


Moves.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestMoves = Moves.TestCase


def thrashing(most: int) -> Upstream:
    """Carries so many; beyond them each takes as much longer as all do together."""
    return lambda inflight, rng: (LATENCY_S * max(1.0, inflight / most) ** 2, True)


@pytest.mark.parametrize(("most", "factor"), [(4, 1.0), (3, 0.8), (2, 0.54)])
def test_after_a_drowned_question_it_goes_to_where_latency_is_nearly_usual(most: int, factor: float) -> None:
    """Half of 8 in flight, at which an answer takes as long as usual, 1.8 times or 4 times as long: 1.1 will do."""
    pull = Pull(made(), callers=100).run(100.0, thrashing(8))
    before = until(pull, thrashing(most), "answers are suddenly slow")
    assert before == pytest.approx(8.0, rel=0.04)
    half = until(pull, thrashing(most), f"half of {before:.2f} moved goodput as if ")
    assert half == 0.5 * before
    assert pull.limit.limit == pytest.approx(factor * half, rel=0.03)


def test_for_a_minute_after_a_drowned_question_nobody_leaps() -> None:
    """It is known by then what more would do."""
    pull = Pull(made(), callers=100).run(100.0, thrashing(8))
    until(pull, thrashing(2), " moved goodput as if ")
    asked_at, leaps = pull.now, []
    while pull.now < asked_at + 120.0:
        before = pull.limit.limit
        pull.run(0.05, thrashing(2))
        if pull.limit.limit > 0.99 * LEAP * before:  # a pair's step may fall on the same instant
            leaps.append(pull.now - asked_at)
    assert 60.0 < min(leaps) < 80.0


def until(pull: Pull, upstream: Upstream, words: str) -> float:
    """Run until it says so; return the limit of just before."""
    for _ in range(1000):
        before = pull.limit.limit
        pull.run(0.02, upstream)
        if any(words in said for _, said in pull.limit.notes):
            return before
    raise AssertionError(words)
