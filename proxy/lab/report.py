"""What a comparison says: the table, the verdict in one line, the same as JSON, the exit code."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy.lab.arms import ArmResult, Plan
from proxy.lab.model import Model

COLUMNS = (
    "arm",
    "pages",
    "wall s",
    "pages/s",
    "app errors",
    "attempts/page",
    "p50 s",
    "p99 s",
    "connections",
)


@dataclass(slots=True)
class Comparison:
    """One model and what each side showed, in the order in which they ran."""

    plan: Plan
    arms: list[ArmResult]

    def arm(self, name: str) -> ArmResult | None:
        """The side of that name, if it ran."""
        return next((each for each in self.arms if each.arm == name), None)

    @property
    def is_fine(self) -> bool:
        """Whether every page came through Sidegate without an error the app saw; true when it did not run."""
        through = self.arm("sidegate")
        return through is None or (through.errors == 0 and through.missing == 0)


def quantile(ordered: Sequence[float], q: float) -> float:
    """The least value that a share ``q`` of ``ordered`` (ascending) does not exceed; nan if there is none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def row(result: ArmResult) -> list[str]:
    """One side as a line of the table; ``pages`` is ``arrived/asked for`` when some are missing."""
    return [
        result.arm,
        f"{result.delivered}/{result.pages}" if result.missing else str(result.pages),
        f"{result.wall_s:.1f}",
        f"{result.pages_per_s:.0f}",
        str(result.errors),
        f"{result.attempts_per_page:.2f}",
        f"{quantile(result.page_s, 0.5):.2f}",
        f"{quantile(result.page_s, 0.99):.2f}",
        str(result.upstream["connections_opened"]),
    ]


def table(results: Sequence[ArmResult]) -> str:
    """The sides under each other, columns aligned."""
    rows = [list(COLUMNS), *(row(each) for each in results)]
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(COLUMNS))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(_cell(i, cell, widths[i]) for i, cell in enumerate(cells)) for cells in rows)


def title(plan: Plan) -> str:
    """The model, what it is told to be, and the load."""
    pods = f"{len(plan.threads)} pods, {sum(plan.threads)} threads, {plan.pages} pages, seed {plan.seed}"
    return f"{plan.model.name}: {purpose(plan.model)}\n{described(plan.model)}\n{pods}"


def purpose(model: Model | type[Model]) -> str:
    """The first line of the model's docstring."""
    return (model.__doc__ or "").strip().splitlines()[0]


def described(model: Model) -> str:
    """The model's parameters and their values."""
    return ", ".join(f"{name} {_number(getattr(model, name))}" for name in model.params())


def verdict(comparison: Comparison) -> str:
    """What it comes to, in one line."""
    name = comparison.plan.model.name
    direct, through = comparison.arm("direct"), comparison.arm("sidegate")
    if through is None:
        assert direct is not None
        return f"{name}: calling directly, the apps saw {_errors(direct)}; Sidegate was not tried"
    if not comparison.is_fine:
        return f"{name}: NOT FINE: through Sidegate the apps saw {_errors(through)}{_kinds(through)}"
    if direct is None:
        return f"{name}: through Sidegate every page arrived and the apps saw no error"
    is_timed = through.wall_s and not direct.missing
    pace = f" and took {direct.wall_s / through.wall_s:.1f} times as long" if is_timed else ""
    return (
        f"{name}: calling directly, the apps saw {_errors(direct)}{pace}; "
        "through Sidegate they saw none and every page arrived"
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything the table shows and what it was made from, without the single latencies."""
    plan = comparison.plan
    return {
        "mode": plan.model.name,
        "pages": plan.pages,
        "seed": plan.seed,
        "threads": list(plan.threads),
        "params": {name: getattr(plan.model, name) for name in plan.model.params()},
        "arms": [_arm_json(each) for each in comparison.arms],
        "fine": comparison.is_fine,
        "verdict": verdict(comparison),
    }


def _arm_json(result: ArmResult) -> dict[str, Any]:
    return {
        "arm": result.arm,
        "delivered": result.delivered,
        "missing": result.missing,
        "wall_s": round(result.wall_s, 3),
        "pages_per_s": round(result.pages_per_s, 2),
        "app_errors": result.errors,
        "app_error_kinds": result.error_kinds,
        "attempts_per_page": _finite(result.attempts_per_page),
        "page_p50_s": _finite(quantile(result.page_s, 0.5)),
        "page_p99_s": _finite(quantile(result.page_s, 0.99)),
        "call_p50_s": _finite(quantile(result.call_s, 0.5)),
        "call_p99_s": _finite(quantile(result.call_s, 0.99)),
        "upstream": result.upstream,
        "limits": result.limits,
    }


def _cell(column: int, text: str, width: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)


def _number(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _errors(result: ArmResult) -> str:
    missing = f" and {result.missing} pages never arrived" if result.missing else ""
    return f"{result.errors or 'no'} error{'' if result.errors == 1 else 's'}{missing}"


def _kinds(result: ArmResult) -> str:
    told = ", ".join(f"{count} x {kind}" for kind, count in sorted(result.error_kinds.items()))
    return f" ({told})" if told else ""
