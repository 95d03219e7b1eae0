"""A fleet that is told nothing, on the lab's upstreams and on weathers that nobody tuned it to, in virtual time.

Parameters were chosen on seeds from 1 to 16 and on weathers from 1000 on.
``make sim-weather`` runs four hundred others and prints the worst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Any

import pytest

from proxy.fleet.pilot import Pilot
from tests.sim.pods import World, attempts_beyond, goodput, reached
from tests.sim.score import score
from tests.sim.upstreams import told, upstream

SEEDS = range(111, 114)
SECONDS = 150.0
SETTLED = 30.0


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2) as made:
        yield made


def each(pool: ProcessPoolExecutor, what: Callable[[int], Any]) -> list[Any]:
    return list(pool.map(what, SEEDS))


def settled(name: str, seed: int) -> tuple[float, float, int]:
    """Return the share of what a told fleet carries, attempts a page beyond one, and how many calls failed."""
    world = World(upstream(name, seed), Pilot()).run(SECONDS)
    share = goodput(world, SETTLED, SECONDS) / told(name, 1.0, seed if name == "flaky" else 99)
    return share, attempts_beyond(world, SETTLED, SECONDS), sum(len(pod.errors) for pod in world.pods)


@pytest.mark.parametrize(
    ("name", "share", "attempts"),
    [
        ("pool", 0.95, 0.05),
        ("no-queue", 0.93, 0.05),
        ("collapse", 0.93, 0.05),
        ("small-collapse", 0.90, 0.05),
        ("usl", 0.93, 0.05),
        ("quota-1s", 0.95, 0.05),
        ("quota-10s", 0.85, 0.25),
        ("healthy", 0.95, 0.05),
        ("random-8", 0.95, 0.05),
        ("deep-pages", 0.93, 0.10),
        ("flaky", 0.85, 0.10),
    ],
)
def test_a_fleet_carries_nearly_what_one_that_was_told_carries(
    pool: ProcessPoolExecutor, name: str, share: float, attempts: float
) -> None:
    runs = each(pool, partial(settled, name))
    assert mean(run[0] for run in runs) >= share, runs
    assert mean(run[1] for run in runs) <= attempts, runs
    assert sum(run[2] for run in runs) == 0, runs


def changed(name: str, kind: str, factor: float, seed: int) -> float:
    """Return how long after the capacity changed a window of 5 s carries nine tenths of the new one."""
    at = 60.0 + (seed * 1.37) % 7
    weather = replace(upstream(name, seed), change=kind, factor=factor, change_at=at)
    world = World(weather, Pilot()).run(at + 70.0)
    return reached(world, 0.9 * told(name, factor), at)


@pytest.mark.parametrize("name", ["pool", "collapse"])
@pytest.mark.parametrize(("kind", "factor"), [("falls", 0.4), ("rises", 3.0)])
def test_a_capacity_that_changes_is_met_again_within_a_minute(
    pool: ProcessPoolExecutor, name: str, kind: str, factor: float
) -> None:
    took = each(pool, partial(changed, name, kind, factor))
    assert max(took) <= 60.0, took


def test_drawn_weathers_are_carried(pool: ProcessPoolExecutor) -> None:
    """A few of those that `make sim-weather` runs; their oracles are in oracle.json."""
    scores = list(pool.map(score, range(12)))
    assert mean(min(1.0, each.share) for each in scores) >= 0.90, [each.line() for each in scores]
