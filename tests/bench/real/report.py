"""The rows as Markdown: every arm before every upstream, and whether Sidegate untuned reached its bars."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.goodput.figures import Run
from tests.bench.goodput.report import markdown, number, verdict
from tests.bench.real.arms import ADAPTIVE, DIRECT, FIXED
from tests.bench.real.upstreams import UPSTREAMS

COLUMNS = (
    "upstream",
    "arm",
    "pages/s",
    "× best",
    "attempts/page",
    "app errors",
    "Jain by thread",
    "CPU",
    "others'",
    "bars",
)


def table(runs: Sequence[Run]) -> str:
    """Every run beside its upstream's reference, which is in bold."""
    return markdown(COLUMNS, [_cells(run, reference(runs, run.upstream)) for run in runs], left=2)


def reference(runs: Sequence[Run], upstream: str) -> Run | None:
    """The best fixed limit; the direct arm where there is no sweep; None where neither has run."""
    prefix = FIXED if UPSTREAMS[upstream].heights else DIRECT
    told = [run for run in runs if run.upstream == upstream and run.peer.startswith(prefix)]
    return max(told, key=lambda run: run.goodput, default=None)


def bars(run: Run, best: Run | None) -> str:
    """What Sidegate untuned must reach, each with its verdict; nothing for other arms."""
    if run.peer != ADAPTIVE or best is None or not best.goodput:
        return ""
    known = UPSTREAMS[run.upstream]
    told = [f"≥ {known.least} {verdict(run.goodput >= known.least * best.goodput)}"]
    if known.attempts_most is not None:
        attempts = run.steady_attempts_per_page
        fine = attempts is not None and attempts <= known.attempts_most
        told.append(f"attempts ≤ {known.attempts_most} {verdict(fine)}")
    return ", ".join(told)


def _cells(run: Run, best: Run | None) -> list[str]:
    return [
        run.upstream,
        f"**{run.peer}**" if run is best else run.peer,
        f"{run.goodput:.1f}",
        number(run.goodput / best.goodput if best and best.goodput else None, 3),
        number(run.steady_attempts_per_page, 3),
        str(run.errors),
        f"{run.thread_jain:.2f}",
        f"{run.cpu:.0%}",
        f"{run.others_cpu:.0%}",
        bars(run, best),
    ]
