"""The best fixed total limit or rate of a weather, in hindsight; and what the apps get without any limit.

    python -m tests.sim.oracle 1000 1120      makes the figures of these seeds that are missing or out of date

Figures are kept in ``oracle.json`` with a hash of the generator and of what carries the calls: others are not used.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.sim import weather
from tests.sim.pods import Told, World, goodput
from tests.sim.weather import Weather, draw

KEPT = Path(__file__).parent / "oracle.json"
FROM_S = 30.0
STEP = 1.3


def generator() -> str:
    """Return the hash of what draws the weathers; its layout and its comments do not count."""
    tree = ast.parse(Path(weather.__file__).read_text())
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def told(w: Weather, slots: int, rate: float = 0.0) -> float:
    """Return the pages a second of a fixed total."""
    return goodput(World(w, Told(slots, rate)).run(w.seconds), FROM_S, w.seconds)


def best(w: Weather) -> tuple[float, int, float]:
    """Return the most pages a second of any fixed total or rate, the slots and the rate."""
    most = sum(w.threads) + sum(threads for _, threads in w.joins)
    seen: dict[int, float] = {}

    def at(slots: float) -> float:
        n = min(most, max(1, round(slots)))
        if n not in seen:
            seen[n] = told(w, n)
        return seen[n]

    at(most)
    if w.kind not in ("none", "quota"):
        start = w.bears * min(1.0, w.factor) + (w.queue / 2 if w.kind == "pool" else 0)
        top = max(1.0, min(float(most), start))
        at(top)
        for factor in (STEP, 1 / STEP):
            here = top
            while 1 <= here * factor <= most * STEP and round(here * factor) != round(here):
                before = at(here)
                here *= factor
                if at(here) < before * 0.995:
                    break
        peak = max(seen, key=lambda n: seen[n])
        for n in {peak - 1, peak + 1, round(peak * 1.1), round(peak / 1.1)}:
            at(n)
    slots = max(seen, key=lambda n: seen[n])
    out = (seen[slots], slots, 0.0)
    if w.kind == "quota":
        for share in (0.97, 1.0):
            rate = share * w.bears / (1 - w.own)
            got = told(w, most, rate)
            if got > out[0]:
                out = (got, most, rate)
        n = w.bears * w.service_s * (1 + w.slope / 2)
        for slots in {math.ceil(n), math.ceil(1.2 * n)}:
            got = told(w, min(most, slots))
            if got > out[0]:
                out = (got, slots, 0.0)
    return out


def figures(seed: int) -> dict[str, Any]:
    """Return the oracle's figures of a seed."""
    w = draw(seed)
    carried, slots, rate = best(w)
    direct = World(w, None).run(w.seconds)
    return {
        "oracle": round(carried, 3),
        "slots": slots,
        "rate": round(rate, 3),
        "direct": round(goodput(direct, FROM_S, w.seconds), 3),
        "lost": sum(len(pod.errors) for pod in direct.pods),
    }


def kept() -> dict[str, Any]:
    """Return the figures that fit the generator, by seed."""
    if not KEPT.exists():
        return {}
    data = json.loads(KEPT.read_text())
    return data["seeds"] if data["generator"] == generator() else {}


def made(seeds: list[int], workers: int = 2) -> dict[str, Any]:
    """Make what is missing, and keep it."""
    have = kept()
    missing = [seed for seed in seeds if str(seed) not in have]
    if missing:
        with ProcessPoolExecutor(workers) as pool:
            for seed, row in zip(missing, pool.map(figures, missing, chunksize=4), strict=True):
                have[str(seed)] = row
        rows = sorted(have.items(), key=lambda item: int(item[0]))
        lines = ",\n".join(f"{json.dumps(seed)}: {json.dumps(row)}" for seed, row in rows)
        KEPT.write_text(f'{{"generator": "{generator()}", "seeds": {{\n{lines}\n}}}}\n')
    return have


if __name__ == "__main__":
    made(list(range(int(sys.argv[1]), int(sys.argv[2]))))
