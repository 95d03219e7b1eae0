"""What stands between pods and upstream: how each peer is started, and what it is told.

Their whole configurations are the files in ``configs``. HAProxy, nginx and Envoy are given every address of the
upstream; Sidegate gets a host name where there are several.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from proxy.lab.arms import READY_WITHIN_S, Plan, pod_limits, sidecar_argvs, told_settings
from proxy.lab.children import Child, Children
from proxy.lab.pages import shares
from tests.bench.goodput.upstreams import best_in_flight, spread
from tests.e2e.daemon import wait_for_port
from tests.fakes.ports import free_port
from tests.parts import where

CONFIGS = Path(__file__).with_name("configs")
ENVOY = [str(Path(sys.executable).with_name("envoy")), "--concurrency", "1", "-l", "error"]
NGINX = [where("nginx") or "nginx", "-c"]
NAME = "fragile.test"
NGINX_TRIES = 4


class Site(Protocol):
    """Where processes are started: a folder for their files, and the children of the run."""

    folder: Path
    children: Children


@dataclass(slots=True)
class Scene:
    """What a peer is started into: the upstream's addresses, the plan it runs under, a folder for files."""

    addresses: Sequence[str]
    plan: Plan
    folder: Path
    children: Children

    @property
    def pods(self) -> int:
        """How many there are."""
        return len(self.plan.threads)

    @property
    def upstream_port(self) -> str:
        """The port that all of the upstream's addresses share."""
        return self.addresses[0].rpartition(":")[2]


@dataclass(slots=True)
class Stand:
    """A peer that serves: where each pod calls, Sidegate's ops and admin ports, its processes and what they were told."""

    targets: Sequence[str]
    ops: Sequence[str] = ()
    admins: Sequence[str] = ()
    processes: Sequence[Child] = ()
    told: Sequence[Mapping[str, Any]] = field(default_factory=list)


def start_direct(scene: Scene) -> Stand:
    """Nothing: each pod calls one of the addresses itself."""
    return Stand([scene.addresses[pod % len(scene.addresses)] for pod in range(scene.pods)])


def start_haproxy(scene: Scene) -> Stand:
    servers = "\n".join(f"  server s{i} {address}" for i, address in enumerate(scene.addresses))
    return _eight(scene, "haproxy.conf", _haproxy(), [{"@SERVERS@": servers}] * scene.pods)


def start_haproxy_right(scene: Scene) -> Stand:
    """One for all pods. Its server's share of what the upstream bears is each address's maxconn."""
    in_flight = best_in_flight(scene.plan.model)
    parts = spread(in_flight, scene.addresses)
    servers = "\n".join(
        f"  server s{i} {address} maxconn {part} pool-max-conn {part}"
        for i, (address, part) in enumerate(zip(scene.addresses, parts, strict=True))
    )
    port, child = start_configured(scene, CONFIGS / "haproxy-right.conf", _haproxy(), {"@SERVERS@": servers})
    wait_for_child(port, child)
    return Stand([f"127.0.0.1:{port}"] * scene.pods, processes=[child], told=[{"maxconn": sum(parts)}])


def start_nginx(scene: Scene) -> Stand:
    """A single address is written down ``NGINX_TRIES`` times and never taken out; of several, one that fails is."""
    lines = [f"    server {address};" for address in scene.addresses]
    if len(lines) == 1:
        lines = [f"    server {scene.addresses[0]} max_fails=0;"] * NGINX_TRIES
    words = {"@SERVERS@": "\n".join(lines)}
    return _eight(scene, "nginx.conf", NGINX, [words] * scene.pods)


def start_envoy(scene: Scene) -> Stand:
    return _envoys(scene, "envoy.yaml", [{}] * scene.pods)


def start_envoy_adaptive(scene: Scene) -> Stand:
    return _envoys(scene, "envoy-adaptive.yaml", [{}] * scene.pods)


def start_envoy_right(scene: Scene) -> Stand:
    """Each pod's share of what the upstream bears, by threads and at least 1."""
    parts = shares(best_in_flight(scene.plan.model), scene.plan.threads)
    stand = _envoys(scene, "envoy-right.yaml", [{"@SHARE@": str(part)} for part in parts])
    stand.told = [{"max_connections": part} for part in parts]
    return stand


def start_sidegate(scene: Scene) -> Stand:
    """Told where the upstream and the other sidecars are and nothing else, unless the command line has more to say."""
    return _sidegates(scene, [scene.plan.sidecar_settings] * scene.pods)


def start_sidegate_right(scene: Scene) -> Stand:
    """Told its share as the lab does it: a fixed limit, or a rate under a quota."""
    limits = pod_limits(scene.plan)
    stand = _sidegates(scene, [told_settings(limit) for limit in limits])
    stand.told = limits
    return stand


PEERS: Mapping[str, Callable[[Scene], Stand]] = {
    "direct": start_direct,
    "haproxy": start_haproxy,
    "envoy": start_envoy,
    "envoy-adaptive": start_envoy_adaptive,
    "nginx": start_nginx,
    "haproxy-right": start_haproxy_right,
    "envoy-right": start_envoy_right,
    "sidegate-right": start_sidegate_right,
    "sidegate": start_sidegate,
}

RIGHT = ("haproxy-right", "envoy-right")
"""The peers that may be the reference: told the right limit, and not ours."""

LEARNING = ("envoy-adaptive", "sidegate")
"""The peers that need time before they are measured."""


def _haproxy() -> list[str]:
    return [where("haproxy") or "haproxy", "-db", "-f"]


def _envoys(scene: Scene, template: str, words: Sequence[Mapping[str, str]]) -> Stand:
    endpoints = "\n".join(
        f"        - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}"
        for host, _, port in (address.partition(":") for address in scene.addresses)
    )
    command = [*ENVOY, "--use-dynamic-base-id", "-c"]
    return _eight(scene, template, command, [{**each, "@SERVERS@": endpoints} for each in words])


def _eight(scene: Scene, template: str, command: list[str], words: Sequence[Mapping[str, str]]) -> Stand:
    started = [start_configured(scene, CONFIGS / template, command, each) for each in words]
    for port, child in started:
        wait_for_child(port, child)
    return Stand([f"127.0.0.1:{port}" for port, _ in started], processes=[child for _, child in started])


def start_configured(
    scene: Site, template: Path, command: list[str], words: Mapping[str, str]
) -> tuple[int, Child]:
    """A process with the template filled in as its last word: its port and the child, which may not listen yet."""
    port = free_port()
    text = template.read_text()
    for word, value in {**words, "@PORT@": str(port), "@FOLDER@": str(scene.folder)}.items():
        text = text.replace(word, value)
    name = f"{template.stem}-{port}"
    config = scene.folder / f"{name}{template.suffix}"
    config.write_text(text)
    return port, scene.children.start(name, [*command, str(config)])


def wait_for_child(port: int, child: Child) -> None:
    """Returns once the child listens; raises ChildError when it has ended instead."""
    try:
        wait_for_port(port)
    except TimeoutError:
        child.check_running()
        raise


def start_sidecars(children: Children, argvs: Sequence[list[str]]) -> Stand:
    """The sidecars of these command lines, ready."""
    started = [children.start(f"sidecar-{pod}", argv) for pod, argv in enumerate(argvs)]
    ready = [child.wait_ready(READY_WITHIN_S) for child in started]
    listen, ops, admins = ([each[port] for each in ready] for port in ("listen", "ops", "admin"))
    return Stand(listen, ops, admins, started)


def _sidegates(scene: Scene, settings: Sequence[Sequence[str]]) -> Stand:
    """Eight sidecars that are peers. The upstream is its one address to them, or a name that has all of them."""
    is_one = len(scene.addresses) == 1
    upstream = scene.addresses[0] if is_one else f"{NAME}:{scene.upstream_port}"
    argvs = sidecar_argvs([upstream] * scene.pods, settings)
    if not is_one:
        hosts = [address.partition(":")[0] for address in scene.addresses]
        dns = scene.children.start("dns", [sys.executable, "-m", "tests.bench.goodput.dns", *hosts])
        port = str(dns.wait_ready(READY_WITHIN_S)["port"])
        launcher = [sys.executable, "-m", "tests.bench.goodput.named", port]
        argvs = [launcher + argv[argv.index("run") :] for argv in argvs]
    return start_sidecars(scene.children, argvs)
