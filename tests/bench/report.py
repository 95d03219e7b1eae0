"""Measurements into medians, ratios to one peer, a table and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One peer, one body size, one number of connections, one round."""

    peer: str
    size: str
    connections: int
    calls: int
    failed: int
    cpu_us_per_call: float
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    rss_mib: float
    anon_mib: float
    busy: float
    """Share of its core that the peer used; below 1 the load or the origin was what held the run back."""


@dataclass(frozen=True)
class Row:
    """The median round of one peer in one cell, and what it is in units of the reference peer."""

    median: Measurement
    cpu_ratio: float | None
    rate_ratio: float | None


def rows(measurements: Iterable[Measurement], reference: str) -> list[Row]:
    """One row for each (size, connections, peer) in the order they were first seen."""
    cells: dict[tuple[str, int], dict[str, list[Measurement]]] = {}
    for one in measurements:
        cells.setdefault((one.size, one.connections), {}).setdefault(one.peer, []).append(one)
    table: list[Row] = []
    for peers in cells.values():
        medians = {peer: _median(rounds) for peer, rounds in peers.items()}
        base = medians.get(reference)
        table += [_row(median, base) for median in medians.values()]
    return table


def _row(median: Measurement, base: Measurement | None) -> Row:
    if base is None:
        return Row(median, None, None)
    return Row(median, median.cpu_us_per_call / base.cpu_us_per_call, median.calls_per_s / base.calls_per_s)


def _median(rounds: list[Measurement]) -> Measurement:
    def of(value: Callable[[Measurement], float]) -> float:
        return statistics.median(value(one) for one in rounds)

    first = rounds[0]
    return Measurement(
        first.peer,
        first.size,
        first.connections,
        calls=sum(one.calls for one in rounds),
        failed=sum(one.failed for one in rounds),
        cpu_us_per_call=of(lambda one: one.cpu_us_per_call),
        calls_per_s=of(lambda one: one.calls_per_s),
        p50_ms=of(lambda one: one.p50_ms),
        p99_ms=of(lambda one: one.p99_ms),
        rss_mib=of(lambda one: one.rss_mib),
        anon_mib=of(lambda one: one.anon_mib),
        busy=of(lambda one: one.busy),
    )


def table(all_rows: list[Row], reference: str) -> str:
    head = f"{'body':>7} {'conns':>5}  {'peer':<9}{'CPU µs/call':>12}{'× ' + reference:>9}{'calls/s':>10}"
    head += (
        f"{'× ' + reference:>9}{'p50 ms':>9}{'p99 ms':>9}{'RSS MiB':>9}{'anon':>7}{'core':>6}{'failed':>8}"
    )
    lines = [head]
    cell: tuple[str, int] | None = None
    for row in all_rows:
        one = row.median
        here = (one.size, one.connections)
        label = f"{one.size:>7} {one.connections:>5}" if here != cell else " " * 13
        if cell is not None and here != cell:
            lines.append("")
        cell = here
        lines.append(f"{label}  {_line(row)}")
    return "\n".join(lines)


def _line(row: Row) -> str:
    one = row.median
    cost = f"{one.peer:<9}{one.cpu_us_per_call:>12.1f}{_ratio(row.cpu_ratio):>9}"
    speed = f"{one.calls_per_s:>10.0f}{_ratio(row.rate_ratio):>9}{one.p50_ms:>9.2f}{one.p99_ms:>9.2f}"
    return f"{cost}{speed}{one.rss_mib:>9.1f}{one.anon_mib:>7.1f}{one.busy:>6.0%}{one.failed:>8}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
