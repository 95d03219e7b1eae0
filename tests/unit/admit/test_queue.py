"""Whose turn it is: whoever had nothing for longest, by weight between priorities; nobody starves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.admit.queue import FairQueue, Queued
from proxy.base.wishes import Priority

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW
WEIGHTS = {HIGH: 16, NORMAL: 4, LOW: 1}


class Crowd:
    """A queue whose waiters have names."""

    def __init__(self) -> None:
        self.queue: FairQueue[Queued] = FairQueue()
        self.waiting: dict[Queued, str] = {}

    def push(self, name: str, since: float = 0.0, priority: Priority = NORMAL) -> Queued:
        waiter = Queued(since, priority)
        self.waiting[waiter] = name
        self.queue.push(waiter)
        return waiter

    def pop(self) -> str:
        head = self.queue.peek()
        waiter = self.queue.pop()
        assert waiter is head
        return self.waiting.pop(waiter)

    def discard(self, waiter: Queued) -> None:
        self.queue.discard(waiter)
        self.waiting.pop(waiter, None)

    def emptied(self) -> list[str]:
        names = [self.pop() for _ in range(self.queue.size)]
        assert (self.queue.peek(), self.waiting) == (None, {})
        return names


def crowd(*waiters: tuple[str, float, Priority]) -> Crowd:
    made = Crowd()
    for name, since, priority in waiters:
        made.push(name, since, priority)
    return made


def test_equal_claims_go_in_the_order_of_arrival() -> None:
    some = crowd(*((str(n), 5.0, NORMAL) for n in range(20)))
    assert some.emptied() == [str(n) for n in range(20)]


def test_who_had_nothing_for_longest_goes_first() -> None:
    """Three that were served at 7, 8 and 9, and one that was quiet since 2 and comes last."""
    some = crowd(("7", 7, NORMAL), ("8", 8, NORMAL), ("9", 9, NORMAL), ("quiet", 2, NORMAL))
    assert some.emptied() == ["quiet", "7", "8", "9"]


def test_a_retry_goes_ahead_of_calls_that_began_after_its_own() -> None:
    some = crowd(("later", 11, NORMAL), ("latest", 12, NORMAL), ("retry", 10, NORMAL))
    assert some.emptied() == ["retry", "later", "latest"]


def test_one_that_always_comes_back_at_once_gets_no_more_turns_than_the_others() -> None:
    """Ten that come back as soon as they are served, and one that comes now and then and never waits for a second turn."""
    some = crowd(*((f"greedy {number}", number, NORMAL) for number in range(10)))
    turns: Counter[str] = Counter()
    quiet_since = 0.0
    for now in range(20, 1020):
        if now % 25 == 0:
            some.push("quiet", quiet_since)
        served = some.pop()
        turns[served] += 1
        assert (served == "quiet") == (now % 25 == 0)
        if served == "quiet":
            quiet_since = now + 0.5
        else:
            some.push(served, now + 0.5)
    assert turns.pop("quiet") == 40
    assert max(turns.values()) - min(turns.values()) <= 1


def test_the_worked_example_of_the_docstring() -> None:
    """Two high, two normal and one low come at 0: due at 1, 2, 4, 8 and 16."""
    some = crowd(("l1", 0, LOW), ("n1", 0, NORMAL), ("n2", 0, NORMAL), ("h1", 0, HIGH), ("h2", 0, HIGH))
    assert some.emptied() == ["h1", "h2", "n1", "n2", "l1"]


def test_the_weights_hold_while_all_priorities_wait() -> None:
    some = crowd(*((p.value, n, p) for n in range(2000) for p in Priority))
    for _ in range(40):
        assert Counter(some.pop() for _ in range(21)) == {"high": 16, "normal": 4, "low": 1}


@pytest.mark.parametrize("other", [HIGH, NORMAL])
def test_low_is_served_beside_an_endless_stream_of_others(other: Priority) -> None:
    """Also when that stream is one connection, whose line is empty after each turn."""
    some = crowd(("low", 0, LOW))
    for turn in range(100):
        some.push("other", turn, other)
        if some.pop() == "low":
            assert turn <= WEIGHTS[other]
            return
    raise AssertionError("it starved")


def test_turns_that_nobody_takes_are_not_saved_up() -> None:
    """After a thousand turns of normal alone, high and low get their shares and no more."""
    some = Crowd()
    for number in range(1000):
        some.push("alone", number)
        some.pop()
    for number in range(100):
        for priority in Priority:
            some.push(priority.value, number, priority)
    assert Counter(some.pop() for _ in range(42)) == {"high": 32, "normal": 8, "low": 2}


def test_leaving_costs_no_turn_and_takes_none() -> None:
    some = Crowd()
    waiters = [some.push(f"{p.value}{n}", n, p) for p in Priority for n in range(3)]
    for waiter in waiters[1::2]:
        some.discard(waiter)
        some.discard(waiter)
    assert some.queue.size == 5
    assert some.emptied() == ["high0", "high2", "normal1", "low0", "low2"]
    some.discard(waiters[0])
    assert some.queue.size == 0


def test_popping_from_nobody_is_an_error() -> None:
    queue: FairQueue[Queued] = FairQueue()
    assert queue.peek() is None
    with pytest.raises(IndexError):
        queue.pop()


def test_how_many_are_ahead_is_told_by_claim_and_weight() -> None:
    """Exact within a priority; of the others as many as their weight gives turns meanwhile, and no more than wait."""
    some = crowd(*(("n", since, NORMAL) for since in (1.0, 2.0, 2.0, 3.0)))
    queue = some.queue
    assert [queue.ahead_of(since, NORMAL) for since in (0.5, 1.0, 2.0, 2.5, 9.0)] == [0, 1, 3, 3, 4]
    assert (queue.ahead_of(0.0, HIGH), queue.ahead_of(0.0, LOW)) == (0, 4)
    for _ in range(100):
        some.push("h", 5.0, HIGH)
    assert queue.ahead_of(0.5, NORMAL) == 0 + 4
    assert queue.ahead_of(9.0, NORMAL) == 4 + 20
    assert queue.ahead_of(9.0, HIGH) == 100 + 4
    assert queue.ahead_of(0.0, LOW) == 16 + 4


# --- any sequence of comings, leavings and turns -------------------------------------------------------------------

priorities = st.sampled_from(Priority)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 9), priorities),
        st.tuples(st.just("pop"), st.just(0), st.just(NORMAL)),
        st.tuples(st.just("leave"), st.integers(0, 99), st.just(NORMAL)),
    ),
    max_size=200,
)


@given(steps)
@settings(max_examples=200)
def test_every_turn_is_the_right_one_whoever_left(steps: list[tuple[str, int, Priority]]) -> None:
    """Within the priority that has the turn it is the oldest claim's, then that of the first to come."""
    some = Crowd()
    queue = some.queue
    for step, value, priority in steps:
        waiting = list(some.waiting)  # in the order of arrival
        if step == "push":
            older = sum(w.priority is priority and w.since <= value for w in waiting)
            assert queue.ahead_of(value, priority) >= older
            some.push("", value, priority)
        elif step == "leave" and waiting:
            some.discard(waiting[value % len(waiting)])
        elif step == "pop" and waiting:
            head = queue.peek()
            assert head is not None
            rivals = [w for w in waiting if w.priority is head.priority]
            assert head is min(rivals, key=lambda w: w.since), "min keeps the first of equals"
            some.pop()
        assert queue.size == len(some.waiting)
    assert set(queue.items()) == set(some.waiting)


@given(st.lists(st.tuples(st.integers(0, 19), priorities, st.integers(0, 3)), min_size=1, max_size=400))
@settings(max_examples=200)
def test_nobody_starves_whoever_comes(script: list[tuple[int, Priority, int]]) -> None:
    """Twenty connections, each with one call at a time, come back as they like.

    While a call waits, no connection overtakes it twice within its priority, and its priority has a turn after 21 others.
    """
    some = Crowd()
    since = dict.fromkeys(range(20), 0.0)
    overtaken: dict[str, Counter[str]] = {}
    turns_without: Counter[Priority] = Counter()
    for now, (connection, priority, idle) in enumerate(script, 1):
        if str(connection) not in overtaken:
            overtaken[str(connection)] = Counter()
            some.push(str(connection), since[connection], priority)
        if idle:
            continue
        turn = some.queue.peek()
        assert turn is not None
        served = some.pop()
        del overtaken[served]
        since[int(served)] = float(now)
        for waiter, name in some.waiting.items():
            if waiter.priority is turn.priority:
                overtaken[name][served] += 1
                assert overtaken[name][served] == 1
        present = {waiter.priority for waiter in some.waiting}
        for each in Priority:
            has_waited = each is not turn.priority and each in present
            turns_without[each] = turns_without[each] + 1 if has_waited else 0
            assert turns_without[each] <= 21
