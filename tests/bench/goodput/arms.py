"""One upstream and one peer in real processes, from a fresh start to the end of its seconds: the record of it."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.lab.arms import READY_WITHIN_S, STOP_AFTER_DEADLINE_S, Plan
from proxy.lab.children import Child, Children
from proxy.lab.pod import Order
from tests.bench.goodput.peers import PEERS, Scene, Stand
from tests.e2e.daemon import cpu_ticks

WATCH_EVERY_S = 0.1
POLL_EVERY_S = 5.0
TAIL_S = 1.0
"""The pods go on for so long after the window, so that nothing of how they end is in it."""

_LIMIT = re.compile(r"^(sidegate_(?:concurrency_limit|rate_limit|fleet_\w+)(?:\{.*\})?) (\S+)$", re.M)


@dataclass(frozen=True)
class Window:
    """The run's seconds, and of these the ones that are measured as steady."""

    seconds: float
    steady_from_s: float
    steady_to_s: float


@dataclass(frozen=True)
class Cpu:
    """Ticks of all cores since boot: what there were, what anybody used, and what the run's processes did."""

    total: int
    busy: int
    own: int


@dataclass(slots=True)
class Mark:
    """The upstream's counters and processor time, at ``t`` seconds into the run."""

    t: float
    stats: Mapping[str, Any]
    cpu: Cpu


@dataclass(slots=True)
class Record:
    """What one run left: per pod (seconds, pages delivered, errors) as they were told; the marks are the steady
    window's start and end and the run's end."""

    window: Window
    pods: list[list[tuple[float, int, int]]]
    marks: list[Mark] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    call_s: dict[int, list[float]] = field(default_factory=dict)
    """Per pod, how long each call took, in the order in which they ended."""
    told: list[Mapping[str, Any]] = field(default_factory=list)
    limits: dict[int, list[tuple[float, dict[str, float | None]]]] = field(default_factory=dict)
    """Per pod, what its sidecar's gauges said: (seconds, value by name); None: no limit."""


def run(plan: Plan, peer: str, window: Window, logs: Path) -> Record:
    """Start upstream, peer and pods, watch them to their end, stop everything; raises ChildError."""
    with Children(logs) as children:
        upstream, addresses = _start_upstream(plan, children)
        stand = PEERS[peer](Scene(addresses, plan, logs, children))
        pods = start_pods(plan, children, stand.targets)
        others = [upstream, *stand.processes]
        return watch(window, pods, others, stand, lambda: json.loads(get(f"http://{addresses[0]}/lab/stats")))


def watch(
    window: Window,
    pods: Sequence[Child],
    others: Sequence[Child],
    stand: Stand,
    stats: Callable[[], Mapping[str, Any]],
    look: Callable[[float], None] = lambda elapsed_s: None,
) -> Record:
    """Let the pods go and follow them to their end; raises ChildError.

    ``stats`` returns the upstream's counters: ``attempts``, ``max_in_flight``, ``connections_opened``, ``by_why``.
    ``look`` is called about ten times a second with the seconds since the start.
    """
    record = Record(window, [[] for _ in pods], told=list(stand.told))
    _Watch(record, pods, others, stand, stats, look).until_done()
    return record


def _start_upstream(plan: Plan, children: Children) -> tuple[Child, list[str]]:
    argv = [sys.executable, "-m", "proxy.lab.server", "--model", plan.model.name, "--seed", str(plan.seed)]
    child = children.start("upstream", [*argv, "--settings", json.dumps(dict(plan.settings))])
    return child, list(child.wait_ready(READY_WITHIN_S)["addresses"])


def start_pods(
    plan: Plan, children: Children, targets: Sequence[str], module: str = "tests.bench.goodput.pod"
) -> list[Child]:
    """The pods of ``module``, each with its target, waiting for the word to go."""
    pods = []
    for pod, target in enumerate(targets):
        order = Order(pod, plan.threads, plan.pages, target, plan.seconds + TAIL_S, plan.seed, plan.habits)
        pods.append(children.start(f"pod-{pod}", [sys.executable, "-m", module, order.as_text()]))
    for child in pods:
        child.wait_ready(READY_WITHIN_S)
    return pods


class _Watch:
    """Follows the pods of one run, and looks at upstream, machine and sidecars at the right moments."""

    def __init__(
        self,
        record: Record,
        pods: Sequence[Child],
        others: Sequence[Child],
        stand: Stand,
        stats: Callable[[], Mapping[str, Any]],
        look: Callable[[float], None],
    ) -> None:
        self._record = record
        self._pods = pods
        self._others = others
        self._ops = stand.ops
        self._stats = stats
        self._look = look
        self._polls = 0

    def until_done(self) -> None:
        """Start the pods together; returns once each has said that it is done."""
        record, window = self._record, self._record.window
        due = [window.steady_from_s, window.steady_to_s]
        running = dict(enumerate(self._pods))
        for child in self._pods:
            child.say("go")
        started = time.monotonic()
        while running:
            time.sleep(WATCH_EVERY_S)
            elapsed_s = time.monotonic() - started
            for index in [index for index, child in running.items() if self._heard(index, child, elapsed_s)]:
                del running[index]
            for child in running.values():
                child.check_running(elapsed_s, window.seconds + TAIL_S + STOP_AFTER_DEADLINE_S)
            for child in self._others:
                child.check_running()
            if due and elapsed_s >= due[0]:
                del due[0]
                record.marks.append(self._mark(time.monotonic() - started))
            if elapsed_s < window.seconds:
                self._poll(elapsed_s)
                self._look(elapsed_s)
        record.marks += [self._mark(time.monotonic() - started) for _ in range(1 + len(due))]

    def _heard(self, index: int, child: Child, t: float) -> bool:
        """Take down what a pod has said; whether it is done."""
        lines = child.new_lines()
        if not lines:
            return False
        told = lines[-1]
        record = self._record
        record.pods[index].append((t, told["delivered"], told["errors"]))
        if told["event"] != "done":
            return False
        record.kinds.update(told["kinds"])
        record.call_s[index] = told["call_s"]
        return True

    def _mark(self, t: float) -> Mark:
        return Mark(t, self._stats(), _cpu())

    def _poll(self, t: float) -> None:
        """Ask one sidecar at a time, so that each is asked every ``POLL_EVERY_S`` and no look takes long."""
        if not self._ops or t < self._polls * POLL_EVERY_S / len(self._ops):
            return
        pod = self._polls % len(self._ops)
        self._polls += 1
        try:
            text = get(f"http://{self._ops[pod]}/metrics", timeout_s=2).decode()
        except OSError:  # one that is too busy to tell is asked again in its turn
            return
        told = {name: float(value) for name, value in _LIMIT.findall(text)}
        values = {name: value if math.isfinite(value) else None for name, value in told.items()}
        self._record.limits.setdefault(pod, []).append((round(t, 1), values))


def get(url: str, timeout_s: float = 10) -> bytes:
    """The body of a URL, without a proxy; raises OSError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=timeout_s) as answer:
        body: bytes = answer.read()
        return body


def _cpu() -> Cpu:
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return Cpu(sum(ticks), sum(ticks) - ticks[3] - ticks[4], cpu_ticks(os.getpid()))
