"""Runs the fleet through drawn weathers and holds it against the oracle: ``python -m tests.sim.score 0 400``."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import mean

from proxy.fleet.pilot import Pilot
from tests.sim.oracle import FROM_S, kept, made
from tests.sim.pods import World, attempts_beyond, goodput
from tests.sim.weather import draw


@dataclass
class Score:
    """One weather's outcome. ``share`` is goodput over the oracle's."""

    seed: int
    words: str
    share: float
    direct: float
    lost: int
    errors: int
    beyond: float
    """Attempts a page beyond one, without those that failed whatever the load was."""
    end: str
    oracle: str

    def line(self) -> str:
        """Return it in a line."""
        return (
            f"{self.seed:5d} {self.share:.3f} direct {self.direct:.2f}{'' if self.lost else '!'} attempts +{self.beyond:.3f} "
            f"errors {self.errors} end {self.end} told {self.oracle} | {self.words}"
        )


def score(seed: int) -> Score:
    """Run one weather."""
    w = draw(seed)
    row = kept()[str(seed)]
    world = World(w, Pilot()).run(w.seconds)
    good = goodput(world, FROM_S, w.seconds)
    told = max(row["oracle"], 1e-9)
    return Score(
        seed,
        w.words(),
        good / told,
        row["direct"] / told,
        row["lost"],
        sum(len(pod.errors) for pod in world.pods),
        attempts_beyond(world, FROM_S, w.seconds),
        " ".join(str(part) if not isinstance(part, float) else f"{part:.1f}" for part in world.trace[-1][1]),
        f"{row['slots']}" + (f" {row['rate']}/s" if row["rate"] else ""),
    )


def report(scores: list[Score], worst: int = 10) -> str:
    """Return the summary and the worst."""
    shares = sorted(each.share for each in scores)
    few = max(1, len(shares) // 20)
    lines = [
        f"{len(shares)} weathers: mean {mean(min(1.0, x) for x in shares):.4f} p5 {shares[few - 1]:.3f} "
        f"below .90 {sum(x < 0.9 for x in shares)} below .75 {sum(x < 0.75 for x in shares)} "
        f"attempts beyond 1.05 {sum(each.beyond > 0.05 for each in scores)} "
        f"with errors {sum(each.errors > 0 for each in scores)} "
        f"below direct {sum(each.share < each.direct * (1 if each.lost else 0.97) for each in scores)}"
    ]
    lines += [each.line() for each in sorted(scores, key=lambda each: each.share)[:worst]]
    return "\n".join(lines)


if __name__ == "__main__":
    seeds = list(range(int(sys.argv[1]), int(sys.argv[2])))
    made(seeds)
    with ProcessPoolExecutor(2) as pool:
        done = list(pool.map(score, seeds, chunksize=2))
    print(report(done, int(sys.argv[3]) if len(sys.argv) > 3 else 10))
    extra = sorted((each for each in done if each.beyond > 0.05), key=lambda each: -each.beyond)[:12]
    print("most attempts:")
    print("\n".join(each.line() for each in extra))
