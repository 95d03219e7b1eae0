"""One side of the comparison: an upstream, eight pods and, on the ``sidegate`` side, eight sidecars."""

import contextlib
import json
import socket
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.lab.children import Child, ChildError, Children
from proxy.lab.model import Model
from proxy.lab.pages import THREADS, Habits, shares
from proxy.lab.pod import Order
from proxy.lab.progress import Progress

READY_WITHIN_S = 30.0
WATCH_EVERY_S = 0.1
STOP_AFTER_DEADLINE_S = 10.0


@dataclass(slots=True)
class Plan:
    """What is run: one model, the same on both sides."""

    model: Model
    settings: Mapping[str, str]
    pages: int
    seed: int
    seconds: float
    """Upper bound of the pulling on one side; starting and stopping come on top."""
    habits: Habits
    threads: Sequence[int] = THREADS
    sidecar_settings: Sequence[str] = ()
    """``path=value`` handed to every sidecar as ``--set``, after the lab's own."""
    is_told: bool = False
    """Whether each sidecar gets a fixed limit, its share of what the model bears; else the sidecars find it themselves."""


@dataclass(slots=True)
class ArmResult:
    """What one side showed. Times in seconds; ``page_s`` from first asking for a page to having it whole."""

    arm: str
    pages: int
    delivered: int
    wall_s: float
    errors: int
    error_kinds: dict[str, int]
    page_s: list[float]
    call_s: list[float]
    upstream: dict[str, Any]
    limits: list[dict[str, float]] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Pages that did not arrive."""
        return self.pages - self.delivered

    @property
    def pages_per_s(self) -> float:
        """Delivered pages over the time until the last of them."""
        return self.delivered / self.wall_s if self.wall_s else 0.0

    @property
    def attempts_per_page(self) -> float:
        """Calls the upstream saw over pages delivered."""
        attempts: int = self.upstream["attempts"]
        return attempts / self.delivered if self.delivered else float("inf")


def pod_limits(plan: Plan) -> list[dict[str, float]]:
    """Each pod's fixed limits: its threads' share of what the model bears; ``rate`` only under a quota."""
    concurrency = plan.model.concurrency()
    rate = plan.model.rate_per_s(len(plan.threads))
    slots = shares(concurrency, plan.threads) if concurrency is not None else plan.threads
    limits: list[dict[str, float]] = []
    for threads, slot in zip(plan.threads, slots, strict=True):
        limit: dict[str, float] = {"concurrency": slot}
        if rate is not None:
            limit["rate"] = round(rate * threads / sum(plan.threads), 3)
        limits.append(limit)
    return limits


def told_settings(limit: Mapping[str, float]) -> list[str]:
    """One pod's fixed limits as ``--set`` takes them."""
    settings = ["limits.concurrency.mode=fixed", f"limits.concurrency.limit={limit['concurrency']}"]
    return [*settings, f"limits.rate={limit['rate']}"] if "rate" in limit else settings


def sidecar_argvs(upstreams: Sequence[str], settings: Sequence[Sequence[str]]) -> list[list[str]]:
    """The command lines of sidecars that are peers, one for each upstream ``host:port``, each with settings of its own."""
    ops = free_addresses(len(upstreams))
    shared = [f"fleet.peers={json.dumps(ops)}"]
    if len(set(upstreams)) > 1:
        shared.append("fleet.name=lab")  # pods that call different addresses of one server
    argvs = []
    for upstream, own_ops, own in zip(upstreams, ops, settings, strict=True):
        argv = [sys.executable, "-m", "proxy", "run", "--upstream", f"http://{upstream}"]
        argv += ["--listen", "127.0.0.1:0", "--ops", own_ops, "--admin", "127.0.0.1:0"]
        argvs.append(argv + [word for setting in (*shared, *own) for word in ("--set", setting)])
    return argvs


def free_addresses(count: int) -> list[str]:
    """Loopback addresses with ports that nobody listens on now; the kernel does not give them out again for a while."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]


def run_arm(plan: Plan, arm: str, *, logs: Path, progress: Progress) -> ArmResult:
    """Run one side, ``direct`` or ``sidegate``, in real processes; raises ChildError. Leaves none behind."""
    label = f"{plan.model.name} {arm}"
    progress.step(label, "starting")
    limits = pod_limits(plan) if arm == "sidegate" and plan.is_told else []
    with Children(logs) as children:
        addresses = _start_upstream(plan, children)
        targets = [addresses[pod % len(addresses)] for pod in range(len(plan.threads))]
        sidecars = []
        if arm == "sidegate":
            own = [told_settings(limit) for limit in limits] or [[] for _ in targets]
            argvs = sidecar_argvs(targets, [[*each, *plan.sidecar_settings] for each in own])
            sidecars = [children.start(f"sidecar-{pod}", argv) for pod, argv in enumerate(argvs)]
            targets = [_host_port(child.wait_ready(READY_WITHIN_S)["listen"]) for child in sidecars]
        pods = _start_pods(plan, children, targets)
        told = _watch(plan, pods, sidecars, progress, label)
        result = _result(plan, arm, told, _stats(addresses[0]))
        result.limits = limits
        return result


def _start_upstream(plan: Plan, children: Children) -> list[str]:
    argv = [sys.executable, "-m", "proxy.lab.server", "--model", plan.model.name, "--seed", str(plan.seed)]
    child = children.start("upstream", [*argv, "--settings", json.dumps(dict(plan.settings))])
    return [_host_port(each) for each in child.wait_ready(READY_WITHIN_S)["addresses"]]


def _start_pods(plan: Plan, children: Children, targets: Sequence[str]) -> list[Child]:
    pods = []
    for pod, target in enumerate(targets):
        order = Order(pod, plan.threads, plan.pages, target, plan.seconds, plan.seed, plan.habits)
        argv = [sys.executable, "-m", "proxy.lab.pod", order.as_text()]
        pods.append(children.start(f"pod-{pod}", argv))
    for child in pods:
        child.wait_ready(READY_WITHIN_S)
    return pods


def _watch(
    plan: Plan, pods: Sequence[Child], others: Sequence[Child], progress: Progress, label: str
) -> list[dict[str, Any]]:
    """Start the pods together and follow them to their ``done`` lines."""
    latest: list[dict[str, Any]] = [{"event": "none", "delivered": 0, "errors": 0} for _ in pods]
    for child in pods:
        child.say("go")
    started = time.monotonic()
    while not all(told["event"] == "done" for told in latest):
        time.sleep(WATCH_EVERY_S)
        elapsed_s = time.monotonic() - started
        for index, child in enumerate(pods):
            latest[index] = (child.new_lines() or [latest[index]])[-1]
            if latest[index]["event"] != "done":
                child.check_running(elapsed_s, plan.seconds + STOP_AFTER_DEADLINE_S)
        for child in others:
            child.check_running()
        done, errors = (sum(told[key] for told in latest) for key in ("delivered", "errors"))
        progress.pages(label, done=done, total=plan.pages, errors=errors, elapsed_s=elapsed_s)
    return latest


def _result(plan: Plan, arm: str, told: Sequence[Mapping[str, Any]], upstream: dict[str, Any]) -> ArmResult:
    kinds: Counter[str] = Counter()
    for each in told:
        kinds.update(each["kinds"])
    return ArmResult(
        arm=arm,
        pages=plan.pages,
        delivered=sum(each["delivered"] for each in told),
        wall_s=max(each["last_page_s"] for each in told),
        errors=sum(each["errors"] for each in told),
        error_kinds=dict(kinds),
        page_s=sorted(second for each in told for second in each["page_s"]),
        call_s=sorted(second for each in told for second in each["call_s"]),
        upstream=upstream,
    )


def _stats(address: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}/lab/stats", timeout=10) as response:
        told: dict[str, Any] = json.load(response)
    return told


def _host_port(listen: Any) -> str:
    text = str(listen).removeprefix("http://").rstrip("/")
    if ":" not in text:
        raise ChildError(f"the ready line says {listen!r} where host:port is expected")
    return text
