"""The metrics of contract.md, filled from outcomes and read at a scrape.

Label values come from enums, configuration and status codes only: never from a path, a page number or a client.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from proxy.base.outcomes import AttemptOutcome, ExchangeOutcome
from proxy.base.reasons import Reason
from proxy.observe.counts import (
    BUCKETS_REQUESTS,
    Cell,
    CellFamily,
    CounterFamily,
    Histogram,
    HistogramFamily,
)

_METHODS = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"}
)

_COUNTERS = {
    "requests": ("Calls of the app, by what they were answered", ("route", "method", "code", "reason")),
    "attempts": ("Tries at the upstream, by how they ended", ("route", "kind", "code", "reason")),
    "retries": ("Retries decided, by the failure before", ("reason",)),
    "retry_denied": ("Failures that stood, by what forbade a retry", ("why",)),
    "bytes": ("Body bytes of calls, towards the app (in) and from it (out)", ("direction",)),
    "connections_closed": ("Upstream connections closed", ("side", "why")),
    "connections_opened": ("Upstream connections opened", ()),
}
_HISTOGRAMS = {
    "request_seconds": ("Call, from its head to its last answer byte", ("route", "outcome")),
    "attempt_seconds": ("One try at the upstream", ("route", "outcome")),
    "wait_seconds": ("Waits of calls that did wait", ("stage",)),
    "phase_seconds": ("Phases of attempts", ("phase",)),
    "connection_requests": ("Requests an upstream connection had carried when it was closed", ()),
}


def _word(reason: Reason) -> str:
    return "ok" if reason is Reason.OK else "error"


class Metrics:
    """Counts every outcome. ``attempt`` and ``call`` are on the path of each call."""

    def __init__(self) -> None:
        self.requests = CellFamily()
        self.attempts = CellFamily()
        self._call_cells: dict[tuple[str, bytes, int, Reason], Cell] = {}
        self._attempt_cells: dict[tuple[str, str, int, Reason], Cell] = {}
        self.retries = CounterFamily()
        self.retry_denied_by = CounterFamily()
        self.bytes_in = 0
        self.bytes_out = 0
        self.connections_closed = CounterFamily()
        self.connections_opened = 0
        self.request_seconds = HistogramFamily()
        self.attempt_seconds = HistogramFamily()
        self.wait_seconds = HistogramFamily()
        self.phase_seconds = HistogramFamily()
        self.connection_requests = Histogram(BUCKETS_REQUESTS)
        self._head = self.phase_seconds.of(("head",))
        self._body = self.phase_seconds.of(("body",))
        for stage in ("queue", "token", "backoff", "outage"):
            self.wait_seconds.of((stage,))
        for phase in ("dns", "connect", "tls"):
            self.phase_seconds.of((phase,))

    def attempt(self, outcome: AttemptOutcome) -> None:
        """Count one finished attempt."""
        key = (outcome.route, outcome.kind, outcome.status, outcome.reason)
        cell = self._attempt_cells.get(key)
        if cell is None:
            cell = self._attempt_cells[key] = self._attempt_cell(outcome)
        cell.count += 1
        cell.seconds.observe(outcome.ended_at - outcome.started_at)
        if outcome.status:
            self._head.observe(outcome.head_s)
            if outcome.body_s:
                self._body.observe(outcome.body_s)

    def _attempt_cell(self, outcome: AttemptOutcome) -> Cell:
        labels = (outcome.route, outcome.kind, str(outcome.status), outcome.reason.value)
        return self.attempts.cell(labels, self.attempt_seconds.of((outcome.route, _word(outcome.reason))))

    def call(self, outcome: ExchangeOutcome) -> None:
        """Count one finished call."""
        key = (outcome.route, outcome.method, outcome.status, outcome.reason)
        cell = self._call_cells.get(key)
        if cell is None:
            cell = self._call_cell(outcome)
            if outcome.method in _METHODS:
                self._call_cells[key] = cell
        cell.count += 1
        cell.seconds.observe(outcome.ended_at - outcome.started_at)
        self.bytes_in += outcome.bytes_in
        self.bytes_out += outcome.bytes_out

    def _call_cell(self, outcome: ExchangeOutcome) -> Cell:
        method = outcome.method.decode() if outcome.method in _METHODS else "_OTHER"
        labels = (outcome.route, method, str(outcome.status), outcome.reason.value)
        return self.requests.cell(labels, self.request_seconds.of((outcome.route, _word(outcome.reason))))

    def refused(self, status: int, reason: Reason) -> None:
        """Count bytes that never became a request."""
        labels = ("default", "_OTHER", str(status), reason.value)
        self.requests.cell(labels, self.request_seconds.of(("default", _word(reason)))).count += 1

    def retried(self, reason: Reason) -> None:
        """Count a retry decided."""
        self.retries.add((reason.value,))

    def retry_denied(self, why: str) -> None:
        """Count a retry not granted."""
        self.retry_denied_by.add((why,))

    def waited(self, stage: str, seconds: float) -> None:
        """Count a wait."""
        self.wait_seconds.of((stage,)).observe(seconds)

    def connection_opened(self, dns_s: float, connect_s: float, tls_s: float) -> None:
        """Count a connection and its phases; 0.0 stands for a phase there was not."""
        self.connections_opened += 1
        for phase, seconds in (("dns", dns_s), ("connect", connect_s), ("tls", tls_s)):
            if seconds:
                self.phase_seconds.of((phase,)).observe(seconds)

    def connection_closed(self, side: str, why: str, requests: int) -> None:
        """Count a connection's end."""
        self.connections_closed.add((side, why))
        self.connection_requests.observe(requests)


Gauges = Mapping[str, tuple[str, Callable[[], float | Mapping[str, float] | None]]]
"""By name: help text, and what reads the value, values by state, or None where there is none to show."""


Totals = Mapping[str, tuple[str, Callable[[], float]]]
"""Counters that others keep, by name without its _total: help text, and what reads the count."""


class MetricsCollector(Collector):
    """Turns counts into metric families at a scrape. ``gauges`` returns which there are then."""

    def __init__(
        self,
        metrics: Metrics,
        gauges: Callable[[], Gauges],
        totals: Totals,
        build_info: Mapping[str, str],
    ) -> None:
        self._metrics = metrics
        self._totals = totals
        self._gauges = gauges
        self._build_info = dict(build_info)

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        metrics = self._metrics
        counters: dict[str, Mapping[tuple[str, ...], float]] = {
            "requests": metrics.requests.counts(),
            "attempts": metrics.attempts.counts(),
            "retries": metrics.retries.by_labels,
            "retry_denied": metrics.retry_denied_by.by_labels,
            "bytes": {("in",): metrics.bytes_in, ("out",): metrics.bytes_out},
            "connections_closed": metrics.connections_closed.by_labels,
            "connections_opened": {(): metrics.connections_opened},
        }
        for name, (help_text, labels) in _COUNTERS.items():
            family = CounterMetricFamily(f"sidegate_{name}", help_text, labels=labels)
            for values, count in counters[name].items():
                family.add_metric(values, count)
            yield family
        for name, (help_text, read) in self._totals.items():
            yield CounterMetricFamily(f"sidegate_{name}", help_text, value=read())
        histograms: dict[str, Mapping[tuple[str, ...], Histogram]] = {
            "request_seconds": metrics.request_seconds.by_labels,
            "attempt_seconds": metrics.attempt_seconds.by_labels,
            "wait_seconds": metrics.wait_seconds.by_labels,
            "phase_seconds": metrics.phase_seconds.by_labels,
            "connection_requests": {(): metrics.connection_requests},
        }
        for name, (help_text, labels) in _HISTOGRAMS.items():
            histogram_family = HistogramMetricFamily(f"sidegate_{name}", help_text, labels=labels)
            for values, histogram in histograms[name].items():
                histogram_family.add_metric(values, histogram.cumulative(), histogram.total)
            yield histogram_family
        yield from self._collect_gauges()

    def _collect_gauges(self) -> Iterator[Metric]:
        for name, (help_text, read) in self._gauges().items():
            value = read()
            if isinstance(value, Mapping):
                family = GaugeMetricFamily(f"sidegate_{name}", help_text, labels=("state",))
                for state, count in value.items():
                    family.add_metric((state,), count)
            elif value is None or not math.isfinite(value):
                continue  # scrapers that keep samples as JSON drop a whole batch for one +Inf
            else:
                family = GaugeMetricFamily(f"sidegate_{name}", help_text, value=value)
            yield family
        info = InfoMetricFamily("sidegate_build", "What runs where", value=self._build_info)
        yield info


def make_registry(collector: Collector) -> CollectorRegistry:
    """Return a registry with our families and those of the process, the platform and the garbage collector."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    with contextlib.suppress(ValueError):
        GCCollector(registry=registry)
    return registry
