"""The upstream models, by the name they have on the command line.

Sizes follow the design's simulation (docs/lab.md holds the table); they are scaled so that 98 client threads
make at most a few hundred calls a second, which two cores carry with every process of the lab on them.
"""

import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.lab.model import Decision, Model, ParamError, Request, Station, lognormal_s, param

QUOTA_OF_WINDOW = {1: 100, 10: 1000, 60: 1200}
"""The default quota of each window, by its length in seconds."""

REFUSAL_S = 0.005
"""How fast an upstream says no: a refused call costs it no work."""


@dataclass(kw_only=True)
class Healthy(Model):
    """Answers every call, however many there are."""

    name = "healthy"
    pages = 3000

    service_s: float = param(0.25, low=0.001, high=60, why="mean time of an answer")
    service_cv: float = param(0.5, high=5, why="spread of that time, as coefficient of variation")

    def arrive(self, now: float, request: Request) -> Decision:
        """200 after a lognormal time."""
        del now, request
        return Decision(200, self._work_s())

    def _work_s(self) -> float:
        return lognormal_s(self.rng, self.service_s, self.service_cv)


@dataclass(kw_only=True)
class Pool(Healthy):
    """A worker pool with a bounded queue; what does not fit gets a fast 500."""

    name = "pool"
    pages = 2000

    service_s: float = param(0.12, low=0.001, high=60, why="mean time of an answer")
    workers: int = param(24, low=1, high=10_000, why="calls worked on at once")
    queue: int = param(16, high=100_000, why="calls that may wait for a worker")
    station: Station = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.station = Station(self.workers_at, self.queue, self.next_change_s)

    def workers_at(self, t: float) -> int:
        """Workers at time ``t``."""
        del t
        return self.workers

    def next_change_s(self, t: float) -> float:
        """First time after ``t`` at which ``workers_at`` differs."""
        del t
        return math.inf

    def arrive(self, now: float, request: Request) -> Decision:
        """200 after waiting and work, or 500 at once when workers and queue are full."""
        del request
        end = self.station.admit(now, self._work_s())
        if end is None:
            return Decision(500, REFUSAL_S, "overflow")
        return Decision(200, end - now)

    def concurrency(self) -> int:
        """Every worker busy and half the queue as slack: no worker idles, nothing overflows."""
        return self.workers + self.queue // 2


@dataclass(kw_only=True)
class Brownout(Pool):
    """A worker pool that periodically loses 60 % of its workers."""

    name = "brownout"

    period_s: float = param(10.0, low=0.1, high=86_400, why="from one loss of capacity to the next")
    down_s: float = param(4.0, low=0.05, high=86_400, why="how long a loss lasts, at the end of each period")
    drop: float = param(0.6, high=0.99, why="share of the workers that is lost")

    def workers_at(self, t: float) -> int:
        """All workers, then the reduced number for the last ``down_s`` of each period."""
        return self.workers_when_down() if t % self.period_s >= self._up_s() else self.workers

    def workers_when_down(self) -> int:
        """Workers during a loss, at least 1."""
        return max(1, round(self.workers * (1 - self.drop)))

    def next_change_s(self, t: float) -> float:
        """The next edge of the schedule, always later than ``t``."""
        base = math.floor(t / self.period_s) * self.period_s
        edges = (base + self._up_s(), base + self.period_s, base + self.period_s + self._up_s())
        return next(edge for edge in edges if edge > t)

    def concurrency(self) -> int:
        """Every worker in good times, no more than the bad times have room for."""
        return max(1, min(self.workers, self.workers_when_down() + self.queue))

    def _up_s(self) -> float:
        return max(0.0, self.period_s - self.down_s)


@dataclass(kw_only=True)
class Crowd(Healthy):
    """Base of the models without a queue whose service time depends on how many calls are in flight."""

    service_s: float = param(0.12, low=0.001, high=60, why="mean time of an answer when alone")
    ends: list[float] = field(init=False, repr=False, default_factory=list)

    def in_flight(self, now: float) -> int:
        """Calls that have not ended at ``now``."""
        self.ends = [end for end in self.ends if end > now]
        return len(self.ends)

    def hold(self, now: float, after_s: float) -> None:
        """Count a call as in flight until ``now + after_s``."""
        self.ends.append(now + after_s)


@dataclass(kw_only=True)
class Collapse(Crowd):
    """Beyond a knee every call slows every other down, until lock timeouts turn work into 500s.

    With n in flight and x = n / knee > 1 the service time is multiplied by x·(1 + steepness·(x - 1)):
    throughput stays flat with steepness 0 and falls as 1/x with 1.
    """

    name = "collapse"
    pages = 1000

    knee: int = param(20, low=1, high=10_000, why="calls in flight from which on it slows down")
    steepness: float = param(1.0, high=10, why="how fast throughput falls beyond the knee")
    lock_timeout_s: float = param(2.0, low=0.01, high=600, why="work longer than this ends in a 500")

    def arrive(self, now: float, request: Request) -> Decision:
        """200 after the crowd's service time, or 500 after ``lock_timeout_s``."""
        del request
        x = max(1.0, (self.in_flight(now) + 1) / self.knee)
        work_s = self._work_s() * x * (1 + self.steepness * (x - 1))
        timed_out = work_s > self.lock_timeout_s
        after_s = self.lock_timeout_s if timed_out else work_s
        self.hold(now, after_s)
        return Decision(500, after_s, "lock timeout") if timed_out else Decision(200, after_s)

    def concurrency(self) -> int:
        """The knee."""
        return self.knee


@dataclass(kw_only=True)
class Usl(Crowd):
    """Contention and crosstalk (Gunther's universal scalability law): no errors, but a smooth optimum.

    Service time with n in flight: service_s·(1 + sigma·(n - 1) + kappa·n·(n - 1)); throughput peaks at
    n = sqrt((1 - sigma) / kappa).
    """

    name = "usl"
    pages = 800

    sigma: float = param(0.02, high=0.99, why="share of the work that is serial")
    kappa: float = param(0.0015, low=1e-9, high=1, why="cost of each pair of calls in flight")

    def arrive(self, now: float, request: Request) -> Decision:
        """200 after a time that grows with the calls in flight."""
        del request
        n = self.in_flight(now) + 1
        after_s = self._work_s() * (1 + self.sigma * (n - 1) + self.kappa * n * (n - 1))
        self.hold(now, after_s)
        return Decision(200, after_s)

    def concurrency(self) -> int:
        """Where throughput peaks."""
        return max(1, round(math.sqrt((1 - self.sigma) / self.kappa)))


@dataclass(kw_only=True)
class Quota(Healthy):
    """So many calls per window; a 500 beyond."""

    name = "quota"
    pages = 1500

    service_s: float = param(0.05, low=0.001, high=60, why="mean time of an answer")
    calls: int = param(0, high=10_000_000, why="calls a window allows; 0: 100, 1000 or 1200 by window_s")
    window_s: int = param(10, low=1, high=60, why="length of the window: 1, 10 or 60")
    aligned: bool = param(False, why="windows start at multiples of window_s instead of sliding")
    count_refused: bool = param(False, why="refused calls use the quota up too")
    counted: deque[float] = field(init=False, repr=False, default_factory=deque)

    def __post_init__(self) -> None:
        if self.window_s not in QUOTA_OF_WINDOW:
            raise ParamError(f"window_s must be 1, 10 or 60, not {self.window_s}")
        self.calls = self.calls or QUOTA_OF_WINDOW[self.window_s]

    def demo_pages(self) -> int:
        """What the quota allows in 15 s or, where that is longer, in one window and a quarter."""
        return max(1, round(self.calls / self.window_s * max(15.0, 1.25 * self.window_s)))

    def demo_seconds(self) -> float:
        """At least two windows."""
        return max(60.0, 2.0 * self.window_s)

    def arrive(self, now: float, request: Request) -> Decision:
        """200 while the window has calls left, else a fast 500."""
        del request
        while self.counted and not self._in_window(self.counted[0], now):
            self.counted.popleft()
        refused = len(self.counted) >= self.calls
        if not refused or self.count_refused:
            self.counted.append(now)
        return Decision(500, REFUSAL_S, "quota") if refused else Decision(200, self._work_s())

    def rate_per_s(self, pods: int) -> float:
        """A rate that never exceeds a window: per pod, a bucket of burst 1 starts at most rate·window + 1."""
        return max(self.calls - pods, self.calls / 2) / self.window_s

    def _in_window(self, then: float, now: float) -> bool:
        if self.aligned:
            return then // self.window_s == now // self.window_s
        return now - then < self.window_s


@dataclass(kw_only=True)
class RandomErrors(Healthy):
    """A share of the calls fails for no reason that load could explain."""

    name = "random"

    p: float = param(0.02, high=1, why="share of calls that fail")

    def arrive(self, now: float, request: Request) -> Decision:
        """As healthy, but 500 with probability ``p``."""
        del now, request
        after_s = self._work_s()
        return Decision(500, after_s, "random") if self.rng.random() < self.p else Decision(200, after_s)


@dataclass(kw_only=True)
class Truncated(Healthy):
    """A share of the bodies is cut mid-way and the connection closed."""

    name = "truncated"

    p: float = param(0.05, high=1, why="share of bodies that are cut")
    chunked: float = param(0.5, high=1, why="share of bodies sent chunked; the others with Content-Length")

    def arrive(self, now: float, request: Request) -> Decision:
        """200, of which the body may stop early."""
        del now, request
        decision = Decision(200, self._work_s(), chunked=self.rng.random() < self.chunked)
        if self.rng.random() < self.p:
            decision.why, decision.sent_share = "truncated", self.rng.uniform(0.0, 0.95)
        return decision


@dataclass(kw_only=True)
class IdleClosing(Healthy):
    """Closes kept connections that idle; a call already under way to it then is lost with the connection.

    On loopback a close is seen at once, so the race is made by hand: the server stops listening to the
    connection ``race_s`` before the client can see the close, as if that much network lay between them.
    """

    name = "idle-closing"
    habits = {"pause_share": 0.2, "pause_low_s": 0.25, "pause_high_s": 0.75}

    service_s: float = param(0.15, low=0.001, high=60, why="mean time of an answer")
    idle_s: float = param(0.5, low=0.01, high=3600, why="an idle connection is closed after this")
    jitter_s: float = param(0.05, high=60, why="± on idle_s, drawn each time")
    race_s: float = param(0.1, high=10, why="how long a close is under way before the client can see it")

    def idle_close_s(self) -> float:
        """``idle_s`` ± ``jitter_s``, at least 1 ms."""
        return max(0.001, self.idle_s + self.rng.uniform(-self.jitter_s, self.jitter_s))

    @property
    def closing_s(self) -> float:
        """``race_s``."""
        return self.race_s


@dataclass(kw_only=True)
class DeepPages(Pool):
    """The deeper the page, the longer the query: the deepest ones run into the statement timeout."""

    name = "deep-pages"
    pages = 1200

    workers: int = param(60, low=1, high=10_000, why="calls worked on at once")
    queue: int = param(1000, high=100_000, why="calls that may wait for a worker")
    deepest: int = param(1200, low=1, high=100_000_000, why="the page at which depth has its full effect")
    slope: float = param(8.0, high=1000, why="page p takes 1 + slope·p/deepest times service_s")
    timeout_s: float = param(1.5, low=0.01, high=600, why="work longer than this ends in a 500")

    def arrive(self, now: float, request: Request) -> Decision:
        """200 after depth-dependent work, 500 when the work takes longer than ``timeout_s``."""
        work_s = self._work_s() * (1 + self.slope * request.page / self.deepest)
        end = self.station.admit(now, min(work_s, self.timeout_s))
        if end is None:
            return Decision(500, REFUSAL_S, "overflow")
        if work_s > self.timeout_s:
            return Decision(500, end - now, "deep page")
        return Decision(200, end - now)

    def concurrency(self) -> int:
        """The workers: depth hurts, not load."""
        return self.workers


@dataclass(kw_only=True)
class BadAddress(Healthy):
    """Four addresses with a worker pool each; one of them fails a share of its calls."""

    name = "bad-address"
    pages = 2500
    addresses = 4

    service_s: float = param(0.12, low=0.001, high=60, why="mean time of an answer")
    workers: int = param(8, low=1, high=10_000, why="calls each address works on at once")
    queue: int = param(64, high=100_000, why="calls that may wait at each address")
    p: float = param(0.3, high=1, why="share of the bad address's calls that fail")
    bad: int = param(3, low=1, high=4, why="which one is bad: the last number of 127.0.0.N")
    stations: list[Station] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.stations = [Station(lambda _: self.workers, self.queue) for _ in range(self.addresses)]

    def arrive(self, now: float, request: Request) -> Decision:
        """The called address's pool answers; the bad one with a 500 at probability ``p``."""
        end = self.stations[request.address].admit(now, self._work_s())
        if end is None:
            return Decision(500, REFUSAL_S, "overflow")
        if request.address == self.bad - 1 and self.rng.random() < self.p:
            return Decision(500, end - now, "bad address")
        return Decision(200, end - now)

    def concurrency(self) -> int:
        """The workers of all addresses."""
        return self.workers * self.addresses


MODELS: Mapping[str, type[Model]] = {
    each.name: each
    for each in (
        Healthy,
        Pool,
        Collapse,
        Usl,
        Quota,
        RandomErrors,
        Brownout,
        Truncated,
        IdleClosing,
        DeepPages,
        BadAddress,
    )
}


def build_model(name: str, *, seed: int, settings: Mapping[str, str]) -> Model:
    """The named model, seeded, with ``settings`` over its defaults; raises ParamError and KeyError."""
    return MODELS[name].build(random.Random(f"{seed}/{name}"), settings)
