"""A run's record into numbers, and those of one upstream beside the reference's. Pure."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from proxy.lab.report import quantile
from tests.bench.goodput.arms import Record
from tests.bench.goodput.peers import RIGHT

PULL_S = 300.0
"""The pull that is timed: as many pages as the reference delivers in so many seconds."""

GRID_S = 0.5
MOVING_S = 5.0
NEAR_BEST = 0.9
FEW_ERRORS = 0.001


@dataclass(slots=True)
class Run:
    """What one peer showed before one upstream. Rates in pages a second, times in seconds; steady is its window."""

    upstream: str
    peer: str
    seconds: float
    steady_s: tuple[float, float]
    goodput: float
    errors: int
    steady_errors: int
    kinds: dict[str, int]
    attempts_per_page: float | None
    steady_attempts_per_page: float | None
    jain: float
    thread_jain: float
    p50_s: float | None
    p99_s: float | None
    max_in_flight: int
    connections: int
    by_why: dict[str, int]
    cpu: float
    """Share of all cores that the run's processes used in the window."""
    others_cpu: float
    """Share of all cores that anybody else used in it."""
    delivered: list[int]
    """The fleet's pages, every ``GRID_S`` from 0."""
    pod_goodput: list[float]
    compiled: bool
    told: list[Mapping[str, Any]] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def error_share(self) -> float:
        """App-visible errors of the window over its answers."""
        pages = self.goodput * (self.steady_s[1] - self.steady_s[0])
        return self.steady_errors / (self.steady_errors + pages) if self.steady_errors else 0.0


@dataclass(slots=True)
class Row:
    """A run beside its upstream's reference; None where there is no reference or the run never got there."""

    run: Run
    reference: str | None
    ratio: float | None
    near_best_s: float | None
    pull_s: float | None
    pull_seen: bool
    """Whether the pull was watched to its end, and not worked out from the steady rate."""


def run_of(upstream: str, peer: str, record: Record, threads: Sequence[int], *, compiled: bool) -> Run:
    """The numbers of a record; the steady window is between its first two marks."""
    start, end, last = record.marks
    span_s = end.t - start.t
    before = [_at(pod, start.t) for pod in record.pods]
    after = [_at(pod, end.t) for pod in record.pods]
    pages = [b[0] - a[0] for a, b in zip(before, after, strict=True)]
    goodput = [each / span_s for each in pages]
    calls = sorted(
        second
        for pod, (a, b) in enumerate(zip(before, after, strict=True))
        for second in record.call_s[pod][int(sum(a)) : int(sum(b))]
    )
    total = sum(pod[-1][1] for pod in record.pods)
    own, ticks = end.cpu.own - start.cpu.own, max(1, end.cpu.total - start.cpu.total)
    return Run(
        upstream=upstream,
        peer=peer,
        seconds=record.window.seconds,
        steady_s=(round(start.t, 2), round(end.t, 2)),
        goodput=round(sum(goodput), 3),
        errors=sum(pod[-1][2] for pod in record.pods),
        steady_errors=round(sum(b[1] - a[1] for a, b in zip(before, after, strict=True))),
        kinds=dict(record.kinds),
        attempts_per_page=_per(last.stats["attempts"], total),
        steady_attempts_per_page=_per(end.stats["attempts"] - start.stats["attempts"], sum(pages)),
        jain=round(jain(goodput), 4),
        thread_jain=round(jain([each / n for each, n in zip(goodput, threads, strict=True)]), 4),
        p50_s=_finite(quantile(calls, 0.5)),
        p99_s=_finite(quantile(calls, 0.99)),
        max_in_flight=end.stats["max_in_flight"],
        connections=last.stats["connections_opened"],
        by_why=dict(last.stats["by_why"]),
        cpu=round(own / ticks, 3),
        others_cpu=round(max(0, end.cpu.busy - start.cpu.busy - own) / ticks, 3),
        delivered=_grid(record),
        pod_goodput=[round(each, 3) for each in goodput],
        compiled=compiled,
        told=record.told,
        limits={str(pod): said for pod, said in record.limits.items()},
    )


def judged(runs: Iterable[Run]) -> list[Row]:
    """Each run beside the reference of its upstream, in the order in which they came."""
    runs = list(runs)
    best = {
        name: reference([run for run in runs if run.upstream == name]) for name in {r.upstream for r in runs}
    }
    return [_row(run, best[run.upstream]) for run in runs]


def reference(runs: Sequence[Run]) -> Run | None:
    """The best of those told the right limit, if it can be one whose app saw next to no error."""
    told = [run for run in runs if run.peer in RIGHT] or [run for run in runs if run.peer == "sidegate-right"]
    clean = [run for run in told if run.error_share <= FEW_ERRORS]
    return max(clean or told, key=lambda run: run.goodput, default=None)


def near_best_s(delivered: Sequence[int], goodput: float) -> float | None:
    """When the pages of the last ``MOVING_S`` first came to 90 % of ``goodput``; None: never. 4.5 to 5 is at once."""
    back = round(MOVING_S / GRID_S)
    for at, pages in enumerate(delivered):
        if pages - delivered[max(0, at - back)] >= NEAR_BEST * goodput * MOVING_S:
            return at * GRID_S
    return None


def pull_s(run: Run, pages: float) -> tuple[float | None, bool]:
    """When ``pages`` had come, and whether that was seen; else the rest is reckoned at the steady rate."""
    if run.delivered[-1] >= pages:
        return bisect.bisect_left(run.delivered, pages) * GRID_S, True
    if not run.goodput:
        return None, False
    return run.seconds + (pages - run.delivered[-1]) / run.goodput, False


def jain(values: Sequence[float]) -> float:
    """Jain's index: 1 when all are equal, 1/n when one has everything; 0 when nobody has anything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def as_json(run: Run) -> dict[str, Any]:
    """The run as ``from_json`` takes it."""
    return asdict(run)


def from_json(told: Mapping[str, Any]) -> Run:
    """The run that ``as_json`` wrote; raises TypeError for anything else."""
    return Run(**{**told, "steady_s": tuple(told["steady_s"])})


def _row(run: Run, best: Run | None) -> Row:
    if best is None or not best.goodput:
        return Row(run, None, None, None, None, False)
    pull, seen = pull_s(run, best.goodput * PULL_S)
    return Row(
        run, best.peer, run.goodput / best.goodput, near_best_s(run.delivered, best.goodput), pull, seen
    )


def _at(told: Sequence[tuple[float, int, int]], t: float) -> tuple[float, float]:
    """Pages and errors at ``t``, between what was told before and after it."""
    at = bisect.bisect_left(told, t, key=lambda each: each[0])
    t1, pages1, errors1 = told[min(at, len(told) - 1)]
    t0, pages0, errors0 = told[at - 1] if at else (0.0, 0, 0)
    part = 1.0 if t >= t1 or t1 <= t0 else (t - t0) / (t1 - t0)
    return pages0 + part * (pages1 - pages0), errors0 + part * (errors1 - errors0)


def _grid(record: Record) -> list[int]:
    steps = math.floor(record.window.seconds / GRID_S) + 1
    return [round(sum(_at(pod, step * GRID_S)[0] for pod in record.pods)) for step in range(steps)]


def _per(attempts: int, pages: float) -> float | None:
    return round(attempts / pages, 4) if pages else None


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
