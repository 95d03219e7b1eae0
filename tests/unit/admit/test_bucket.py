"""The bucket's promises, on a clock of the test's own where its library allows."""

from __future__ import annotations

import asyncio

import pytest

from proxy.admit.bucket import TokenBucket
from tests.fakes.loop import run


def drain(bucket: TokenBucket) -> int:
    count = 0
    while bucket.try_take():
        count += 1
    return count


@pytest.mark.parametrize(
    ("rate", "burst"),
    [(0.1, 1), (1, 1), (1, 5), (50, 1), (50, 20), (200, 7), (1000, 1), (1000, 20), (5000, 100)],
)
def test_no_second_sees_more_than_rate_and_burst(rate: float, burst: float) -> None:
    """Simulated on a loop whose clock the test moves, in steps of a millisecond, taking whatever can be taken."""

    async def trace() -> None:
        loop = asyncio.get_running_loop()
        now = 1000.0
        loop.time = lambda: now  # type: ignore[method-assign]
        bucket = TokenBucket(rate, burst)
        taken = []
        for _ in range(3500):
            taken.append(drain(bucket))
            now += 0.001
        most = max(sum(taken[i : i + 1000]) for i in range(len(taken) - 1000))
        assert most <= rate + burst
        steady = sum(taken[1000:3000]) / 2
        assert steady >= 0.97 * rate - 0.5
        del loop.time

    asyncio.run(trace())


@pytest.mark.parametrize(("rate", "burst", "most"), [(1000, 1, 995), (200, 20, 217)])
def test_the_worked_examples_of_the_docstring(rate: float, burst: float, most: int) -> None:
    """So many calls in the first second after a pause, when bucket and drip come together."""

    async def trace() -> None:
        loop = asyncio.get_running_loop()
        now = 1000.0
        loop.time = lambda: now  # type: ignore[method-assign]
        bucket = TokenBucket(rate, burst)
        taken = 0
        for _ in range(1000):
            taken += drain(bucket)
            now += 0.001
        assert most - 3 <= taken <= most  # the hand is empty at first
        del loop.time

    asyncio.run(trace())


def test_tokens_are_shown_as_they_are() -> None:
    async def trace() -> None:
        bucket = TokenBucket(0.001, 10)
        assert bucket.tokens() == pytest.approx(10, abs=0.2)
        for _ in range(4):
            assert bucket.try_take()
        assert bucket.tokens() == pytest.approx(6, abs=0.2)
        assert drain(bucket) == 6

    run(trace())


def test_cancelling_a_taker_takes_no_token() -> None:
    async def trace() -> None:
        bucket = TokenBucket(20, 1)
        assert drain(bucket) == 1
        taker = asyncio.ensure_future(bucket.take())
        await asyncio.sleep(0)
        taker.cancel()
        await asyncio.gather(taker, return_exceptions=True)
        await asyncio.sleep(0.055)
        assert bucket.try_take()

    run(trace())
