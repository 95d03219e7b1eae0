"""The rows as Markdown: every peer before every upstream, and Sidegate untuned against its bounds."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.goodput.figures import PULL_S, Row
from tests.bench.goodput.upstreams import UPSTREAMS

COLUMNS = (
    "upstream",
    "peer",
    "pages/s",
    "× ref",
    "90 % after s",
    "pull s",
    "app errors",
    "of them steady",
    "attempts/page",
    "whole run",
    "Jain",
    "by thread",
    "p50 s",
    "p99 s",
    "in flight",
    "CPU",
    "others'",
)
BOUNDS = ("upstream", "app errors", "steady ≥ 0.95", "pull ≤ 1.10", "attempts/page", "Jain ≥ 0.90")
STEADY_LEAST, PULL_MOST, JAIN_LEAST, ATTEMPTS_MOST, ATTEMPTS_SLACK = 0.95, 1.10, 0.90, 1.10, 0.05


def table(rows: Sequence[Row]) -> str:
    """Every row; the reference of an upstream is in bold."""
    return markdown(COLUMNS, [_cells(row) for row in rows], left=2)


def bounds(rows: Sequence[Row]) -> str:
    """One line for each upstream that Sidegate ran before untuned: each figure, and whether it is within its bound.
    Empty when it ran before none."""
    lines = []
    for row in rows:
        if row.run.peer == "sidegate":
            others = [each for each in rows if each.run.upstream == row.run.upstream]
            lines.append([row.run.upstream, *_bounds_of(row, others)])
    return markdown(BOUNDS, lines, left=1) if lines else ""


def attempts_bound(row: Row, others: Sequence[Row]) -> float:
    """Most attempts a page: 1.10 where load is what fails; 1/(1 - p) and a bit where a share p fails anyway; else what
    the reference took and a bit, which cannot avoid them either."""
    upstream = UPSTREAMS[row.run.upstream]
    if upstream.failing is not None:
        return 1 / (1 - upstream.failing) + ATTEMPTS_SLACK
    if upstream.by_load:
        return ATTEMPTS_MOST
    of_reference = [
        each.run.steady_attempts_per_page or 1.0 for each in others if each.run.peer == row.reference
    ]
    return max([ATTEMPTS_MOST, *(each + ATTEMPTS_SLACK for each in of_reference)])


def _bounds_of(row: Row, others: Sequence[Row]) -> list[str]:
    run = row.run
    most = attempts_bound(row, others)
    pull = None if row.pull_s is None else row.pull_s / PULL_S
    attempts = run.steady_attempts_per_page
    fairness = max(run.jain, run.thread_jain)
    return [
        f"{run.errors} {verdict(run.errors == 0)}",
        judged(row.ratio, row.ratio is not None and row.ratio >= STEADY_LEAST),
        ("" if row.pull_seen else "~") + judged(pull, pull is not None and pull <= PULL_MOST),
        f"{judged(attempts, attempts is not None and attempts <= most)} (≤ {most:.2f})",
        judged(fairness, fairness >= JAIN_LEAST),
    ]


def judged(value: float | None, fine: bool) -> str:
    """The value to three digits, and whether it is within its bound."""
    return f"{number(value, 3)} {verdict(fine)}"


def verdict(fine: bool) -> str:
    """Yes, or a NO that stands out."""
    return "yes" if fine else "**NO**"


def _cells(row: Row) -> list[str]:
    run = row.run
    is_reference = run.peer == row.reference
    pull = number(row.pull_s, 0)
    return [
        run.upstream,
        f"**{run.peer}**" if is_reference else run.peer,
        f"{run.goodput:.1f}",
        number(row.ratio, 2),
        number(row.near_best_s, 1, "never" if row.reference else "–"),
        pull if row.pull_seen or row.pull_s is None else f"~{pull}",
        str(run.errors),
        str(run.steady_errors),
        number(run.steady_attempts_per_page, 2),
        number(run.attempts_per_page, 2),
        f"{run.jain:.2f}",
        f"{run.thread_jain:.2f}",
        number(run.p50_s, 2),
        number(run.p99_s, 2),
        str(run.max_in_flight),
        f"{run.cpu:.0%}",
        f"{run.others_cpu:.0%}",
    ]


def number(value: float | None, digits: int, nothing: str = "–") -> str:
    """The value to ``digits``, or ``nothing``."""
    return nothing if value is None else f"{value:.{digits}f}"


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]], *, left: int) -> str:
    """A table; the first ``left`` columns are words, the others figures."""
    widths = [max(len(line[i]) for line in [columns, *lines]) for i in range(len(columns))]
    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    padded = [
        [cell.ljust(widths[i]) if i < left else cell.rjust(widths[i]) for i, cell in enumerate(line)]
        for line in [columns, rule, *lines]
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in padded)
