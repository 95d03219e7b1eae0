"""The upstreams of the simulation, what they can carry at best, and fleets to set on them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache

from proxy.admit.adaptive import AdaptiveLimit
from proxy.lab.model import Model
from proxy.lab.models import Quota, build_model
from proxy.lab.pages import THREADS
from tests.sim.world import UNIX, Central, Pod, World, goodput

MODELS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "pool": ("pool", {}),
    "collapse": ("collapse", {}),
    "usl": ("usl", {}),
    "quota-1s": ("quota", {"window_s": "1"}),
    "quota-10s": ("quota", {"window_s": "10"}),
    "quota-60s": ("quota", {"window_s": "60"}),
    "random-2": ("random", {"p": "0.02"}),
    "random-8": ("random", {"p": "0.08"}),
    "brownout": ("brownout", {}),
    "truncated": ("truncated", {}),
    "deep-pages": ("deep-pages", {}),
    "deep-laps": ("deep-pages", {}),
    "bad-address": ("bad-address", {}),
    "small-pool": ("pool", {"workers": "10", "queue": "6", "service_s": "0.3"}),
    "small-collapse": ("collapse", {"knee": "8", "steepness": "0.6", "service_s": "0.25"}),
    "small-usl": ("usl", {"sigma": "0.05", "kappa": "0.006", "service_s": "0.3"}),
}

STRIDES = {"deep-laps": 3}
"""Pages on from one call of a pod to its next, where they are pulled in order."""


def model_of(name: str, seed: int) -> Model:
    """Return a fresh upstream."""
    mode, settings = MODELS[name]
    return build_model(mode, seed=seed, settings=settings)


@cache
def capacity(name: str) -> float:
    """Return the pages a second that one omniscient limit carries: the best of three around what the model says."""
    model = model_of(name, 99)
    if isinstance(model, Quota):
        return model.calls / model.window_s
    right = model.concurrency()
    limits = [sum(THREADS)] if right is None else [max(1, round(right * f)) for f in (0.8, 1.0, 1.2)]
    return max(_carried(name, limit) for limit in limits)


def _carried(name: str, limit: int) -> float:
    world = World(model_of(name, 99), 99, stride=STRIDES.get(name, 0))
    addresses = world.model.addresses
    for index in range(addresses):
        world.pods.append(Central(world, index, sum(THREADS) // addresses, limit // addresses))
    world.run(80.0)
    return goodput(world.pods, 10.0, 80.0)


def adaptive(world: World, index: int, skew_s: float = 0.0) -> AdaptiveLimit:
    """Return a limit as a pod makes it that starts now, with a wall clock that is ``skew_s`` off.

    What begins by the wall clock begins at another time in each seed.
    """
    wall = UNIX + (world.seed * 79.19) % 64.0 + world.now + skew_s
    rng = random.Random(f"{world.seed}/limit/{index}/{world.now}")
    return AdaptiveLimit(now=world.now, wall=wall, rng=rng, salt=b"upstream:80")


def fleet(world: World, threads: Sequence[int] = THREADS, skew_s: float = 0.0) -> World:
    """Set eight pods on the upstream, their clocks up to ``skew_s`` off."""
    for index, count in enumerate(threads):
        off_s = world.rng.uniform(-skew_s, skew_s)
        world.pods.append(Pod(world, index, count, adaptive(world, index, off_s)))
    return world


def pulled(name: str, seed: int, seconds: float) -> World:
    """Return the world after eight pods pulled from an upstream for so long."""
    world = fleet(World(model_of(name, seed), seed, stride=STRIDES.get(name, 0)))
    world.run(seconds)
    return world
