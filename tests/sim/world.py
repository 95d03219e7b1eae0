"""A discrete-event simulation of pods, their sidecars' limits and one upstream, in virtual time.

What decides is the product's own code: the adaptive limit, the outage gate, the backoff, the retry budget, and the lab's upstream
models. Written anew are the clock, the threads of the app and the queue, which is first come first served here. One second of a
fleet that makes 200 calls a second takes about 5 ms.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from proxy.admit.gated import GatedLimit
from proxy.admit.limit import FixedLimit, Limit, Verdict
from proxy.admit.outage import OutageGate
from proxy.base.outcomes import FIRST, PROBE, RETRY, AttemptOutcome
from proxy.base.reasons import Reason
from proxy.judge.backoff import pause_s
from proxy.judge.budget import RetryBudget
from proxy.lab.model import Decision, Model, Request

UNIX = 1_700_000_000.0
"""The wall clock at virtual second 0."""
NETWORK_S = 0.001
THINK_S = 0.005
REPEAT_S = 1.0
ATTEMPTS = 10
TOTAL_S = 300.0


class World:
    """The clock, the upstream, and the pods that pull from it.

    ``pages`` is how deep pages go. A page is drawn at random, or with ``stride`` the pod's next, so many pages on: a pod goes
    through shallow and deep ones in laps, and its latency with it.
    """

    def __init__(self, model: Model, seed: int, pages: int = 1200, stride: int = 0) -> None:
        self.now = 0.0
        self.model: Model | Dead = model
        self.seed = seed
        self.pages = pages
        self.stride = stride
        self.pods: list[Pod] = []
        self.rng = random.Random(f"{seed}/world")
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def at(self, when: float, what: Callable[..., None], *arguments: Any) -> None:
        """Do something at a time; things of the same time in the order they were said."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, what, arguments))

    def run(self, until: float) -> None:
        """Let time pass."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, what, arguments = heapq.heappop(events)
            what(*arguments)
        self.now = until


class Dead:
    """An upstream that answers everything with a 500, or refuses at once."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self.addresses = 1

    def arrive(self, now: float, request: Request) -> Decision:
        del now, request
        return Decision(500, self.after_s, "dead")


class Caller:
    """One call of a thread."""

    __slots__ = ("page", "since", "thread", "tries")

    def __init__(self, thread: int, page: int, since: float) -> None:
        self.thread = thread
        self.page = page
        self.since = since
        self.tries = 0


class Pod:
    """An app of some threads that each ask for a page, wait for it, think 5 ms, and ask for the next; and its sidecar."""

    def __init__(self, world: World, index: int, threads: int, limit: Limit, starts_at: float = 0.0) -> None:
        self.world = world
        self.index = index
        self.threads = threads
        self.limit = limit
        self.gate = OutageGate(rng=random.Random(f"{world.seed}/gate/{index}"))
        self.gated = GatedLimit(limit, self.gate)
        self.inflight = 0
        self.delivered: list[float] = []
        self.longest_s = 0.0
        self.errors: list[float] = []
        self.starts: list[float] = []
        self.probes: list[float] = []
        self.peak_after: list[tuple[float, int, float]] = []
        self.levels: list[tuple[float, float]] = []
        self.is_stopped = False
        self._page = world.pages * index // 8
        self._rng = random.Random(f"{world.seed}/pod/{index}")
        self._budget = RetryBudget(ratio=0.2, floor_per_s=1.0, window_s=10.0, now=starts_at)
        self._queue: deque[Caller] = deque()
        self._wake_at = math.inf
        world.at(starts_at, self._begin)

    def stop(self) -> None:
        """Begin no other call."""
        self.is_stopped = True

    def _begin(self) -> None:
        for thread in range(self.threads):
            self.world.at(self.world.now + self._rng.uniform(0, 0.01), self._ask, thread)
        self._sample()

    def _sample(self) -> None:
        level = getattr(self.limit, "limit", float(self.limit.value))
        self.levels.append((self.world.now, min(level, float(self.threads))))
        if not self.is_stopped:
            self.world.at(self.world.now + 1.0, self._sample)

    def _ask(self, thread: int) -> None:
        if not self.is_stopped:
            self._queue.append(Caller(thread, self._next_page(), self.world.now))
            self._pump()

    def _next_page(self) -> int:
        world = self.world
        if not world.stride:
            return world.rng.randrange(world.pages)
        self._page = (self._page + world.stride) % world.pages
        return self._page

    def _pump(self) -> None:
        now, gated = self.world.now, self.gated
        while self._queue:
            wait_s = gated.next_start_s(now)
            if wait_s > 0.0 or self.inflight >= gated.value:
                gated.on_blocked(now)
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
            self._pump()

    def _send(self, caller: Caller) -> None:
        world = self.world
        is_probe = self.gated.is_closed
        self.inflight += 1
        self.starts.append(world.now)
        if is_probe:
            self.probes.append(world.now)
        self.gated.on_start(world.now)
        if not caller.tries:
            self._budget.note_first_try(world.now)
        caller.tries += 1
        kind = PROBE if is_probe else RETRY if caller.tries > 1 else FIRST
        outcome = AttemptOutcome("default", kind, world.now, self.inflight)
        world.at(world.now + NETWORK_S / 2, self._arrive, caller, outcome)

    def _arrive(self, caller: Caller, outcome: AttemptOutcome) -> None:
        world = self.world
        decision = world.model.arrive(world.now, Request(caller.page, self.index % world.model.addresses))
        world.at(world.now + decision.after_s + NETWORK_S / 2, self._back, caller, outcome, decision)

    def _back(self, caller: Caller, outcome: AttemptOutcome, decision: Decision) -> None:
        now = outcome.ended_at = self.world.now
        self.inflight -= 1
        is_fine = decision.status == 200 and decision.sent_share >= 1.0
        if not is_fine:
            outcome.reason, outcome.status = Reason.UPSTREAM_STATUS, decision.status
        self.gated.on_outcome(outcome, Verdict.SUCCESS if is_fine else Verdict.DROPPED)
        if is_fine:
            self.delivered.append(now)
            self.longest_s = max(self.longest_s, now - caller.since)
            self.world.at(now + THINK_S, self._ask, caller.thread)
        elif outcome.kind == PROBE:
            caller.tries -= 1
            self._queue.append(caller)
        elif caller.tries >= ATTEMPTS or now - caller.since > TOTAL_S:
            self.errors.append(now)
            self.world.at(now + REPEAT_S, self._ask, caller.thread)
        else:
            wait_s = pause_s(caller.tries, base_s=0.1, max_s=10.0, rng=self._rng)
            if not self._budget.try_spend(now):
                wait_s += self._budget.wait_s(now)
            self.world.at(now + wait_s, self._again, caller)
        self._pump()

    def _again(self, caller: Caller) -> None:
        self._queue.appendleft(caller)
        self._pump()


class Central(Pod):
    """All threads behind one limit that knows the capacity: the reference, an omniscient gateway that retries for ever."""

    def __init__(self, world: World, index: int, threads: int, limit: int) -> None:
        super().__init__(world, index, threads, FixedLimit(limit))


def goodput(pods: Sequence[Pod], since: float, until: float) -> float:
    """Return pages a second of the fleet."""
    return sum(since <= t < until for pod in pods for t in pod.delivered) / (until - since)


def attempts_per_page(pods: Sequence[Pod], since: float, until: float) -> float:
    """Return attempts over pages."""
    attempts = sum(since <= t < until for pod in pods for t in pod.starts)
    return attempts / max(1.0, goodput(pods, since, until) * (until - since))


def jain(pods: Sequence[Pod], since: float, until: float) -> float:
    """Return Jain's fairness index of the pods' goodput: 1 is equal, 1/n is all to one."""
    rates = [goodput([pod], since, until) for pod in pods]
    total = sum(rates)
    return total * total / (len(rates) * sum(rate * rate for rate in rates)) if total else 0.0


def reached(pods: Sequence[Pod], rate: float, since: float = 0.0, window_s: float = 5.0) -> float:
    """Return how long after ``since`` the goodput of a window first reached ``rate``; infinity when never."""
    times = sorted(t for pod in pods for t in pod.delivered if t >= since)
    first = 0
    for last, t in enumerate(times):
        while times[first] < t - window_s:
            first += 1
        if t >= since + window_s and last - first + 1 >= rate * window_s:
            return t - since
    return math.inf


def per_thread(pods: Sequence[Pod], since: float, until: float) -> float:
    """Return Jain's index of goodput a thread: what is fair where nothing but the apps' own threads is short."""
    rates = [goodput([pod], since, until) / pod.threads for pod in pods]
    total = sum(rates)
    return total * total / (len(rates) * sum(rate * rate for rate in rates)) if total else 0.0
