"""Drawn worlds: pods with real limits, members, pilots and leases, a board that fails in all ways, calls of any length.

At every moment the sum of what pods use, or may start, is held against the owner's totals. Calls that outlive their pod's lease
do not count: nobody can end them, nor tell a pod that is cut off from one that is dead.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from proxy.admit.learned import LearnedLimit
from proxy.base.outcomes import FIRST, AttemptOutcome, Verdict
from proxy.fleet.board import Board
from proxy.fleet.leases import Hard
from proxy.fleet.member import Member
from proxy.fleet.record import Share
from proxy.fleet.redis import Redis
from proxy.learn.evidence.tally import Reading, Tally
from tests.fakes.lines import VirtualPeers, Wires
from tests.fakes.loop import until
from tests.fakes.scripts import FakeRedis, Line
from tests.fakes.virtual import now, run

LOOKS_S = 0.02
DRAWN = (Phase.explicit, Phase.reuse, Phase.generate)
"""A smaller seed is no simpler world."""


class App:
    """A pod: threads that call, a limit, and its place in the fleet."""

    def __init__(self, name: str, board: Callable[[str], Board], hard: Hard, rng: random.Random) -> None:
        self.name = name
        self.rng = rng
        self.threads = rng.randint(0, 12)
        self.call_s = rng.choice([0.05, 0.5, 3.0])
        self.limit = LearnedLimit(now=now(), rng=rng, slots=0, most=64)
        self.is_calling = self.is_restless = True
        self.is_gone = False
        self.under_way: set[int] = set()
        """Calls of the lease that runs."""
        self.board = board(name)
        self.member = Member(
            pod=name,
            fleet="http://a",
            board=self.board,
            seats=lambda: {"default": self},
            monotonic=now,
            hard=hard,
        )

    # proxy.fleet.member.Seat

    def reading(self) -> Reading:
        limit = self.limit
        limit.count(now())
        tally = Tally(limit.ok, limit.bad, limit.fast, limit.took_s, limit.log, limit.log2, limit.busy_s)
        return Reading(now(), tally, self.threads, 0, limit.inflight, most=limit.most, start=20)

    def apply(self, share: Share) -> None:
        if (share.slots, share.rate) != (self.limit.slots, self.limit.rate):
            self.limit.apply(now(), share.slots, share.rate)

    def until(self, at: float, then: Share) -> None:
        self.limit.lease(at, then.slots, then.rate)

    # calls

    def work(self) -> None:
        """Start what may start, now and then with other threads than before."""
        if self.is_restless and self.rng.random() < 0.01:
            self.threads = self.rng.choice([0, 1, 3, 12, 40])
        while (
            self.is_calling
            and self.limit.inflight < self.threads
            and self.limit.next_start_s(now()) <= 0.0
            and self.limit.inflight < self.limit.value
        ):
            self.limit.on_start(now())
            outcome = AttemptOutcome("default", FIRST, now(), self.limit.inflight)
            self.under_way.add(id(outcome))
            asyncio.get_running_loop().call_later(self.rng.expovariate(1.0 / self.call_s), self.end, outcome)

    def end(self, outcome: AttemptOutcome) -> None:
        outcome.ended_at = now()
        self.under_way.discard(id(outcome))
        self.limit.on_outcome(outcome, Verdict.SUCCESS)

    @property
    def uses(self) -> int:
        """Calls under way, or that may start at once."""
        self.limit.next_start_s(now())
        if not self.member.holds_lease:
            self.under_way.clear()
        return max(len(self.under_way), self.limit.slots)

    @property
    def is_on_its_own(self) -> bool:
        return self.member.is_cut_off and self.member._is_part

    @property
    def rate(self) -> float:
        self.limit.next_start_s(now())
        return self.limit.rate if self.limit.slots else 0.0

    def die(self) -> None:
        """The process is gone, and its calls with it."""
        self.is_calling, self.is_gone = False, True
        assert self.member._task is not None
        self.member._task.cancel()

    async def drain(self) -> None:
        """The app ends first, then its calls, then the sidecar."""
        await self.member.leave()
        await asyncio.sleep(self.rng.uniform(0.0, 2.0))
        self.is_calling = False
        await until(lambda: not self.limit.inflight, "its calls have ended", 1000.0)
        await self.member.close()
        self.is_gone = True


class World:
    """Pods around one board, for a minute."""

    def __init__(self, seed: int, hard: Hard, loss: float, has_faults: bool = True) -> None:
        self.has_faults = has_faults
        self.rng = random.Random(seed)
        self.hard = hard
        self.loss = loss
        self.redis = FakeRedis(now)
        self.lines: dict[str, Line] = {}
        self.wires: Wires | None = None
        """Where pods read each other; None where they meet in a Redis."""
        self.apps: list[App] = []
        self.draining: list[App] = []
        self.count = 0
        self.used: list[tuple[int, float]] = []
        """Slots and rate in use, at each look."""
        self.tasks: list[asyncio.Task[None]] = []

    def board(self, name: str) -> Board:
        if self.wires is not None:
            return VirtualPeers(name, self.wires)
        line = self.lines[name] = Line(self.redis, self.rng, self.loss)
        return Redis(pod=name, fleet="http://a", client=line, monotonic=now)

    async def join(self) -> None:
        self.count += 1
        app = App(f"{self.count:02d}", self.board, self.hard, random.Random(self.rng.random()))
        if not self.has_faults:
            app.threads, app.is_restless = 12, False
        self.apps.append(app)
        await app.member.open()

    def later(self, what: Callable[[], None], most_s: float) -> None:
        asyncio.get_running_loop().call_later(self.rng.uniform(0.0, most_s), what)

    def happen(self) -> None:
        """Now and then something does."""
        rng = self.rng
        if rng.random() > LOOKS_S / 1.5:
            return
        what = rng.choice(["join", "die", "drain", "cut", "cut", "lose", "fail over", "break"])
        living = [app for app in self.apps if app.is_calling and app.member._task is not None]
        app = rng.choice(living) if living else None
        if what == "join" and len(living) < 6:
            self.begin(self.join())
        elif what == "die" and app is not None:
            app.die()
            if isinstance(app.board, VirtualPeers):
                app.board.is_dead = True
        elif what == "drain" and app is not None and app not in self.draining:
            self.draining.append(app)
            self.begin(app.drain())
        elif self.wires is not None:
            if what == "cut" and app is not None and self.wires.may_cut:
                self.wires.cut.add(app.name)
                self.later(self.wires.cut.clear, 8.0)
        elif what == "cut" and app is not None:
            line = self.lines[app.name]
            line.is_cut = True
            self.later(lambda: setattr(line, "is_cut", False), 8.0)
        elif what == "lose":
            self.redis.clear()
            self.break_all()
        elif what == "fail over":
            replica = self.redis.copy()

            def fail_over() -> None:
                self.redis.become(replica)
                self.break_all()

            self.later(fail_over, 0.3)
        elif what == "break":
            self.break_all()

    def break_all(self) -> None:
        for line in self.lines.values():
            line.is_broken = True

    def begin(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def look(self) -> None:
        here = [app for app in self.apps if not app.is_gone]
        for app in here:
            app.limit.next_start_s(now())
        if self.wires is not None:
            # Who has no lease has its part, and that comes on top of what a pilot leases.
            without = [app for app in here if not app.member.holds_lease or app.is_on_its_own]
            parts = {app.name: (self.hard.slots or 0) // app.member._most for app in without}
            assert all(app.limit.slots <= parts[app.name] for app in without), parts
            here = [] if self.wires.may_cut else [app for app in here if app not in without]
        slots, rate = sum(app.uses for app in here), sum(app.rate for app in here)
        self.used.append((slots, rate))
        held = {app.name: (app.limit, app.member._holder.holds()) for app in here}
        assert slots <= (self.hard.slots or slots), held
        assert rate <= (self.hard.rate or rate) * (1 + 1e-9), held

    async def pass_by(self, seconds: float) -> World:
        for _ in range(self.rng.randint(1, 4)):
            self.begin(self.join())
        end = now() + seconds
        while now() < end:
            if self.has_faults:
                self.happen()
            for app in self.apps:
                app.work()
            self.look()
            await asyncio.sleep(LOOKS_S)
        for app in self.apps:
            app.is_calling = False
        turning = [app.member._task for app in self.apps if app.member._task is not None]
        for task in (*self.tasks, *turning):
            task.cancel()
        await asyncio.gather(*self.tasks, *turning, return_exceptions=True)
        await until(lambda: not any(app.limit.inflight for app in self.apps), "all calls have ended", 1000.0)
        return self


@settings(max_examples=40, deadline=None, phases=DRAWN)
@given(seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.02, 0.2]), slots=st.integers(1, 30))
@example(seed=15006571, loss=0.0, slots=8)  # a new pilot whose own calls had outlived its lease
def test_what_pods_use_never_exceeds_the_owners_slots(seed: int, loss: float, slots: int) -> None:
    run(World(seed, Hard(slots=slots), loss).pass_by(40.0))


@settings(max_examples=20, deadline=None, phases=DRAWN)
@given(seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.02, 0.2]), rate=st.floats(0.5, 50.0))
def test_what_pods_start_never_exceeds_the_owners_rate(seed: int, loss: float, rate: float) -> None:
    run(World(seed, Hard(rate=rate), loss).pass_by(40.0))


@settings(max_examples=30, deadline=None, phases=DRAWN)
@given(seed=st.integers(0, 2**32), slots=st.integers(1, 30), may_cut=st.booleans())
def test_peers_that_see_each_other_never_exceed_the_owners_slots(
    seed: int, slots: int, may_cut: bool
) -> None:
    """Whoever joins, dies or drains. A pod without a lease uses no more than one part of the most pods it has known."""
    world = World(seed, Hard(slots=slots), 0.0)
    world.wires = Wires(world.rng, may_cut)
    run(world.pass_by(40.0))


def test_where_nothing_fails_the_totals_are_used() -> None:
    """Else a pilot that leases nothing would pass all of this."""
    for seed in range(4):
        world = run(World(seed, Hard(10, 10.0), 0.0, has_faults=False).pass_by(30.0))
        settled = world.used[len(world.used) // 4 :]
        assert sum(slots for slots, _ in settled) / len(settled) > 7.5
        assert sum(rate for _, rate in settled) / len(settled) > 7.5
