"""The upstreams of the comparison, by their name in the table: a lab model and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxy.lab.model import Model
from proxy.lab.models import MODELS, build_model
from proxy.lab.pages import THREADS


@dataclass(frozen=True)
class Upstream:
    """A lab model with settings, and what measuring it takes."""

    model: str
    settings: Mapping[str, str] = field(default_factory=dict)
    period_s: float = 0.0
    """What it does repeats after this; only whole periods are measured. 0: it does not."""
    least_s: float = 0.0
    """A run is at least this long, so that periods fit."""
    warm_up_s: float = 0.0
    """Least warm-up: a first window of a quota is a present and not a pace."""
    failing: float | None = None
    """Share of the calls that fail whatever the load; None where load is what hurts."""
    by_load: bool = True
    """Whether fewer calls would have failed with less load."""


UPSTREAMS: Mapping[str, Upstream] = {
    "pool": Upstream("pool"),
    "collapse": Upstream("collapse"),
    "usl": Upstream("usl"),
    "quota-1s": Upstream("quota", {"window_s": "1"}, period_s=1),
    "quota-10s": Upstream("quota", {"window_s": "10"}, period_s=10, warm_up_s=10, least_s=40),
    "quota-60s": Upstream("quota", {"window_s": "60"}, period_s=60, warm_up_s=60, least_s=240),
    "random-2": Upstream("random", {"p": "0.02"}, failing=0.02),
    "random-8": Upstream("random", {"p": "0.08"}, failing=0.08),
    "brownout": Upstream("brownout", period_s=10),
    "brownout-slow": Upstream("brownout", {"period_s": "120", "down_s": "60"}, period_s=120, least_s=245),
    "truncated": Upstream("truncated", failing=0.05),
    "idle-closing": Upstream("idle-closing", by_load=False),
    "deep-pages": Upstream("deep-pages", {"deepest": "3000"}, by_load=False),
    "bad-address": Upstream("bad-address", failing=0.3 / 4),
    "small-collapse": Upstream("collapse", {"knee": "8", "steepness": "0.6", "service_s": "0.25"}),
    "small-usl": Upstream("usl", {"sigma": "0.05", "kappa": "0.006", "service_s": "0.3"}),
    "small-pool": Upstream("pool", {"workers": "10", "queue": "6", "service_s": "0.3"}),
    "healthy": Upstream("healthy"),
}

DEFAULT = [name for name in UPSTREAMS if name != "brownout-slow"]

LAP_PAGES = 3000
"""Pages of a lap, which the pods pull over and over; ``deep-pages`` is at its deepest at the end of one."""


def built(upstream: Upstream, seed: int, params: Mapping[str, str]) -> tuple[Model, dict[str, str]]:
    """The model and its settings, with those of ``params`` that it has; raises ParamError."""
    known = MODELS[upstream.model].params()
    settings = {**upstream.settings, **{key: text for key, text in params.items() if key in known}}
    return build_model(upstream.model, seed=seed, settings=settings), settings


def best_in_flight(model: Model, threads: tuple[int, ...] = THREADS) -> int:
    """Calls that one who knows the model keeps in flight: its own word, a quota's rate × time of an answer, or all."""
    in_flight = model.concurrency()
    rate = model.rate_per_s(len(threads))
    if rate is not None:
        service_s: float = getattr(model, "service_s")  # noqa: B009
        return max(1, round(rate * service_s))
    return sum(threads) if in_flight is None else in_flight


def spread(total: int, over: Sequence[str]) -> list[int]:
    """``total`` in nearly equal whole parts of at least 1, one for each address."""
    return [max(1, total // len(over) + (index < total % len(over))) for index, _ in enumerate(over)]
