"""What one pod counts, and what a whole fleet saw between two readings.

A tally only ever grows, so that a lost reading delays evidence and loses none. A window is the difference of two readings,
summed over the pods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, to_builtins

COUNTS = ("ok", "bad", "fast", "took_s", "busy_s", "shut_s")
LOGS = ("log", "log2")
_SUMMED = ("ok", "bad", "fast", "took_s", *LOGS)
_LONGEST_S = 60.0
"""No window is longer: a pod that was not read for so long begins anew."""
_MOST_LOG = 14.0
"""ln of a microsecond, and of ten days, lie within it."""


class Tally(Struct):
    """What one limiter of one pod has seen since its start. Counts of attempts, and sums in seconds."""

    ok: int = 0
    """Attempts that went well."""
    bad: int = 0
    """Attempts that failed through the upstream."""
    fast: int = 0
    """Those of the failed that took less than a quarter of what a success usually takes: refusals at the door."""
    took_s: float = 0.0
    """Sum of what the attempts that went well took."""
    log: float = 0.0
    log2: float = 0.0
    """Sums of ln of that, and of its square: one slow answer says less than a mean would make of it."""
    busy_s: float = 0.0
    """Slot seconds: one slot that was taken, or that cools after a fast failure, for one second."""
    shut_s: float = 0.0
    """How long the outage gate was closed."""

    def as_dict(self) -> dict[str, Any]:
        """Return the counts by name."""
        out: dict[str, Any] = to_builtins(self)
        return out

    def merge(self, other: Tally) -> None:
        """Add what another has seen."""
        for name in COUNTS + LOGS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Reading(Struct):
    """One pod's limiter as it was read: its tally, and how it stands at this moment."""

    at: float
    """When, in seconds of the pod's own clock."""
    tally: Tally
    wanted: int = 0
    """Calls that wait or are under way."""
    waiting: int = 0
    """Those that wait for a slot."""
    inflight: int = 0
    is_shut: bool = False
    """Whether the outage gate is closed."""
    most: int = 256
    """The most slots the pod may be given."""
    fixed: int | None = None
    """The slots of a pod whose limit was set by hand; None where the limit is learnt."""
    start: int | None = None
    """The slots that a pod was told to start with; None where it was not told."""


class Counted(Struct):
    """Attempts that ended and say something: how many went well, how many failed, and how many of those at the door."""

    ok: float = 0.0
    bad: float = 0.0
    fast: float = 0.0

    def count(self, other: Counted) -> None:
        """Add what another has counted."""
        self.ok += other.ok
        self.bad += other.bad
        self.fast += other.fast

    @property
    def attempts(self) -> float:
        """Attempts that ended and say something."""
        return self.ok + self.bad

    @property
    def failing(self) -> float:
        """Share of the attempts that failed, 0.0 when there were none."""
        return self.bad / self.attempts if self.bad else 0.0

    @property
    def refusing(self) -> float:
        """Share of the attempts refused at the door, 0.0 when there were none."""
        return self.fast / self.attempts if self.fast else 0.0


class Window(Counted):
    """What the fleet saw between two readings."""

    span_s: float = 0.0
    """Mean time between a pod's two readings."""
    took_s: float = 0.0
    log: float = 0.0
    log2: float = 0.0
    n: float = 0.0
    """Slots in use, on average over the window, of all pods together."""
    wanted: int = 0
    waiting: int = 0
    shut: float = 0.0
    """Share of the time that outage gates were closed, mean of the pods."""
    shut_now: float = 0.0
    """Share of the pods whose gate is closed at the end."""
    pods: int = 0

    @property
    def latency_s(self) -> float:
        """Mean time of a success, 0.0 when there was none."""
        return self.took_s / self.ok if self.ok else 0.0


class Readings:
    """Turns the readings of one moment into the window since those before. Pods come and go."""

    def __init__(self) -> None:
        self._before: dict[str, Reading] = {}
        self._n: dict[str, float] = {}

    def window(self, now: Mapping[str, Reading], period_s: float) -> Window:
        """Return what was seen since the last call, summed over the pods. A pod counts from its first reading on."""
        out = Window(pods=len(now))
        spans: list[float] = []
        known: dict[str, float] = {}
        for pod, reading in now.items():
            out.wanted += reading.wanted
            out.waiting += reading.waiting
            out.shut_now += reading.is_shut
            before = self._before.get(pod)
            if before is None:
                continue
            span_s = reading.at - before.at
            if span_s == 0.0:  # not read this time: it goes on as it did
                known[pod] = self._n.get(pod, 0.0)
                out.n += known[pod]
                continue
            rise = _rise(before.tally, reading.tally, span_s)
            if rise is None:
                continue
            spans.append(span_s)
            known[pod] = min(rise["busy_s"] / span_s, reading.most + 1.0)
            out.n += known[pod]
            out.shut += min(1.0, rise["shut_s"] / span_s)
            for name in _SUMMED:
                setattr(out, name, getattr(out, name) + rise[name])
        count = max(1, len(spans))
        out.span_s = sum(spans) / count if spans else period_s
        out.shut /= count
        out.shut_now /= max(1, len(now))
        self._before, self._n = dict(now), known
        return out


def _rise(before: Tally, now: Tally, span_s: float) -> dict[str, float] | None:
    """Return what a tally rose by; None for one that began anew or cannot be."""
    if not 0.0 < span_s <= _LONGEST_S:
        return None
    rise = {name: getattr(now, name) - getattr(before, name) for name in COUNTS + LOGS}
    if not all(math.isfinite(value) for value in rise.values()) or any(rise[name] < 0 for name in COUNTS):
        return None
    most = _MOST_LOG * rise["ok"]
    if abs(rise["log"]) > most or not 0.0 <= rise["log2"] <= _MOST_LOG * most:
        return None
    return rise
