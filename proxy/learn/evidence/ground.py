"""What is usual of an upstream: latency and its floor, its spread, failures, and how much windows differ by chance."""

from __future__ import annotations

import math

from msgspec import Struct

from proxy.learn.evidence.tally import Counted, Window
from proxy.learn.parameters import SIGHT, WORTH

_SPREAD = 0.25
_LEAST_SPREAD = 0.02
_FLOOR_RISES = 1.0005
_OTHER = 0.003
"""Variance of a window's worth that is no matter of counting: pods that are read at other moments, pages that differ."""

_WAITING = 0.05
"""Calls that wait, over slots in use, from which on the limit is what holds the traffic."""
_TURNED_OVER = 0.5
_SETTLED = 0.6
_TELLING = 8
"""Pages from which on that can be told."""
_MOST_RISE = 0.3
_QUICK = 30.0
_SLOW = 200.0
"""Pages that latency is smoothed over."""
_MOST_NEWS = 30.0
"""No pair of windows counts for more: a capacity that changed once is no noise."""


class Ground(Struct):
    """Smoothed figures. Latencies in seconds; ``floor_s`` is the lowest mean seen, and rises slowly; 0.0: none yet."""

    latency_s: float = 0.1
    steady_s: float = 0.0
    """The same over more pages: the lowest mean of a few would lie far below the floor by chance."""
    seen: float = 0.0
    floor_s: float = 0.0
    spread: float = _SPREAD
    """Variance of ln of the time of a success."""
    failing: float = 0.0
    refusing: float = 0.0
    """Usual shares of failed attempts, and of refusals at the door."""
    noise: float = 1.0
    """Variance between windows of the same height over what counting explains."""

    def note(self, w: Window) -> None:
        """Take in a window in which something ended."""
        if w.ok:
            self.latency_s += min(1.0, w.ok / _QUICK) * (w.latency_s - self.latency_s)
            self.seen = min(_SLOW, self.seen + w.ok)
            self.steady_s += w.ok / max(w.ok, self.seen) * (w.latency_s - self.steady_s)
            if self.seen >= _SLOW / 2:
                self.floor_s = min(self.floor_s * _FLOOR_RISES or self.steady_s, self.steady_s)
        if w.ok >= SIGHT.few:
            spread = max(_LEAST_SPREAD, w.log2 / w.ok - (w.log / w.ok) ** 2)
            self.spread += SIGHT.usual * (spread - self.spread)

    def note_failures(self, w: Window) -> None:
        """Take in a window at the height that is held. A burst moves what is usual only so far."""
        if w.attempts:
            weight = min(SIGHT.usual, w.attempts / 200.0)
            self.failing += weight * min(_MOST_RISE, w.failing - self.failing)
            self.refusing += weight * min(_MOST_RISE, w.refusing - self.refusing)

    def accept(self, point: Point) -> None:
        """Take failures that do not answer to the load for the usual ones from now on."""
        self.failing, self.refusing = point.failing, point.refusing

    def note_pair(self, before: Point, after: Point) -> None:
        """Take in two windows of the same height: they differ by chance alone."""
        expected = self.variance(before) + self.variance(after)
        ratio = min(_MOST_NEWS, (before.worth - after.worth) ** 2 / expected * self.noise)
        self.noise = max(0.3, self.noise + SIGHT.usual * (ratio - self.noise))

    def variance(self, point: Point) -> float:
        """Return the variance of a point's worth."""
        failed = min(0.5, self.failing)
        counting = (self.spread + (1 + WORTH.failing) ** 2 * failed / (1 - failed)) / max(point.ok, 0.5)
        return self.noise * (counting + _OTHER / max(1.0, point.windows))

    @property
    def is_contended(self) -> bool:
        """Whether latency is above its floor."""
        return self.steady_s > SIGHT.contended * self.floor_s > 0.0

    @property
    def settling(self) -> int:
        """Windows beyond the first until a change shows in full."""
        windows = math.ceil((self.latency_s - SIGHT.settles_s) / SIGHT.period_s)
        return max(0, min(SIGHT.longest_settling, windows))


class Point(Counted):
    """What was seen at one height: sums over its clean windows."""

    log: float = 0.0
    took_s: float = 0.0
    span_s: float = 0.0
    busy_s: float = 0.0
    slot_s: float = 0.0
    waiting_s: float = 0.0
    windows: int = 0

    def add(self, w: Window, slots: int) -> None:
        """Add a window in which so many slots were in force."""
        self.count(w)
        self.log += w.log
        self.took_s += w.took_s
        self.span_s += w.span_s
        self.busy_s += w.n * w.span_s
        self.slot_s += slots * w.span_s
        self.waiting_s += w.waiting * w.span_s
        self.windows += 1

    @property
    def n(self) -> float:
        """Slots in use on average."""
        return max(0.1, self.busy_s / self.span_s) if self.span_s else 0.1

    @property
    def use(self) -> float:
        """Slots in use over slots in force."""
        return max(0.1, self.busy_s / self.slot_s) if self.slot_s else 1.0

    def slots_for(self, slots: int) -> float:
        """Return the slots that those in use answer to: all of them where calls waited, else those in use."""
        return float(slots) if self.is_short else min(float(slots), self.n)

    @property
    def is_turned_over(self) -> bool:
        """Whether so many calls ended that they are not just the quickest of those under way."""
        return self.attempts >= _TURNED_OVER * self.n

    @property
    def is_telling(self) -> bool:
        """Whether there are pages enough to tell that."""
        return self.ok >= _TELLING

    @property
    def is_settled(self) -> bool:
        """Whether what ended accounts for what was under way: else queues still grow, or what was sent before still ends."""
        share = self.took_s / max(1e-3, self.busy_s * (1 - self.failing))
        return not self.is_telling or _SETTLED < share < 1 / _SETTLED

    @property
    def is_short(self) -> bool:
        """Whether calls waited for a slot: the limit is what holds them."""
        return self.waiting_s > _WAITING * self.busy_s

    @property
    def per_s(self) -> float:
        """Pages a second."""
        return self.ok / self.span_s if self.span_s else 0.0

    @property
    def strain(self) -> float:
        """ln of the latency, more where attempts fail slowly: what load does. Refusals at the door cost the upstream nothing."""
        ok = max(self.ok, 0.5)
        return self.log / ok + math.log((ok + self.bad - self.fast) / ok)

    @property
    def worth(self) -> float:
        """ln of pages/s, less a little for slots and waste: the mean of what latencies and what counted pages say.

        By Little's law pages/s are slots in use over latency, less those that failed. After a step up the latencies are still
        those of calls that were sent before, so that more slots look too good. Counted pages lag the other way.
        """
        ok = max(self.ok, 0.5)
        failed = math.log((ok + self.bad) / ok)
        by_latency = math.log(self.n) - self.log / ok - (1 + WORTH.failing) * failed
        return (by_latency + self.carried) / 2 - WORTH.thrift * math.log(self.n)

    @property
    def carried(self) -> float:
        """ln of the pages/s that were counted, less a little for attempts that failed: for what changes more than the slots."""
        ok = max(self.ok, 0.5)
        return math.log(ok / max(self.span_s, 1e-3)) - WORTH.failing * math.log((ok + self.bad) / ok)


def joined(points: list[Point]) -> Point:
    """Return the sum of some points."""
    out = Point()
    for each in points:
        for name in each.__struct_fields__:
            setattr(out, name, getattr(out, name) + getattr(each, name))
    return out


def tail(points: list[Point], windows: int, attempts: float = SIGHT.few) -> Point:
    """Return the sum of the last points: of so many windows, and of as many more as so many attempts take."""
    out = Point()
    for i in range(len(points) - 1, -1, -1):
        if out.windows >= windows and out.attempts >= attempts:
            break
        out = joined([points[i], out])
    return out
