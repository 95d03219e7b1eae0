"""A permit gives its slot back once, whatever is asked of it and however often."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admit.limiter import Limiter
from proxy.admit.permit import Permit
from proxy.admit.waiter import Waiter
from proxy.base.deadlines import Deadlines
from proxy.base.outcomes import AttemptOutcome, Verdict
from tests.fakes.counting import CountingLimit
from tests.fakes.virtual import now, run


def made(limit: CountingLimit) -> tuple[Limiter, Deadlines]:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, now)
    return Limiter(loop, deadlines, monotonic=now, limit=limit), deadlines


def close(permit: Permit, verdict: Verdict = Verdict.SUCCESS) -> None:
    permit.close(AttemptOutcome("default", "first", now(), 1), verdict, 0.1)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["close", "drop", "release"])), max_size=12))
def test_only_the_first_end_of_a_permit_counts(ends: list[tuple[int, str]]) -> None:
    """Three permits, ended in any order and any number of times."""

    async def trace() -> None:
        limit = CountingLimit(3)
        limiter, deadlines = made(limit)
        permits = [limiter.try_enter() for _ in range(3)]
        assert limiter.try_enter() is None
        told: dict[int, Verdict] = {}
        for number, how in ends:
            permit = permits[number]
            assert permit is not None
            assert permit.is_out is (number not in told)
            if how == "release":
                permit.release()
            else:
                close(permit, Verdict.SUCCESS if how == "close" else Verdict.DROPPED)
            verdicts = {"close": Verdict.SUCCESS, "drop": Verdict.DROPPED, "release": Verdict.IGNORE}
            told.setdefault(number, verdicts[how])
            assert not permit.is_out
            assert limiter.inflight == 3 - len(told)
        assert limit.ends == list(told.values())
        deadlines.close()

    run(trace())


@pytest.mark.parametrize("fails_at", ["start", "end"])
def test_a_limit_that_fails_keeps_no_slot(fails_at: str) -> None:
    async def trace() -> None:
        limit = CountingLimit(1)
        limiter, deadlines = made(limit)
        limit.fails_at = fails_at

        async def enter_and_close(*, at_once: bool) -> None:
            permit = limiter.try_enter() if at_once else await limiter.enter(Waiter(math.inf))
            assert isinstance(permit, Permit)
            close(permit)

        for at_once in (True, False):
            with pytest.raises(ZeroDivisionError):
                await enter_and_close(at_once=at_once)
        assert (limiter.inflight, limiter.waiting, len(deadlines)) == (0, 0, 0)
        deadlines.close()

    run(trace())


def test_a_permit_says_what_became_of_it() -> None:
    async def trace() -> None:
        limiter, deadlines = made(CountingLimit(1))
        permit = limiter.try_enter()
        assert permit is not None
        assert repr(permit) == "<Permit out>"
        permit.release()
        assert repr(permit) == "<Permit given back>"
        assert repr(Permit(limiter, True)) == "<Permit of the probe out>"
        deadlines.close()

    run(trace())
