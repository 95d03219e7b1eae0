"""The lab's upstreams as weathers, by name, and what a fleet that is told the right limit carries of each."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from proxy.lab.pages import THREADS
from tests.sim.pods import Told, World, goodput
from tests.sim.weather import Weather

_FLEET: dict[str, Any] = {"threads": list(THREADS), "loss": 0.02, "delay_s": 0.02, "cv": 0.5}


def _weather(service_s: float = 0.12, **more: Any) -> Weather:
    return Weather(0, service_s=service_s, **{**_FLEET, **more})


UPSTREAMS: Mapping[str, tuple[Weather, int]] = {
    "pool": (_weather(kind="pool", bears=24, queue=16), 32),
    "no-queue": (_weather(kind="pool", bears=20, queue=0), 20),
    "collapse": (_weather(kind="kink", bears=20, steep=1, timeout_s=2), 20),
    "small-collapse": (_weather(0.25, kind="kink", bears=8, steep=0.6, timeout_s=2), 8),
    "usl": (_weather(kind="usl", bears=25.6), 26),
    "quota-1s": (_weather(0.05, kind="quota", bears=100, window_s=1), 98),
    "quota-10s": (_weather(0.05, kind="quota", bears=100, window_s=10), 98),
    "healthy": (_weather(0.25, kind="none"), 98),
    "random-8": (_weather(0.25, kind="none", own=0.08), 98),
    "deep-pages": (_weather(kind="pool", bears=60, queue=1000, slope=8, timeout_s=1.5), 60),
    "flaky": (_weather(0.1, kind="pool", bears=16, queue=100), 24),
}
"""A weather, and the slots that are right for it."""


def upstream(name: str, seed: int) -> Weather:
    """Return a weather of its own. The flaky one is away for a second every 5 to 12 s."""
    weather = replace(UPSTREAMS[name][0], seed=seed)
    if name == "flaky":
        rng, t = random.Random(f"flaky/{seed}"), 8.0
        while t < weather.seconds:
            weather.outages = [*weather.outages, (t, t + 1.0)]
            t += 1.0 + rng.uniform(4.0, 11.0)
    return weather


@cache
def told(name: str, factor: float = 1.0, seed: int = 99) -> float:
    """Return the pages a second of a fleet that knows what the upstream bears; ``factor`` scales both."""
    weather, slots = upstream(name, seed), UPSTREAMS[name][1]
    weather = replace(weather, bears=max(1, round(weather.bears * factor)))
    rate = 0.99 * weather.bears if weather.kind == "quota" else 0.0
    return goodput(World(weather, Told(max(1, round(slots * factor)), rate)).run(90.0), 20.0, 90.0)
