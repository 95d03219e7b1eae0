"""Counters and histograms that cost little to move, and are turned into Prometheus' words only when somebody asks.

prometheus_client's own ``observe`` takes a lock and walks the buckets; eight of them a call would be a fifth of what a call may
cost. Everything here happens on the event loop's one thread, so plain numbers do.
"""

from __future__ import annotations

from bisect import bisect_left

BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""Upper bounds in seconds: from half a millisecond to twice the longest a call may take by default."""

BUCKETS_REQUESTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10000.0, 100000.0)

Labels = tuple[str, ...]


class Histogram:
    """Counts per bucket, not yet summed up, and the sum of all values."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, count up to it) as the exposition format wants them, +Inf last."""
        seen = 0
        rows = []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            rows.append(("+Inf" if bound == float("inf") else repr(bound), float(seen)))
        return rows


class HistogramFamily:
    """Histograms by label values, made when first met."""

    def __init__(self) -> None:
        self.by_labels: dict[Labels, Histogram] = {}

    def of(self, labels: Labels) -> Histogram:
        """Return the histogram of ``labels``."""
        histogram = self.by_labels.get(labels)
        if histogram is None:
            histogram = self.by_labels[labels] = Histogram(BUCKETS_S)
        return histogram


class CounterFamily:
    """Counters by label values, made when first met."""

    def __init__(self) -> None:
        self.by_labels: dict[Labels, float] = {}

    def add(self, labels: Labels) -> None:
        """Count one more."""
        self.by_labels[labels] = self.by_labels.get(labels, 0.0) + 1.0


class Cell:
    """One series' count, and the histogram its durations go to."""

    __slots__ = ("count", "seconds")

    def __init__(self, seconds: Histogram) -> None:
        self.count = 0
        self.seconds = seconds


class CellFamily:
    """Cells by label values. Whoever counts keeps the cell: looking it up by its labels costs more than counting."""

    def __init__(self) -> None:
        self._cells: dict[Labels, Cell] = {}

    def cell(self, labels: Labels, seconds: Histogram) -> Cell:
        """Return the cell of ``labels``, made when first met."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._cells[labels] = Cell(seconds)
        return cell

    def counts(self) -> dict[Labels, float]:
        """Return every series' count."""
        return {labels: float(cell.count) for labels, cell in self._cells.items()}
