"""What happens when something changes: capacity, an outage, the number of pods, their clocks, their release."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from statistics import mean, pstdev

import pytest

from proxy.admit.adaptive import AdaptiveLimit
from proxy.lab.models import Collapse, Pool
from proxy.lab.pages import THREADS
from tests.sim.scenarios import adaptive, capacity, fleet, model_of
from tests.sim.world import UNIX, Dead, Pod, World, goodput, reached

SEEDS = range(1, 11)
IS_COMPILED = "TESTS_COMPILED" in os.environ


pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Two processes: a seed is a run of its own."""
    with ProcessPoolExecutor(2) as executor:
        yield executor


def each_seed(pool: ProcessPoolExecutor, run: Callable[[int], float]) -> list[float]:
    """Return what every seed gives."""
    return list(pool.map(run, SEEDS))


class Stepped(Pool):
    """A pool of 24 workers whose number changes at second 150."""

    name = "stepped"
    after = 24

    def workers_at(self, t: float) -> int:
        return self.after if t >= 150.0 else self.workers

    def next_change_s(self, t: float) -> float:
        return 150.0 if t < 150.0 else float("inf")


def stepped_pool(workers: int, rate: float, seed: int) -> float:
    """Return how long after the change nine tenths of ``rate`` are reached."""
    model = Stepped(rng=random.Random(seed))
    model.after = workers
    world = fleet(World(model, seed))
    world.run(230.0)
    return reached(world.pods, 0.9 * rate, since=150.0)


def stepped_collapse(factor: float, seed: int) -> float:
    """Return how long after second 150, when the knee moved, nine tenths of the new capacity are reached."""
    model = model_of("collapse", seed)
    assert isinstance(model, Collapse)
    world = fleet(World(model, seed))
    world.at(150.0, setattr, model, "knee", round(20 * factor))
    world.run(230.0)
    return reached(world.pods, 0.9 * capacity("collapse") * factor, since=150.0)


def test_a_pool_that_loses_60_percent_is_met_again_within_30_s(pool: ProcessPoolExecutor) -> None:
    took = each_seed(pool, partial(stepped_pool, 10, 83.0))
    assert max(took) <= 30.0, took


def test_a_pool_that_triples_is_met_again_within_30_s(pool: ProcessPoolExecutor) -> None:
    """Leaps come every 16 s, and three of them take 3 s; 31 is for one that was cut short by chance."""
    took = each_seed(pool, partial(stepped_pool, 72, 590.0))
    assert mean(took) <= 25.0, took
    assert max(took) <= 31.0, took


def test_a_kink_that_triples_is_met_again_within_30_s(pool: ProcessPoolExecutor) -> None:
    took = each_seed(pool, partial(stepped_collapse, 3.0))
    assert mean(took) <= 25.0, took
    assert max(took) <= 30.0, took


@pytest.mark.xfail(reason="0.8 of it after 10 s, and no more for long: docs/adaptive.md", strict=True)
def test_a_kink_that_loses_60_percent_is_met_again_within_30_s(pool: ProcessPoolExecutor) -> None:
    took = each_seed(pool, partial(stepped_collapse, 0.4))
    assert mean(took) <= 30.0, took


def fallen_collapse(seed: int) -> float:
    """Return the share of the new capacity that is carried from 10 to 30 s after a kink lost 60 %."""
    model = model_of("collapse", seed)
    assert isinstance(model, Collapse)
    world = fleet(World(model, seed))
    world.at(150.0, setattr, model, "knee", 8)
    world.run(180.0)
    return goodput(world.pods, 160.0, 180.0) / (0.4 * capacity("collapse"))


def test_a_kink_that_loses_60_percent_does_not_drown(pool: ProcessPoolExecutor) -> None:
    """Left alone it carries 0.4 of what is left to be had."""
    shares = each_seed(pool, fallen_collapse)
    assert mean(shares) >= 0.75, shares


def dead_for_two_minutes(after_s: float, seed: int) -> float:
    """Check everything about one outage; return the share of the capacity right after."""
    alive = model_of("pool", seed)
    world = fleet(World(alive, seed))
    world.run(60.0)
    before = {pod.index: max(level for t, level in pod.levels if t > 40.0) for pod in world.pods}
    world.model = Dead(after_s)
    world.run(200.0)
    for pod in world.pods:
        held = [t for t in pod.starts if 120.0 < t < 200.0]
        assert held
        assert all(late - soon >= 1.0 for soon, late in pairwise(held))
        assert not pod.errors
    world.model = alive
    world.run(220.0)
    for pod in world.pods:
        started = sum(200.0 <= t < 210.0 for t in pod.starts)
        assert started <= 10.0 * 1.4 * (before[pod.index] + 1.0) / 0.12
    return goodput(world.pods, 210.0, 220.0) / capacity("pool")


@pytest.mark.parametrize("after_s", [0.001, 5.0])
def test_a_dead_upstream_is_probed_once_a_second_and_met_without_a_burst(
    pool: ProcessPoolExecutor, after_s: float
) -> None:
    assert mean(each_seed(pool, partial(dead_for_two_minutes, after_s))) >= 0.8


def settled(pods: int, seed: int) -> tuple[float, float]:
    """Return the share of the capacity that so many pods carry, and how much the sum of their limits wanders."""
    threads = [40] if pods == 1 else (THREADS * 8)[:pods]
    world = fleet(World(model_of("pool", seed), seed), threads)
    world.run(180.0)
    sums = [sum(pod.levels[second][1] for pod in world.pods) for second in range(90, 180)]
    return goodput(world.pods, 90.0, 180.0) / capacity("pool"), pstdev(sums) / mean(sums)


@pytest.mark.parametrize("pods", [1, 8, 64])
def test_any_number_of_pods_carries_the_same_and_does_not_oscillate(
    pool: ProcessPoolExecutor, pods: int
) -> None:
    results = list(pool.map(partial(settled, pods), SEEDS))
    assert mean(rate for rate, _ in results) >= 0.95, results
    assert mean(spread for _, spread in results) <= 0.15, results


def skewed(name: str, seed: int) -> float:
    """Return goodput with clocks half a second off over goodput without."""
    off = fleet(World(model_of(name, seed), seed), skew_s=0.5)
    level = fleet(World(model_of(name, seed), seed))
    off.run(200.0)
    level.run(200.0)
    return goodput(off.pods, 60.0, 200.0) / goodput(level.pods, 60.0, 200.0)


@pytest.mark.parametrize("name", ["pool", "usl", "collapse"])
def test_clocks_half_a_second_off_cost_little(pool: ProcessPoolExecutor, name: str) -> None:
    ratios = each_seed(pool, partial(skewed, name))
    assert mean(ratios) >= 0.96, ratios


class Aloof(AdaptiveLimit):
    """An older release: as today's, but it takes no part in the experiment."""

    def _set_phase(self, phase: int) -> None:
        super()._set_phase(0)


def with_an_old_pod(name: str, seed: int) -> float:
    """Return the share of the capacity that a fleet carries in which one pod is of an older release."""
    world = World(model_of(name, seed), seed)
    for index, threads in enumerate(THREADS):
        limit = adaptive(world, index)
        if index == 3:
            limit = Aloof(now=0.0, wall=UNIX, rng=random.Random(seed), salt=b"upstream:80")
        world.pods.append(Pod(world, index, threads, limit))
    world.run(200.0)
    return goodput(world.pods, 60.0, 200.0) / capacity(name)


@pytest.mark.skipif(IS_COMPILED, reason="a compiled class has no Python subclass")
@pytest.mark.parametrize("name", ["pool", "usl"])
def test_one_pod_without_the_experiment_does_no_harm(pool: ProcessPoolExecutor, name: str) -> None:
    ratios = each_seed(pool, partial(with_an_old_pod, name))
    assert mean(ratios) >= 0.93, ratios


def restarted(name: str, seed: int) -> float:
    """Return the share of the capacity while the pods are replaced one by one."""
    world = fleet(World(model_of(name, seed), seed))
    for turn in range(8):
        world.at(80.0 + 12.0 * turn, _replace, world, turn)
    world.run(220.0)
    return goodput(world.pods, 60.0, 220.0) / capacity(name)


def _replace(world: World, index: int) -> None:
    old = world.pods[index]
    old.stop()
    world.pods.append(Pod(world, index, old.threads, adaptive(world, index), starts_at=world.now + 1.0))


@pytest.mark.parametrize("name", ["pool", "usl"])
def test_a_rolling_restart_is_hardly_seen(pool: ProcessPoolExecutor, name: str) -> None:
    ratios = each_seed(pool, partial(restarted, name))
    assert mean(ratios) >= 0.90, ratios
