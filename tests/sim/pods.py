"""Pods, their sidecars' gates and limits, one board, in virtual time. What decides is the product's own code.

Written anew are the clock, the app's threads and the queue, which is first come first served here. A board carries readings to
the pilot and shares back, with delay and loss.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from proxy.admit.gated import GatedLimit
from proxy.admit.learned import LearnedLimit
from proxy.admit.outage import OutageGate
from proxy.base.outcomes import FIRST, PROBE, RETRY, AttemptOutcome, Verdict
from proxy.base.reasons import Reason
from proxy.fleet.pilot import Pilot, fading
from proxy.fleet.record import Portion, Share
from proxy.judge.backoff import pause_s
from proxy.judge.budget import RetryBudget
from proxy.learn.evidence.tally import Reading, Tally
from tests.sim.weather import Upstream, Weather

NETWORK_S = 0.001
REPEAT_S = 1.0
ATTEMPTS = 10
TOTAL_S = 300.0
PERIOD_S = 0.5
PAGES = 1200
EXPIRES_S = 2.5


class Told(Pilot):
    """A pilot that was told: the oracle's. A total that stays, or a rate that stays."""

    def __init__(self, slots: int, rate: float = 0.0) -> None:
        super().__init__()
        self._told = (slots, rate)

    def step(self, t: float, readings: Any) -> Portion:
        from proxy.learn.decision import Decision
        from proxy.learn.learner import Learner

        if self.learner is None:
            self.learner = Learner(start=1)
        window = self._readings.window(readings, PERIOD_S)
        self.learner.ground.note(window)
        self._wants = {pod: fading(r.wanted, self._wants.get(pod, 0.0)) for pod, r in readings.items()}
        return self.share(t, window.span_s or PERIOD_S, Decision(*self._told), readings)


class Server(Upstream):
    """The drawn server, which keeps account of what fails whatever the load is: by its own errors, or in a partial outage."""

    def __init__(self, weather: Weather) -> None:
        super().__init__(weather)
        self.own_failures: list[float] = []
        self._is_own = self._is_carried = False

    def arrive(self, now: float, page: float) -> tuple[bool, float]:
        self._is_own = self._is_carried = False
        answer = super().arrive(now, page)
        if self._is_own or (self.w.partial < 1 and not self._is_carried):
            self.own_failures.append(now)
        return answer

    def _fails(self, now: float) -> bool:
        self._is_own = super()._fails(now)
        return self._is_own

    def _carry(self, now: float, work: float) -> tuple[bool, float]:
        self._is_carried = True
        return super()._carry(now, work)


class World:
    """The clock, the upstream, the pods and their board."""

    def __init__(self, weather: Weather, pilot: Pilot | None) -> None:
        self.now = 0.0
        self.w = weather
        self.upstream = Server(weather)
        self.rng = random.Random(f"world/{weather.seed}")
        self.pods: list[Pod] = []
        self.live: dict[str, Pod] = {}
        self.pilot = pilot
        self.plan: dict[str, Share] = {}
        self.posted: dict[str, tuple[float, Reading]] = {}
        self.trace: list[tuple[float, Any]] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        for threads in weather.threads:
            self.join(threads)
        for t, threads in weather.joins:
            self.at(t, self.join, threads)
        for t, index in weather.leaves:
            self.at(t, self.leave, index)
        if pilot is not None:
            self.at(0.05, self._step)

    def at(self, when: float, what: Callable[..., None], *arguments: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, what, arguments))

    def run(self, until: float) -> World:
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, what, arguments = heapq.heappop(events)
            what(*arguments)
        self.now = until
        return self

    def join(self, threads: int) -> None:
        pod = Pod(self, len(self.pods), threads, limited=self.pilot is not None)
        self.pods.append(pod)
        self.live[pod.name] = pod

    def leave(self, index: int) -> None:
        pod = self.pods[index]
        pod.is_stopped = True
        self.live.pop(pod.name, None)
        self.posted.pop(pod.name, None)  # a pod that stops says so

    @property
    def is_away(self) -> bool:
        return any(begin <= self.now < end for begin, end in self.w.away)

    def _step(self) -> None:
        """The pilot reads all, decides and publishes; the others read it a moment later."""
        self.at(self.now + PERIOD_S, self._step)
        assert self.pilot is not None
        if self.is_away:
            return
        for name, pod in self.live.items():
            if self.rng.random() >= self.w.loss:
                self.posted[name] = (self.now, pod.reading())
        for name in [name for name, (at, _) in self.posted.items() if self.now - at > EXPIRES_S]:
            del self.posted[name]
        if not self.posted:
            return
        plan = self.pilot.step(self.now, {name: reading for name, (_, reading) in self.posted.items()})
        learner = self.pilot.learner
        self.trace.append((self.now, (learner.slots, learner.rate, learner.name) if learner else None))
        for name, share in plan.shares.items():
            if name in self.live and self.rng.random() >= self.w.loss:
                self.at(
                    self.now + self.rng.uniform(0.5, 2.0) * self.w.delay_s + 0.03, self._hear, name, share
                )

    def _hear(self, name: str, share: Share) -> None:
        pod = self.live.get(name)
        if pod is not None:
            pod.limit.apply(self.now, share.slots, share.rate)
            pod.pump()


class Free(LearnedLimit):
    """No limit at all: calls go straight to the upstream."""

    def next_start_s(self, now: float) -> float:
        self.slots = 1 << 20
        self._cooling.clear()
        return 0.0


class Pod:
    """An app of some threads that each ask for a page, wait for it, think, and ask for the next; and its sidecar."""

    def __init__(self, world: World, index: int, threads: int, limited: bool) -> None:
        self.world, self.index, self.threads = world, index, threads
        self.name = f"pod-{index:03d}"
        seed = world.w.seed
        rng = random.Random(f"{seed}/limit/{index}")
        kind = LearnedLimit if limited else Free
        self.limited = limited
        self.limit = kind(now=world.now, rng=rng, slots=0, most=256)
        self.gate = OutageGate(rng=random.Random(f"{seed}/gate/{index}"))
        self.gated = GatedLimit(self.limit, self.gate if limited else None)
        self.delivered: list[float] = []
        self.errors: list[float] = []
        self.starts: list[float] = []
        self.is_stopped = False
        self._rng = random.Random(f"{seed}/pod/{index}")
        self._page = self._rng.randrange(PAGES)
        self._budget = RetryBudget(ratio=0.2, floor_per_s=1.0, window_s=10.0, now=world.now)
        self._queue: deque[list[Any]] = deque()
        self._wake_at = math.inf
        for _ in range(threads):
            world.at(world.now + self._rng.uniform(0, 0.01), self._ask)

    def reading(self) -> Reading:
        limit, now = self.limit, self.world.now
        limit.count(now)
        tally = Tally(
            limit.ok, limit.bad, limit.fast, limit.took_s, limit.log, limit.log2, limit.busy_s, limit.shut_s
        )
        wanted = len(self._queue) + limit.inflight + limit.cooling
        return Reading(now, tally, wanted, len(self._queue), limit.inflight, self.gated.is_closed)

    def _ask(self) -> None:
        if self.is_stopped:
            return
        self._page = (self._page + 1) % PAGES if self.world.w.laps else self._rng.randrange(PAGES)
        self._queue.append([self._page / PAGES, 0, self.world.now])
        self.pump()

    def pump(self) -> None:
        now, gated = self.world.now, self.gated
        while self._queue:
            wait_s = gated.next_start_s(now)
            if wait_s > 0.0 or self.limit.inflight >= gated.value:
                change_s = gated.next_change_s(now)
                self._wake(now + max(0.0005, min(change_s, wait_s) if wait_s > 0.0 else change_s))
                return
            self._send(self._queue.popleft())

    def _wake(self, when: float) -> None:
        if when < self._wake_at or self._wake_at <= self.world.now:
            self._wake_at = when
            if when < math.inf:
                self.world.at(when, self._awake, when)

    def _awake(self, when: float) -> None:
        if when == self._wake_at:
            self._wake_at = math.inf
            self.pump()

    def _send(self, call: list[Any]) -> None:
        world = self.world
        is_probe = self.gated.is_closed
        self.starts.append(world.now)
        self.gated.on_start(world.now)
        if not call[1]:
            self._budget.note_first_try(world.now)
        call[1] += 1
        kind = PROBE if is_probe else RETRY if call[1] > 1 else FIRST
        outcome = AttemptOutcome("default", kind, world.now, self.limit.inflight)
        ok, took = world.upstream.arrive(world.now + NETWORK_S / 2, call[0])
        world.at(world.now + took + NETWORK_S, self._back, call, outcome, ok)

    def _back(self, call: list[Any], outcome: AttemptOutcome, ok: bool) -> None:
        world = self.world
        now = outcome.ended_at = world.now
        if not ok:
            outcome.reason, outcome.status = Reason.UPSTREAM_STATUS, 500
        self.gated.on_outcome(outcome, Verdict.SUCCESS if ok else Verdict.DROPPED)
        if ok:
            self.delivered.append(now)
            world.at(now + world.w.think_s + world.w.reads_s, self._ask)
        elif outcome.kind == PROBE and self.limited:
            call[1] -= 1
            self._queue.append(call)
        elif not self.limited or call[1] >= ATTEMPTS or now - call[2] > TOTAL_S:
            self.errors.append(now)
            world.at(now + REPEAT_S, self._ask)
        else:
            wait_s = pause_s(call[1], base_s=0.1, max_s=10.0, rng=self._rng)
            if not self._budget.try_spend(now):
                wait_s += self._budget.wait_s(now)
            world.at(now + wait_s, self._again, call)
        self.pump()

    def _again(self, call: list[Any]) -> None:
        self._queue.appendleft(call)
        self.pump()


def goodput(world: World, since: float, until: float) -> float:
    return sum(since <= t < until for pod in world.pods for t in pod.delivered) / (until - since)


def attempts_beyond(world: World, since: float, until: float) -> float:
    """Return the attempts a page beyond one, without those that failed whatever the load was."""
    starts = sum(since <= t < until for pod in world.pods for t in pod.starts)
    own = sum(since <= t < until for t in world.upstream.own_failures)
    return (starts - own) / max(1.0, goodput(world, since, until) * (until - since)) - 1.0


def reached(world: World, rate: float, since: float, window_s: float = 5.0) -> float:
    """Return how long after ``since`` the end of the first window that carried ``rate`` is; infinity when there is none."""
    times = sorted(t for pod in world.pods for t in pod.delivered if t >= since)
    first = 0
    for last, t in enumerate(times):
        while times[first] < t - window_s:
            first += 1
        if t >= since + window_s and last - first + 1 >= rate * window_s:
            return t - since
    return math.inf
