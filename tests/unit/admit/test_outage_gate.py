"""The outage gate: its docstring's worked example, and what holds whatever comes when."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.admit.outage import OutageGate
from proxy.base.outcomes import FIRST, PROBE, AttemptOutcome
from proxy.base.reasons import Reason


def gate(seed: int = 1) -> OutageGate:
    return OutageGate(rng=random.Random(seed))


def fail(it: OutageGate, now: float, count: int = 1, limit: float = 1.0, *, started_at: float = 0.0) -> str:
    change = ""
    for _ in range(count):
        change = it.on_outcome(now, started_at, False, limit)
    return change


def closed(now: float = 100.0, limit: float = 1.0) -> OutageGate:
    it = gate()
    assert fail(it, now, 6 if limit <= 3 else int(2 * limit), limit) == "closed"
    return it


@pytest.mark.parametrize(
    ("limit", "failing", "needed"), [(1, 0.0, 6), (4, 0.1, 8), (4, 0.5, 20), (32, 0.5, 64), (1, 0.99, 62)]
)
def test_so_many_failures_in_a_row_close_it(limit: float, failing: float, needed: int) -> None:
    it = gate()
    it.failing = failing
    assert math.ceil(it.threshold(limit)) == needed


def test_a_success_breaks_the_row() -> None:
    it = gate()
    assert fail(it, 1.0, 5) == ""
    assert it.on_outcome(1.1, 1.0, True, 1.0) == ""
    assert fail(it, 1.2, 5) == ""
    assert fail(it, 1.3) == "closed"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_failures_at_random_never_close_it_once_their_share_is_known(share: float) -> None:
    """100,000 attempts that fail at random, after 300 in which it learns how often."""
    it, rng = gate(), random.Random(5)
    closings = 0
    for number in range(100_300):
        change = it.on_outcome(number * 0.01, number * 0.01 - 0.005, rng.random() >= share, 1.0)
        closings += change == "closed" and number > 300
    assert closings <= 2, "one in a million per attempt, by design"


def test_a_dead_upstream_closes_it_however_often_it_failed_before() -> None:
    it = gate()
    it.failing = 1.0
    assert fail(it, 1.0, 61) == ""
    assert fail(it, 1.0) == "closed"


def test_probes_are_as_far_apart_as_the_worked_example_says() -> None:
    it = closed(100.0)
    now, pauses = 100.0, []
    for _ in range(8):
        pause = it.next_start_s(now)
        pauses.append(pause)
        now += pause
        assert it.next_start_s(now) == 0.0
        it.on_start(now)
        assert it.next_start_s(now) == math.inf
        fail(it, now, started_at=now)
    assert 1.0 <= pauses[0] <= 1.3
    assert 1.3 <= pauses[1] <= 1.69
    assert all(2.5 <= pause <= 3.25 for pause in pauses[4:])
    assert it.probes == 8


def test_a_slow_upstream_is_probed_less_often() -> None:
    it = gate()
    it.on_outcome(1.5, 0.0, True, 1.0)
    fail(it, 2.0, 6)
    assert 3.0 <= it.next_start_s(2.0) <= 3.9


def test_a_failure_from_before_the_closing_is_no_probe() -> None:
    """Five more come back that were out: they neither push the next probe away nor count as one."""
    it = closed(100.0)
    due = it.next_start_s(100.0)
    fail(it, 100.2, 5, started_at=99.0)
    assert it.next_start_s(100.2) == pytest.approx(due - 0.2)
    assert it.probes == 0


def test_the_kind_tells_the_probe_where_the_times_do_not() -> None:
    """Let in just before the closing and started just after: not the probe, which is still out."""
    it = closed(100.0)
    it.on_start(102.0)
    late = AttemptOutcome("default", FIRST, 100.001, 1)
    assert it.on_outcome(103.0, 100.001, False, 1.0, late) == ""
    assert it.next_start_s(103.0) == math.inf
    probe = AttemptOutcome("default", PROBE, 102.0, 1)
    it.on_outcome(103.0, 102.0, False, 1.0, probe)
    assert 1.3 <= it.next_start_s(103.0) <= 1.69


def test_a_probe_whose_caller_left_is_followed_by_another() -> None:
    it = closed(100.0)
    it.on_start(102.0)
    it.on_ignored(102.1, 102.0)
    assert 1.0 <= it.next_start_s(102.1) <= 1.3, "it counts as no failure"


def probe_at(started_at: float) -> AttemptOutcome:
    return AttemptOutcome("default", PROBE, started_at, 1)


def test_a_probe_that_is_out_while_the_gate_opens_and_closes_again_is_the_only_one() -> None:
    """It hangs; an attempt from before opens the gate, the slow start closes it: the next probe waits for the one that is out."""
    it = closed(100.0, limit=8.0)
    it.on_start(102.0)
    assert it.on_outcome(103.0, 99.0, True, 8.0) == "opened"
    assert it.next_start_s(103.0) == 0.0
    assert fail(it, 103.05, 3, 8.0) == "closed"
    assert it.next_start_s(110.0) == math.inf
    it.on_outcome(111.0, 102.0, False, 8.0, probe_at(102.0))
    assert 1.0 <= it.next_start_s(111.0) <= 5.2


@pytest.mark.parametrize("how", ["fails", "is left"])
def test_the_late_end_of_an_earlier_probe_is_not_the_end_of_this_one(how: str) -> None:
    """Its answer streamed: the head opened the gate, the body broke off, or its caller left, when another probe was out."""
    it = closed(100.0, limit=8.0)
    it.on_start(102.0)
    assert it.on_outcome(102.1, 102.0, True, 8.0, probe_at(102.0)) == "opened"
    assert fail(it, 102.15, 3, 8.0) == "closed"
    it.on_start(104.0)
    if how == "fails":
        it.on_outcome(105.0, 102.0, False, 8.0, probe_at(102.0))
    else:
        it.on_ignored(105.0, 102.0)
    assert it.next_start_s(105.0) == math.inf
    it.on_ignored(106.0, 104.0)
    assert it.next_start_s(106.0) < 2.0


def test_a_probe_that_is_left_while_the_gate_is_open_is_out_no_more() -> None:
    it = closed(100.0, limit=8.0)
    it.on_start(102.0)
    it.on_outcome(103.0, 99.0, True, 8.0)
    it.on_ignored(103.01, 102.0)
    assert fail(it, 103.05, 3, 8.0) == "closed"
    assert it.next_start_s(103.05) <= 5.2


def test_the_slow_start_doubles_every_usual_latency_from_one() -> None:
    it = closed(100.0)
    it.latency = 0.1
    it.on_start(102.0)
    assert it.on_outcome(102.1, 102.0, True, 8.0) == "opened"
    assert it.latency == pytest.approx(0.1)
    assert [int(it.most(102.1 + 0.1 * n + 1e-9)) for n in range(4)] == [1, 2, 4, 8]
    assert it.next_more_s(102.1) == pytest.approx(0.1)
    assert it.next_more_s(102.1 + 0.1 + 1e-9) == pytest.approx(0.1 * (math.log2(3) - 1))
    assert it.most(1e9) == 2.0**30


def test_three_failures_in_a_row_in_the_slow_start_close_it_again() -> None:
    it = closed(100.0, limit=8.0)
    it.on_start(102.0)
    it.on_outcome(102.1, 102.0, True, 8.0)
    assert fail(it, 102.15, 2, 8.0) == ""
    assert fail(it, 102.2, 1, 8.0) == "closed"
    assert 1.0 <= it.next_start_s(102.2) <= 1.3


def test_after_the_slow_start_it_takes_as_many_as_ever() -> None:
    it = closed(100.0, limit=8.0)
    it.on_start(102.0)
    it.on_outcome(102.1, 102.0, True, 8.0)
    assert fail(it, 102.1 + 0.31, 15, 8.0) == ""
    assert fail(it, 102.1 + 0.31, 1, 8.0) == "closed"


def test_its_decisions_are_in_words() -> None:
    it = gate()
    last = AttemptOutcome("default", FIRST, 0.0, 1)
    last.reason, last.error = Reason.CONNECT_FAILED, "[Errno 111] refused"
    for _ in range(6):
        it.on_outcome(1.0, 0.5, False, 1.0, last)
    for number in range(4):
        it.on_start(5.0 * number + 5)
        it.on_outcome(5.0 * number + 5, 5.0 * number + 5, number == 3, 1.0)
    last.status, last.reason = 503, Reason.UPSTREAM_STATUS
    for _ in range(3):
        it.on_outcome(20.0, 20.0, False, 8.0, last)
    it.on_outcome(20.5, 19.0, True, 8.0)
    assert list(it.notes) == [
        (1.0, "closed: 6 failures in a row, the last: connect_failed [Errno 111] refused"),
        (20.0, "open again after 4 probes in 19.0 s"),
        (20.0, "closed: 3 failures in a row of the slow start, the last: upstream_status 503"),
        (20.5, "open again after 0 probes in 0.5 s, by an attempt from before"),
    ]


class Traffic:
    """Callers that always want in, in virtual time, with the gate obeyed as a limiter obeys it."""

    def __init__(self, it: OutageGate, limit: int) -> None:
        self.gate = it
        self.limit = limit
        self.now = 0.0
        self.out: list[AttemptOutcome] = []
        self.probes: list[float] = []
        self.most_probes = 0

    def start(self) -> None:
        """Start one if it may."""
        it = self.gate
        allowed = self.limit if it.is_closed else min(self.limit, it.most(self.now))
        if it.next_start_s(self.now) > 0 or len(self.out) >= allowed:
            return
        kind = PROBE if it.is_closed else FIRST
        it.on_start(self.now)
        self.out.append(AttemptOutcome("default", kind, self.now, len(self.out) + 1))
        if kind is PROBE:
            self.probes.append(self.now)
        self.most_probes = max(self.most_probes, sum(one.kind is PROBE for one in self.out))

    def end(self, which: int, how: int) -> None:
        """End one: 0 with a success, 1 with a failure, 2 with its caller's leaving."""
        if not self.out:
            return
        one = self.out.pop(which % len(self.out))
        if how == 2:
            if one.kind is PROBE:
                self.gate.on_ignored(self.now, one.started_at)
            return
        change = self.gate.on_outcome(self.now, one.started_at, how == 0, float(self.limit), one)
        if how == 0:
            assert not self.gate.is_closed
            assert change in ("", "opened")
        elif change:
            assert change == "closed"
            assert self.gate.next_start_s(self.now) >= 1.0


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 3.0),
        st.integers(0, 3),
        st.integers(0, 40),
        st.sampled_from([0, 1, 1, 1, 1, 1, 1, 1, 2]),
    ),
    max_size=120,
)


@given(STEPS, st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=300)
def test_whatever_comes_when(steps: list[tuple[float, int, int, int]], limit: int, seed: int) -> None:
    """Never two probes within a second, never two in flight; every success leaves it open, and a closed one always probes."""
    it = gate(seed)
    traffic = Traffic(it, limit)
    for pause, starts, which, how in steps:
        traffic.now += pause
        for _ in range(starts):
            traffic.start()
        traffic.end(which, how)
    assert traffic.most_probes <= 1
    assert all(late - early >= 1.0 for early, late in zip(traffic.probes, traffic.probes[1:], strict=False))
    while traffic.out:
        traffic.end(0, 1)
    if it.is_closed:
        traffic.now += it.next_start_s(traffic.now)
        traffic.start()
        assert len(traffic.out) == 1
        traffic.end(0, 0)
    assert it.next_start_s(traffic.now) == 0.0
