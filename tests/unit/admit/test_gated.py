"""A limit behind a gate: what the limiter sees of both, and what each of them is told."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.admit.bucket import TokenBucket
from proxy.admit.gated import GatedLimit
from proxy.admit.limit import UNLIMITED, FixedLimit
from proxy.admit.limiter import Limiter
from proxy.admit.outage import OutageGate
from proxy.admit.permit import Permit
from proxy.admit.waiter import Denied, State, Waiter
from proxy.base.deadlines import Deadlines
from proxy.base.outcomes import FIRST, PROBE, AttemptOutcome, Verdict
from proxy.base.reasons import Reason
from tests.fakes.loop import soon, until
from tests.fakes.virtual import now, run

FAR = math.inf
SPACING_S = 0.03


class Learning:
    """A limit that learns, and remembers what it was told."""

    probes = UNLIMITED
    is_plain = False

    def __init__(self, value: int = 4) -> None:
        self.value = value
        self.nominal = float(value)
        self.told: list[str] = []
        self.pause_s = 0.0

    def next_start_s(self, now: float) -> float:
        return self.pause_s

    def next_change_s(self, now: float) -> float:
        return 7.0

    def on_start(self, now: float) -> None:
        self.told.append("start")

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        self.told.append(verdict.value)

    def on_gate(self, is_closed: bool, now: float) -> None:
        self.told.append("closed" if is_closed else "opened")


def ended(now: float, *, kind: str = FIRST, inflight: int = 1, took_s: float = 0.1) -> AttemptOutcome:
    outcome = AttemptOutcome("default", kind, now - took_s, inflight)
    outcome.ended_at = now
    return outcome


def gated(limit: Any, seed: int = 1) -> GatedLimit:
    return GatedLimit(limit, OutageGate(rng=random.Random(seed)))


def fail(it: GatedLimit, now: float, count: int, inflight: int = 1) -> None:
    for _ in range(count):
        it.on_outcome(ended(now, inflight=inflight), Verdict.DROPPED)


def test_behind_no_gate_a_limit_is_as_it_is() -> None:
    it = GatedLimit(FixedLimit(3), None)
    fail(it, 1.0, 100)
    assert (it.is_plain, it.is_closed, it.value, it.next_start_s(2.0)) == (True, False, 3, 0.0)
    assert (it.next_probe_s(2.0), it.closed_s(2.0)) == (0.0, 0.0)


def test_a_fixed_limit_is_plain_but_for_an_outage_and_its_slow_start() -> None:
    it = gated(FixedLimit(4))
    assert it.is_plain
    fail(it, 10.0, 6)
    assert (it.is_plain, it.is_closed) == (False, True)
    assert 1.0 <= it.next_start_s(10.0) <= 1.3
    assert 1.0 <= it.next_probe_s(10.0) <= 1.3
    assert it.value == 4, "what is out still counts against the promise"
    it.on_start(12.0)
    assert it.next_start_s(12.0) == math.inf
    assert it.next_change_s(12.0) == math.inf
    assert it.next_probe_s(12.0) == 1.0, "nobody knows"
    it.on_outcome(ended(12.1, kind=PROBE), Verdict.SUCCESS)
    assert (it.is_plain, it.is_closed) == (False, False)
    assert (it.next_start_s(12.1), it.value) == (0.0, 1)
    assert it.next_change_s(12.1) == pytest.approx(0.1)
    assert (it.next_start_s(12.3 + 1e-9), it.value, it.is_plain) == (0.0, 4, True)
    assert it.closed_s(20.0) == pytest.approx(2.1)


def test_a_limit_that_learns_is_told_when_the_gate_closes_and_opens() -> None:
    limit = Learning()
    it = gated(limit)
    fail(it, 10.0, 6)
    it.next_start_s(12.0)
    assert it.value == UNLIMITED, "it was cut, and what is out may take long: one probe goes all the same"
    it.on_start(12.0)
    it.on_outcome(ended(12.1, kind=PROBE), Verdict.IGNORE)
    it.on_start(14.0)
    it.on_outcome(ended(14.1, kind=PROBE), Verdict.SUCCESS)
    assert limit.told == [
        *["dropped"] * 6,
        "closed",
        "start",
        "ignore",
        "start",
        "success",
        "opened",
    ]
    it.next_start_s(20.0)
    assert it.next_change_s(20.0) == 7.0


def test_a_lease_covers_the_probe_as_well() -> None:
    """Its slots and its pace: the owner's total holds while everything fails, too."""
    limit = Learning()
    it = gated(limit)
    fail(it, 10.0, 6)
    limit.probes = 2
    assert (it.next_start_s(12.0), it.value) == (0.0, 2)
    limit.pause_s = 3.0
    assert it.next_start_s(12.0) == 3.0


def test_another_limit_put_behind_a_closed_gate_finds_it_closed() -> None:
    it = gated(FixedLimit(4))
    fail(it, 10.0, 6)
    limit = Learning()
    it.wrap(limit, 11.0, 2)
    assert limit.told == ["start", "start", "closed"]
    it.on_outcome(ended(11.0), Verdict.SUCCESS)
    it.wrap(FixedLimit(2), 11.0, 2)
    assert not it.is_plain
    it.next_start_s(20.0)
    assert (it.is_plain, it.value) == (True, 2)


@pytest.mark.parametrize(
    ("peak", "later_s", "needed"), [(1, 0, 6), (5, 0, 10), (5, 15, 10), (5, 25, 6), (50, 0, 16)]
)
def test_the_recent_peak_in_flight_decides_how_many_failures_it_takes(
    peak: int, later_s: float, needed: int
) -> None:
    """What was in flight at once within the last ten seconds or so, the limit (8) at most."""
    it = gated(FixedLimit(8))
    it.on_outcome(ended(10.0, inflight=peak), Verdict.SUCCESS)
    for at in range(int(later_s)):
        it.on_outcome(ended(10.0 + at), Verdict.SUCCESS)
    fail(it, 10.0 + later_s, needed - 1)
    assert not it.is_closed
    fail(it, 10.0 + later_s, 1)
    assert it.is_closed


def test_slots_that_cool_do_not_make_the_gate_quicker() -> None:
    """64 in flight, all failed at one moment: the value of the moment fell with each failure, and 36 of them closed the gate."""
    limit = Learning(64)
    limit.nominal = 51.2
    it = gated(limit)
    for left in range(64, 0, -1):
        limit.value = left - 1
        it.on_outcome(ended(10.0, inflight=64), Verdict.DROPPED)
    assert not it.is_closed
    fail(it, 10.5, 103 - 64)
    assert it.is_closed, "2 * 51.2"


def test_a_value_that_is_low_for_the_moment_does_not_end_the_slow_start() -> None:
    limit = Learning(0)
    limit.nominal = 16.0
    it = gated(limit)
    fail(it, 10.0, 6)
    it.on_start(12.0)
    it.on_outcome(ended(12.1, kind=PROBE), Verdict.SUCCESS)
    it.next_start_s(12.1)
    assert it.value == 0
    limit.value = 16
    it.next_start_s(12.2 + 1e-9)
    assert it.value == 2


def test_an_answer_that_streams_opens_and_is_one_start_and_one_end_to_the_limit() -> None:
    limit = Learning()
    it = gated(limit)
    fail(it, 10.0, 6)
    limit.told.clear()
    it.on_start(12.0)
    it.on_answered(ended(12.1, kind=PROBE))
    assert not it.is_closed
    it.on_outcome(ended(72.1, kind=PROBE, took_s=60.0), Verdict.DROPPED)
    assert limit.told == ["start", "success", "opened", "start", "dropped"]


# behind a limiter


@asynccontextmanager
async def limiter(limit: Any = None, **over: Any) -> AsyncIterator[Limiter]:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, now)
    gate = OutageGate(rng=random.Random(1), spacing_s=SPACING_S)
    it = Limiter(loop, deadlines, monotonic=now, limit=limit or FixedLimit(4), gate=gate, **over)
    try:
        yield it
        assert (it.inflight, it.waiting) == (0, 0)
        await until(lambda: len(deadlines) == 0, "no deadline is watched")
    finally:
        it.close()
        deadlines.close()


def leave(it: Limiter, verdict: Verdict, kind: str = FIRST, *, permit: Permit | None = None) -> None:
    """Close ``permit``, or one like those that are out."""
    permit = permit or Permit(it, kind == PROBE)
    kind = PROBE if permit.is_probe else FIRST
    outcome = AttemptOutcome("default", kind, now(), it.inflight)
    outcome.ended_at = now()
    outcome.reason = Reason.OK if verdict is Verdict.SUCCESS else Reason.CONNECT_FAILED
    permit.close(outcome, verdict, 0.01)


def break_down(it: Limiter) -> None:
    for _ in range(6):
        assert it.try_enter()
        leave(it, Verdict.DROPPED)
    assert it.gated.is_closed


async def waiting(it: Limiter, *waiters: Waiter) -> list[asyncio.Task[Permit | Denied]]:
    tasks = []
    for waiter in waiters:
        before = it.waiting
        tasks.append(asyncio.ensure_future(it.enter(waiter)))
        await until(lambda n=before: it.waiting == n + 1, "it waits")
    return tasks


def test_while_closed_one_at_a_time_is_let_in_and_knows_that_it_is_the_probe() -> None:
    async def trace() -> None:
        async with limiter() as it:
            break_down(it)
            assert not it.try_enter()
            tasks = await waiting(it, *(Waiter(FAR) for _ in range(3)))
            assert (await soon(tasks[0])).is_probe
            assert it.inflight == 1
            await asyncio.sleep(3 * SPACING_S)
            assert it.inflight == 1
            leave(it, Verdict.DROPPED, PROBE)
            assert isinstance(await soon(tasks[1]), Permit)
            leave(it, Verdict.SUCCESS, PROBE)
            assert not (await soon(tasks[2])).is_probe
            leave(it, Verdict.SUCCESS)
            await asyncio.sleep(0.15)
            assert [it.try_enter() is None for _ in range(5)] == [False] * 4 + [True]
            for _ in range(4):
                leave(it, Verdict.SUCCESS)

    run(trace())


def test_who_probes_is_one_that_may_be_sent_twice_and_was_the_probe_least_often() -> None:
    async def trace() -> None:
        async with limiter() as it:
            break_down(it)
            once = Waiter(FAR, may_probe=False)
            poison = Waiter(FAR, failures=1)
            fresh = Waiter(FAR)
            tasks = await waiting(it, once, poison, fresh)
            for task in reversed(tasks):
                assert (await soon(task)).is_probe
                assert it.inflight == 1
                leave(it, Verdict.DROPPED, PROBE)

    run(trace())


def test_the_longest_wait_in_the_queue_stands_still_while_the_gate_is_closed() -> None:
    """100 ms in the queue, of which 60 are left when the gate closes, and 60 when it opens again."""

    async def trace() -> None:
        async with limiter(FixedLimit(1)) as it:
            for _ in range(5):
                assert it.try_enter()
                leave(it, Verdict.DROPPED)
            assert it.try_enter()
            held, probe = Waiter(FAR, max_wait_s=0.1, failures=1), Waiter(FAR)
            tasks = await waiting(it, held, probe)
            await asyncio.sleep(0.04)
            leave(it, Verdict.DROPPED)
            assert it.gated.is_closed
            assert isinstance(await soon(tasks[1]), Permit)
            await asyncio.sleep(0.2)
            assert not tasks[0].done()
            leave(it, Verdict.SUCCESS, PROBE)
            assert isinstance(await soon(tasks[0]), Permit)
            (late,) = await waiting(it, Waiter(FAR, max_wait_s=0.05))
            assert await soon(late) is Denied.TIMED_OUT
            leave(it, Verdict.SUCCESS)

    run(trace())


def test_a_hold_ends_with_the_longest_hold_or_the_callers_deadline() -> None:
    async def trace() -> None:
        async with limiter(max_hold_s=0.2, bucket=TokenBucket(1000.0, 100.0)) as it:
            break_down(it)
            assert it.try_enter() is None
            (probe,) = await waiting(it, Waiter(FAR))
            assert isinstance(await soon(probe), Permit)
            began = now()
            early, late = await waiting(it, Waiter(began + 0.06, failures=9), Waiter(FAR, max_wait_s=0.01))
            returned = Waiter(FAR, called_at=began - 100.0)
            (again,) = await waiting(it, returned)
            assert await soon(early) is Denied.OUTAGE
            assert 0.05 < now() - began < 0.15
            assert await soon(again) is Denied.OUTAGE
            assert await soon(late) is Denied.OUTAGE
            assert 0.15 < now() - began < 0.35
            leave(it, Verdict.DROPPED, PROBE)

    run(trace())


def test_nobody_is_refused_early_because_of_the_gate_but_the_memory_is_bounded() -> None:
    async def trace() -> None:
        async with limiter(max_waiting=2, bucket=TokenBucket(0.5, 6.0)) as it:
            break_down(it)
            tasks = await waiting(it, Waiter(FAR, max_wait_s=0.01), Waiter(FAR, max_wait_s=0.01))
            assert await it.enter(Waiter(FAR)) is Denied.QUEUE_FULL
            (accepted,) = await waiting(it, Waiter(FAR, was_accepted=True))
            for task in (*tasks, accepted):
                task.cancel()
            await asyncio.gather(*tasks, accepted, return_exceptions=True)

    run(trace())


def test_with_fails_at_once_nobody_is_held() -> None:
    """Neither those that wait when the gate closes, nor those that come; the one that comes when a probe is due is it."""

    async def trace() -> None:
        async with limiter(FixedLimit(1), fails_at_once=True) as it:
            for _ in range(5):
                assert it.try_enter()
                leave(it, Verdict.DROPPED)
            assert it.try_enter()
            (waiter,) = await waiting(it, Waiter(FAR))
            leave(it, Verdict.DROPPED)
            assert await soon(waiter) is Denied.OUTAGE
            assert await soon(it.enter(Waiter(FAR))) is Denied.OUTAGE
            await asyncio.sleep(6 * SPACING_S)
            assert (await soon(it.enter(Waiter(FAR)))).is_probe
            assert await soon(it.enter(Waiter(FAR))) is Denied.OUTAGE
            leave(it, Verdict.SUCCESS, PROBE)
            assert it.try_enter()
            leave(it, Verdict.SUCCESS)

    run(trace())


def test_turning_to_fails_at_once_lets_the_held_go() -> None:
    async def trace() -> None:
        async with limiter() as it:
            break_down(it)
            (task,) = await waiting(it, Waiter(FAR))
            it.set_hold(1.0, True)
            assert await soon(task) is Denied.OUTAGE

    run(trace())


def test_a_probe_cancelled_in_the_step_of_its_grant_makes_room_for_another() -> None:
    async def trace() -> None:
        async with limiter() as it:
            break_down(it)
            waiter = Waiter(FAR)
            (task,) = await waiting(it, waiter)
            while waiter.state is not State.GRANTED:  # noqa: ASYNC110 - the very step of its grant
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert it.inflight == 0
            (other,) = await waiting(it, Waiter(FAR))
            assert isinstance(await soon(other), Permit)
            leave(it, Verdict.SUCCESS, PROBE)

    run(trace())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nothing_adds_up_through_outages_and_departures(seed: int) -> None:
    """400 callers, some leave, the upstream dies and comes back ten times: slots, queue and deadlines end at nothing."""

    async def trace() -> None:
        rng = random.Random(seed)
        async with limiter(FixedLimit(3)) as it:
            is_dead = False

            async def call() -> None:
                waiter = Waiter(now() + rng.uniform(0.02, 1.0), max_wait_s=0.5)
                await asyncio.sleep(rng.uniform(0, 0.6))
                permit = it.try_enter() or await it.enter(waiter)
                if not isinstance(permit, Permit):
                    return
                assert it.inflight <= 3
                verdict = Verdict.IGNORE
                try:
                    await asyncio.sleep(rng.uniform(0, 0.01))
                    verdict = Verdict.DROPPED if is_dead else Verdict.SUCCESS
                finally:
                    leave(it, verdict, permit=permit)

            tasks = [asyncio.ensure_future(call()) for _ in range(400)]
            for _ in range(10):
                await asyncio.sleep(0.06)
                is_dead = not is_dead
                for task in rng.sample(tasks, 10):
                    task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert not [one for one in results if isinstance(one, Exception)]

    run(trace())
