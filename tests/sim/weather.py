"""Draws upstreams that nobody tuned anything to, and the fleets that pull from them.

A weather is one upstream and one fleet for one run. ``draw(seed)`` is the whole of it: the same seed, the same weather.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

CAPACITIES = ("none", "pool", "pool", "kink", "kink", "usl", "quota", "quota")


@dataclass
class Weather:
    """One drawn world. Times in seconds."""

    seed: int
    # capacity
    kind: str = "none"
    bears: float = 20.0
    """Calls in flight that are worked on at once: workers, knee, top of the USL curve; calls a second of a quota."""
    queue: int = 0
    steep: float = 1.0
    window_s: float = 1.0
    aligned: bool = False
    # answers
    service_s: float = 0.1
    cv: float = 0.5
    refusal_s: float = 0.004
    timeout_s: float = 30.0
    """Work longer than this is a slow 500."""
    # pages
    slope: float = 0.0
    """The deepest page takes 1 + slope times as long."""
    laps: bool = False
    reads_s: float = 0.0
    """How long the app takes a page's body in, after the upstream is done with it."""
    # own errors
    own: float = 0.0
    clustered: bool = False
    own_fast: bool = False
    # outages
    outages: list[tuple[float, float]] = field(default_factory=list)
    outage_answers_s: float = 0.002
    partial: float = 1.0
    """Share of the calls that fail in an outage."""
    # capacity over time
    change: str = "steady"
    change_at: float = 0.0
    factor: float = 1.0
    period_s: float = 20.0
    # the fleet
    threads: list[int] = field(default_factory=lambda: [8])
    joins: list[tuple[float, int]] = field(default_factory=list)
    leaves: list[tuple[float, int]] = field(default_factory=list)
    think_s: float = 0.005
    # the board
    loss: float = 0.0
    delay_s: float = 0.02
    away: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 300.0

    @property
    def total_threads(self) -> int:
        return sum(self.threads)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def words(self) -> str:
        """Return the weather in a line."""
        out = [f"{self.kind} {self.bears:.3g}"]
        if self.kind == "pool":
            out.append(f"queue {self.queue}")
        if self.kind == "quota":
            out.append(f"per s, window {self.window_s:g} s")
        out.append(f"answers {self.service_s * 1000:.0f} ms cv {self.cv:.2f}")
        if self.slope:
            out.append(f"pages to {1 + self.slope:.1f}x{' in laps' if self.laps else ''}")
        if self.timeout_s < 30:
            out.append(f"timeout {self.timeout_s:.1f} s")
        if self.own:
            out.append(
                f"own errors {self.own:.1%}{' in clusters' if self.clustered else ''}{' fast' if self.own_fast else ''}"
            )
        if self.outages:
            mean = sum(end - begin for begin, end in self.outages) / len(self.outages)
            out.append(f"{len(self.outages)} outages of {mean:.1f} s ({self.partial:.0%})")
        if self.change != "steady":
            out.append(f"{self.change} x{self.factor:.2f}")
        if self.reads_s:
            out.append(f"app reads {self.reads_s:.2f} s")
        out.append(f"{len(self.threads)} pods {self.total_threads} threads")
        if self.joins or self.leaves:
            out.append(f"+{len(self.joins)} -{len(self.leaves)} pods")
        if self.loss > 0.03:
            out.append(f"loss {self.loss:.0%}")
        if self.away:
            out.append("board away")
        return ", ".join(out)


def draw(seed: int) -> Weather:
    """Return the weather of a seed."""
    rng = random.Random(f"weather/{seed}")
    w = Weather(seed)
    w.kind = rng.choice(CAPACITIES)
    w.service_s = math.exp(rng.uniform(math.log(0.02), math.log(0.8)))
    w.cv = rng.choice((0.15, 0.3, 0.5, 0.8, 1.2))
    pods = rng.choice((1, 1, 2, 3, 4, 8, 8, 8, 8, 12, 24, 64))
    w.threads = _threads(rng, pods)
    w.think_s = rng.choice((0.002, 0.005, 0.02))
    most = 400.0 * w.service_s
    """In flight at 400 calls a second: what the simulation has time for."""
    least = max(2.0, 3.0 * w.service_s)
    if w.kind == "none":
        while w.total_threads / (w.service_s + w.think_s) > 700:
            w.threads = _threads(rng, max(1, len(w.threads) // 2))
    elif w.kind == "quota":
        w.window_s = rng.choice((1.0, 1.0, 1.0, 10.0, 10.0, 60.0, 600.0))
        could = w.total_threads / (w.service_s + w.think_s)
        w.bears = max(1.0, min(400.0, could * math.exp(rng.uniform(math.log(0.1), math.log(0.8)))))
        w.aligned = rng.random() < 0.5
        if w.window_s > 60.0:
            w.bears = min(w.bears, 30.0)
        w.seconds = min(max(300.0, 3 * w.window_s), 1800.0)
    else:
        share = math.exp(rng.uniform(math.log(0.08), math.log(1.2)))
        w.bears = min(max(least, share * w.total_threads), max(least, most))
        w.bears = float(round(w.bears))
        w.queue = round(w.bears * rng.choice((0.0, 0.0, 0.5, 1.0, 10.0)))
        w.steep = rng.uniform(0.4, 1.5)
    w.refusal_s = rng.choice((0.001, 0.004, 0.01, 1.0)) if w.kind != "quota" else 0.004
    if rng.random() < 0.25:
        w.slope = rng.uniform(1.0, 8.0)
        w.laps = rng.random() < 0.5
    if rng.random() < 0.2 or w.kind == "kink":
        w.timeout_s = w.service_s * (1 + w.slope) * rng.uniform(4.0, 20.0)
    if rng.random() < 0.4:
        w.own = rng.choice((0.003, 0.02, 0.05, 0.1, 0.3)) * rng.uniform(0.5, 1.0)
        w.clustered = rng.random() < 0.4
        w.own_fast = rng.random() < 0.4
    if rng.random() < 0.3:
        _draw_outages(w, rng)
    if rng.random() < 0.3 and w.kind not in ("none", "quota"):
        w.change = rng.choice(("falls", "rises", "swings"))
        w.change_at = rng.uniform(60.0, 150.0)
        w.factor = {
            "falls": rng.uniform(0.35, 0.7),
            "rises": rng.uniform(1.5, 3.0),
            "swings": rng.uniform(0.4, 0.8),
        }[w.change]
        w.period_s = math.exp(rng.uniform(math.log(5.0), math.log(90.0)))
    if rng.random() < 0.15:
        w.reads_s = rng.uniform(0.5, 3.0) * w.service_s
    if rng.random() < 0.2 and len(w.threads) > 1:
        for _ in range(max(1, len(w.threads) // 3)):
            w.joins.append((rng.uniform(40.0, 200.0), rng.randint(1, 20)))
            w.leaves.append((rng.uniform(40.0, 200.0), rng.randrange(len(w.threads))))
        w.leaves = list({pod: (t, pod) for t, pod in w.leaves}.values())[: len(w.threads) - 1]
    w.loss = rng.choice((0.0, 0.0, 0.02, 0.1))
    w.delay_s = rng.choice((0.003, 0.02, 0.05))
    if rng.random() < 0.1:
        begin = rng.uniform(60.0, 200.0)
        w.away.append((begin, begin + rng.uniform(3.0, 40.0)))
    return w


def _threads(rng: random.Random, pods: int) -> list[int]:
    most = max(1, min(40, 400 // pods))
    typical = rng.choice((most, max(1, most // 2), max(1, most // 6)))
    return [max(1, min(most, round(typical * rng.uniform(0.3, 1.5)))) for _ in range(pods)]


def _draw_outages(w: Weather, rng: random.Random) -> None:
    length = math.exp(rng.uniform(math.log(0.3), math.log(40.0)))
    between = max(length * 3, math.exp(rng.uniform(math.log(5.0), math.log(100.0))))
    t = rng.uniform(5.0, 40.0)
    while t < w.seconds:
        took = length * rng.uniform(0.5, 1.5)
        w.outages.append((t, t + took))
        t += took + between * rng.uniform(0.5, 1.5)
    w.outage_answers_s = rng.choice((0.002, 0.002, 0.05, 1.0))
    w.partial = rng.choice((1.0, 1.0, 0.5))


class Upstream:
    """The drawn server. Calls arrive in the order of time."""

    def __init__(self, weather: Weather) -> None:
        self.w = weather
        self.rng = random.Random(f"upstream/{weather.seed}")
        self._ends: list[float] = []
        self._free: list[float] = []
        self._seen: deque[float] = deque()
        self._is_bad = False
        self._turns_at = 0.0
        self._outage = 0
        self._sigma = math.sqrt(math.log(1 + weather.cv**2))

    def scale(self, now: float) -> float:
        """Return the capacity's factor at a time."""
        w = self.w
        if w.change == "steady":
            return 1.0
        if w.change == "swings":
            return 1.0 - (1.0 - w.factor) * (0.5 - 0.5 * math.cos(2 * math.pi * now / w.period_s))
        return w.factor if now >= w.change_at else 1.0

    def arrive(self, now: float, page: float) -> tuple[bool, float]:
        """Return whether a call that arrives now goes well, and after how long it ends. ``page`` is 0 to 1, the deepest."""
        w, rng = self.w, self.rng
        while self._outage < len(w.outages) and w.outages[self._outage][1] <= now:
            self._outage += 1
        if (
            self._outage < len(w.outages)
            and w.outages[self._outage][0] <= now
            and (w.partial >= 1 or rng.random() < w.partial)
        ):
            return False, w.outage_answers_s
        work = w.service_s * rng.lognormvariate(-(self._sigma**2) / 2, self._sigma) * (1 + w.slope * page)
        if w.own and self._fails(now):
            if w.own_fast:
                return False, 0.004
            return False, self._carry(now, work)[1]
        return self._carry(now, work)

    def _fails(self, now: float) -> bool:
        w, rng = self.w, self.rng
        if not w.clustered:
            return rng.random() < w.own
        while now >= self._turns_at:
            self._is_bad = not self._is_bad
            share = min(0.5, 1.6 * w.own)
            mean = 4.0 * share if self._is_bad else 4.0 * (1 - share)
            self._turns_at += rng.expovariate(1.0 / max(0.05, mean))
        return self._is_bad and rng.random() < min(1.0, w.own / min(0.5, 1.6 * w.own))

    def _carry(self, now: float, work: float) -> tuple[bool, float]:
        w = self.w
        kind = w.kind
        if kind == "none":
            return self._timed(work, 0.0)
        if kind == "quota":
            return self._quota(now, work)
        bears = max(1.0, w.bears * self.scale(now))
        if kind == "pool":
            return self._pool(now, work, max(1, round(bears)))
        ends = self._ends
        while ends and ends[0] <= now:
            heapq.heappop(ends)
        n = len(ends) + 1
        if kind == "kink":
            x = max(1.0, n / bears)
            work *= x * (1 + w.steep * (x - 1))
        else:
            sigma = 0.3 / bears
            kappa = (1 - sigma) / bears**2
            work *= 1 + sigma * (n - 1) + kappa * n * (n - 1)
        ok, took = self._timed(work, 0.0)
        heapq.heappush(ends, now + took)
        return ok, took

    def _timed(self, work: float, waited: float) -> tuple[bool, float]:
        if work > self.w.timeout_s:
            return False, waited + self.w.timeout_s
        return True, waited + work

    def _pool(self, now: float, work: float, workers: int) -> tuple[bool, float]:
        """Jobs that run end at ``_free``; those that wait begin when one of them does."""
        free, ends = self._free, self._ends
        while ends and ends[0] <= now:
            heapq.heappop(ends)
        if len(ends) >= workers + self.w.queue:
            return False, self.w.refusal_s
        while free and free[0] <= now:
            heapq.heappop(free)
        begin = now
        while len(free) >= workers:
            begin = max(begin, heapq.heappop(free))
        ok, took = self._timed(work, 0.0)
        heapq.heappush(free, begin + took)
        heapq.heappush(ends, begin + took)
        return ok, begin + took - now

    def _quota(self, now: float, work: float) -> tuple[bool, float]:
        w, seen = self.w, self._seen
        calls = max(1, round(w.bears * w.window_s))
        while seen and (
            now - seen[0] >= w.window_s if not w.aligned else now // w.window_s != seen[0] // w.window_s
        ):
            seen.popleft()
        if len(seen) >= calls:
            return False, w.refusal_s
        seen.append(now)
        return self._timed(work, 0.0)
