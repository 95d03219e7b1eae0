"""Whether the sidecar's ports can be in a pod: ones the pod knows, each its own, none that a container has already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.config.settings import Settings, split_address
from proxy.inject.capture import app_port
from proxy.inject.eligible import containers
from proxy.inject.options import Options
from proxy.inject.overrides import PREFIX


def problems(spec: Mapping[str, Any], settings: Settings, options: Options) -> Iterator[str]:
    """Yield a sentence for each that cannot be."""
    # By hostAliases the sidecar listens where the app calls the upstream instead (capture.py).
    is_aliased = options.capture.mode == "hostAliases"
    ours: dict[int, str] = {app_port(settings, options): "capture.port"} if is_aliased else {}
    for name in ("ops", "admin") if is_aliased else ("listen", "ops", "admin"):
        host, port = split_address(getattr(settings, name))
        if port == 0:
            yield f"{name}: port 0 picks a free one, which nothing in the pod would know; give it a number"
        elif port in ours:
            yield f"{name}: port {port} is that of {ours[port]} already"
        if name == "ops" and (host == "localhost" or host == "::1" or host.startswith("127.")):
            yield f"ops: the kubelet asks at the pod's address, not at {host}; listen at 0.0.0.0 or [::]"
        ours[port] = name
    for each in [*containers(spec), *containers(spec, "initContainers")]:
        for port in each.get("ports") or ():
            number, protocol = port.get("containerPort"), port.get("protocol") or "TCP"
            if isinstance(number, int) and number in ours and protocol == "TCP":
                yield (
                    f"container {each['name']} listens on {number}, which is sidegate's {ours[number]}: "
                    f"set {PREFIX}{ours[number]} to another"
                )
