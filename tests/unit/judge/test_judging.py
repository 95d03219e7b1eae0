"""Backoff, budget, Retry-After and the rules of a retry: each docstring's worked example, and its edges."""

from __future__ import annotations

import asyncio
import random
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.base.outcomes import AttemptOutcome
from proxy.base.reasons import Reason
from proxy.judge.backoff import pause_s
from proxy.judge.budget import RetryBudget
from proxy.judge.classify import Classifier
from proxy.judge.retry import RetryPolicy, Why
from proxy.judge.retry_after import CAP_S, parse_retry_after
from tests.fakes.loop import soon
from tests.fakes.virtual import BEGINNING_S, now, run

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("retry", "low", "high"), [(1, 0.05, 0.1), (3, 0.2, 0.4), (8, 5.0, 10.0), (10_000, 5.0, 10.0)]
)
def test_the_pauses_lie_where_the_worked_example_says(retry: int, low: float, high: float) -> None:
    rng = random.Random(1)
    pauses = [pause_s(retry, base_s=0.1, max_s=10.0, rng=rng) for _ in range(500)]
    assert low <= min(pauses) < low * 1.1
    assert high * 0.95 < max(pauses) <= high


def spend_all(budget: RetryBudget, now: float) -> int:
    count = 0
    while budget.try_spend(now):
        count += 1
    return count


def test_the_budget_allows_what_its_worked_example_says() -> None:
    budget = RetryBudget(ratio=0.2, floor_per_s=1.0, window_s=10.0, now=0.0)
    for _ in range(100):
        budget.note_first_try(0.0)
    assert spend_all(budget, 0.0) == 30
    assert spend_all(budget, 9.9) == 0
    assert spend_all(budget, 10.1) == 10, "the first tries have left the window, and the retries with them"


def test_a_budget_never_counts_less_than_one() -> None:
    """A floor of 0.01/s over 10 s would be a tenth of a retry: no retry ever."""
    assert spend_all(RetryBudget(ratio=0.0, floor_per_s=0.01, window_s=10.0, now=0.0), 0.0) == 1


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
def test_a_budget_is_never_overspent_in_any_window(steps: list[tuple[float, bool]]) -> None:
    """Whatever comes when: retries of the last window never exceed what its first tries and the floor allow."""
    budget = RetryBudget(ratio=0.5, floor_per_s=0.2, window_s=10.0, now=0.0)
    now, firsts, retries = 0.0, [], []
    for pause, is_first in steps:
        now += pause
        if is_first:
            budget.note_first_try(now)
            firsts.append(now)
        elif budget.try_spend(now):
            retries.append(now)
            counted = sum(at > now - 10.0 for at in firsts)
            assert sum(at > now - 9.0 for at in retries) <= 0.5 * counted + max(1.0, 2.0)


def test_waiting_for_the_budget_is_worth_it_when_a_slot_leaves() -> None:
    budget = RetryBudget(ratio=0.0, floor_per_s=1.0, window_s=1.0, now=0.0)
    assert budget.try_spend(0.0)
    now = 0.0
    for _ in range(20):
        if budget.try_spend(now):
            break
        now += budget.wait_s(now)
    assert now == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0), (b"1", 1.0), (b" 120 ", 120.0), (b"007", 7.0), (b"301", CAP_S), (b"9" * 400, CAP_S),
        (formatdate(NOW + 30, usegmt=True).encode(), 30.0), (formatdate(NOW - 30, usegmt=True).encode(), 0.0),
        (formatdate(NOW + 86400, usegmt=True).encode(), CAP_S),
        (b"Tuesday, 14-Nov-23 22:13:50 GMT", 30.0), (b"Tue Nov 14 22:13:50 2023", 30.0),
        (b"", None), (b"-1", None), (b"+5", None), (b"1.5", 2.0), (b"0.2", 1.0), (b"3.", 3.0), (b".5", None),
        (b"1.5.1", None), (b"1e3", None), (b"soon", None), (b"\xb2", None),
        (b"Tue, 99 Nov 2023 22:13:50 GMT", None), (b"\xff\xfe", None), (b"1, 2", None), (b"5 minutes", None),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_one_of_three_dates(value: bytes, seconds: float | None) -> None:
    """RFC 9110 §5.6.7, §10.2.3; a date without a zone means GMT wherever this pod stands."""
    assert parse_retry_after(value, lambda: NOW) == seconds


@given(st.binary(max_size=40))
def test_no_retry_after_raises(value: bytes) -> None:
    found = parse_retry_after(value, lambda: NOW)
    assert found is None or 0.0 <= found <= CAP_S


def policy(**over: float) -> RetryPolicy:
    budget = RetryBudget(
        ratio=0.0,
        floor_per_s=over.get("floor", 100.0),
        window_s=over.get("window", 1.0),
        now=BEGINNING_S,
    )
    return RetryPolicy(
        Classifier([500, 429, "reset"], None), budget, attempts=3, methods=frozenset({b"GET"}), base_s=0.1, max_s=1.0,
        rng=random.Random(1), wall=lambda: NOW,
    )  # fmt: skip


def failed(reason: Reason) -> AttemptOutcome:
    outcome = AttemptOutcome("default", "first", 0.0, 1)
    outcome.reason = reason
    return outcome


@pytest.mark.parametrize(
    ("reason", "tries", "repeatable", "replayable", "why"),
    [
        (Reason.RESET, 1, True, True, None),
        (Reason.RESET, 3, True, True, Why.ATTEMPTS),
        (Reason.RESET, 1, False, True, Why.METHOD),
        (Reason.CONNECT_FAILED, 1, False, True, None),
        (Reason.TLS_FAILED, 1, False, True, None),
        (Reason.STALE_CONNECTION, 1, False, True, Why.METHOD),
        (Reason.CONNECT_FAILED, 1, True, False, None),
    ],
)
def test_why_a_failure_stands(
    reason: Reason, tries: int, repeatable: bool, replayable: bool, why: Why | None
) -> None:
    found = policy().why_not(
        failed(reason), tries=tries, allowed=3, repeatable=repeatable, replayable=replayable
    )
    assert found == why


def test_a_pause_is_never_shorter_than_the_upstream_asked_for() -> None:
    outcome = failed(Reason.UPSTREAM_STATUS)
    outcome.retry_after_s = 7.0
    assert policy().pause_s(1, outcome) == 7.0
    outcome.retry_after_s = 0.0
    assert 0.05 <= policy().pause_s(1, outcome) <= 0.1


def test_the_budget_is_given_in_the_order_of_arrival() -> None:
    async def trace() -> None:
        rules = policy(floor=20.0, window=1.0)
        while rules.budget.try_spend(now()):
            pass
        order: list[int] = []

        async def ask(number: int) -> None:
            assert await rules.budget_by(now() + 5, now)
            order.append(number)

        await soon(asyncio.gather(*(ask(number) for number in range(5))))
        assert order == list(range(5))

    run(trace())


def test_an_empty_budget_says_no_only_at_the_deadline() -> None:
    async def trace() -> None:
        rules = policy(floor=0.001, window=60.0)
        assert await rules.budget_by(now() + 1, now)
        started = now()
        assert not await rules.budget_by(started + 0.05, now)
        assert now() - started >= 0.045

    run(trace())


def test_behind_a_concurrency_limit_an_empty_budget_only_spaces_retries_out() -> None:
    """By a tenth of its window at most, twenty at once as well; they are counted, so that the budget stays empty."""

    async def trace() -> None:
        rules = policy(floor=1.0, window=1.0)
        while rules.budget.try_spend(now()):
            pass
        started = now()
        asks = [rules.budget_by(started + 5, now, is_strict=False) for _ in range(20)]
        assert all(await soon(asyncio.gather(*asks)))
        assert now() - started <= 0.1 + 0.005
        assert repr(rules.budget).startswith("<RetryBudget 21 ")
        assert not rules.budget.try_spend(now())

    run(trace())


def test_nor_is_it_waited_for_past_the_deadline() -> None:
    async def trace() -> None:
        rules = policy(floor=0.001, window=60.0)
        assert await rules.budget_by(now() + 1, now, is_strict=False)
        started = now()
        assert not await rules.budget_by(started + 0.05, now, is_strict=False)
        assert now() - started < 0.001

    run(trace())
