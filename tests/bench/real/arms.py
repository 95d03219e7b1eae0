"""One upstream and one arm in real processes: the run's figures, and the pilot's decisions in order of time."""

from __future__ import annotations

import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy.lab.arms import Plan, sidecar_argvs, told_settings
from proxy.lab.children import Children
from proxy.lab.models import Healthy
from proxy.lab.pages import THREADS, Habits, shares
from tests.bench.goodput.arms import Window, get, start_pods, watch
from tests.bench.goodput.figures import Run, run_of
from tests.bench.goodput.peers import Stand, start_sidecars
from tests.bench.goodput.upstreams import LAP_PAGES
from tests.bench.real.sites import Site
from tests.bench.real.upstreams import UPSTREAMS

DIRECT, ADAPTIVE, FIXED = "direct", "adaptive", "fixed-"
LOOK_EVERY_S = 2.0
_ATTEMPTS = re.compile(r'^sidegate_attempts_total\{.*reason="(\w+)".*\} (\S+)$', re.M)
_OPENED = re.compile(r"^sidegate_connections_opened_total\S* (\S+)$", re.M)


def arms_of(upstream: str) -> list[str]:
    """Every arm of an upstream, in the order in which they run."""
    return [*(f"{FIXED}{height}" for height in UPSTREAMS[upstream].heights), ADAPTIVE, DIRECT]


def run(
    upstream: str, arm: str, window: Window, logs: Path, *, seed: int, settings: Sequence[str], compiled: bool
) -> Run:
    """A fresh start, the window, and an end; raises ChildError, OSError and CalledProcessError."""
    known = UPSTREAMS[upstream]
    plan = Plan(Healthy(rng=random.Random(seed)), {}, LAP_PAGES, seed, window.seconds, Habits())
    with tempfile.TemporaryDirectory(prefix="sidegate-real-") as scratch, Children(logs) as children:
        address = known.start(Site(logs, Path(scratch), children, seed))
        stand = _stand(arm, address, settings, children)
        pods = start_pods(plan, children, stand.targets, known.pod)
        diary = Diary(stand.admins)
        record = watch(window, pods, stand.processes, stand, lambda: attempts_of(_metrics(stand)), diary.look)
        diary.write(logs)
    one = run_of(upstream, arm, record, THREADS, compiled=compiled)
    if arm == DIRECT:
        pages = one.goodput * (one.steady_s[1] - one.steady_s[0])
        one.steady_attempts_per_page = 1 + one.steady_errors / pages if pages else None
    return one


def _stand(arm: str, address: str, settings: Sequence[str], children: Children) -> Stand:
    if arm == DIRECT:
        return Stand([address] * len(THREADS))
    told = [list(settings)] * len(THREADS)
    if arm != ADAPTIVE:
        parts = shares(int(arm.removeprefix(FIXED)), THREADS)
        told = [told_settings({"concurrency": part}) for part in parts]
    return start_sidecars(children, sidecar_argvs([address] * len(THREADS), told))


def _metrics(stand: Stand) -> Iterator[str]:
    return (get(f"http://{each}/metrics").decode() for each in stand.ops)


def attempts_of(metrics: Iterable[str]) -> Mapping[str, Any]:
    """What the sidecars' metrics say of their attempts so far, in the words of the lab's server."""
    why: Counter[str] = Counter()
    opened = 0
    for text in metrics:
        for reason, count in _ATTEMPTS.findall(text):
            why[reason] += round(float(count))
        opened += sum(round(float(count)) for count in _OPENED.findall(text))
    return {"attempts": why.total(), "max_in_flight": 0, "connections_opened": opened, "by_why": why}


class Diary:
    """What the fleet decided, read from one sidecar: every pod knows it all."""

    def __init__(self, admins: Sequence[str]) -> None:
        self._admins = admins
        self._looked_s = 0.0
        self._said: dict[str, str] = {}
        """When each was decided, by its words: a pod's idea of the time differs a little from look to look."""

    def look(self, elapsed_s: float) -> None:
        """Read what is new, every ``LOOK_EVERY_S``."""
        if not self._admins or elapsed_s < self._looked_s + LOOK_EVERY_S:
            return
        self._looked_s = elapsed_s
        try:
            told = json.loads(get(f"http://{self._admins[0]}/decisions", timeout_s=2))
        except OSError:  # one that is too busy is asked again in its turn
            return
        for each in reversed(told["limits"]["default"]["decisions"]):
            self._said.setdefault(each["what"], each["at"])

    def write(self, folder: Path) -> None:
        """Leave the lines in ``decisions.txt``."""
        (folder / "decisions.txt").write_text("".join(f"{at} {what}\n" for what, at in self._said.items()))
