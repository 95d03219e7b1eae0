"""An injected pod: the variables that its app has, as the injector and then Kubernetes make them, and the sidecar beside it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from proxy.inject.options import Plan
from proxy.inject.pod import inject
from tests.e2e.sidecar import Sidecar
from tests.e2e.tap import Carried, Tap

_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")

_ALERT_BYTES = 24
"""A close_notify of TLS 1.3."""


def variables(listen: str, upstream: str, own: Mapping[str, str]) -> dict[str, str]:
    """What a program sees whose sidecar listens at ``listen``; ``own`` is what its manifest sets, which may hold $(NAME)."""
    plan = Plan({"upstream": {"url": upstream}, "listen": listen})
    assert plan.problems == []
    env = [{"name": name, "value": value} for name, value in own.items()]
    pod = {"metadata": {"name": "orders-1"}, "spec": {"containers": [{"name": "app", "env": env}]}}
    outcome = inject(pod, plan, namespace="shop", is_namespace_asking=True, version="1.2.3")
    assert outcome.pod is not None, outcome
    (app,) = (each for each in outcome.pod["spec"]["containers"] if each["name"] == "app")
    seen: dict[str, str] = {}
    for item in app["env"]:
        # Kubernetes puts in what stands above, and leaves what it does not know.
        seen[item["name"]] = _REFERENCE.sub(lambda m: seen.get(m[1], m[0]), item["value"])
    return seen


def until(condition: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    """Processes and threads end when they do; the bound keeps a test that fails from hanging."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)


@dataclass(frozen=True)
class Pod:
    """A sidecar and the tap between it and the app."""

    sidecar: Sidecar
    tap: Tap
    upstream: str

    def variables(self, own: Mapping[str, str]) -> dict[str, str]:
        return variables(self.tap.authority, self.upstream, own)

    def count(self, route: str) -> int:
        """Calls of a route that have ended."""
        label = f'route="{route}"'
        samples = self.sidecar.metrics().items()
        return int(sum(n for key, n in samples if key.startswith("sidegate_requests_total") and label in key))


def tunnels(connections: Sequence[Carried]) -> list[tuple[bytes, bytes]]:
    """What an app said and heard in each of its tunnels, behind the two heads that open it."""
    found = []
    for each in connections:
        if each.said.startswith(b"CONNECT "):
            said, heard = (bytes(side).partition(b"\r\n\r\n")[2] for side in (each.said, each.heard))
            found.append((said, heard))
    return found


def assert_tunnels_are_plain(app: Sequence[Carried], host: Sequence[Carried]) -> None:
    """The host heard each byte that the app said, and the app each that the host said, until one of them hung up.

    Whoever has hung up hears no more: the other's last TLS alert has nobody to hear it.
    """
    opened = tunnels(app)
    assert opened
    assert len(host) == len(opened)
    for tunnel in opened:
        until(partial(_comes_out, tunnel, host), f"a tunnel of {len(tunnel[0])} bytes came out as it went in")


def _comes_out(tunnel: tuple[bytes, bytes], host: Sequence[Carried]) -> bool:
    said, heard = tunnel
    return bool(heard) and any(
        each.heard.startswith(heard)
        and said.startswith(bytes(each.said))
        and len(said) - len(each.said) <= _ALERT_BYTES
        for each in host
    )
