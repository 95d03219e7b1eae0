"""Where the pods of one upstream find each other: each carries a label, by which a headless Service of the chart selects it.

    label    sidegate.dev/fleet: https-data.example.com   the fleet's name, as a label can hold it; none with fleet.mode alone
    Service  sidegate-1a2b3c4d                            the ConfigMap's name and a hash of the fleet's, in each namespace that
                                                          has the ConfigMap
    peers    sidegate-1a2b3c4d.shop.svc:8881, …           one for each of these namespaces; they stand in the ConfigMap

A pod in a namespace without the ConfigMap has no such Service, and learns alone. The chart makes Services and peers
(templates/fleet.yaml, _helpers.tpl); tests/chart holds both sides together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from proxy.config.names import fleet_name
from proxy.config.settings import Settings, split_address
from proxy.inject.overrides import PREFIX

LABEL = PREFIX + "fleet"
_MOST_CHARACTERS = 63
"""Of a label."""


def label_of(settings: Settings) -> str | None:
    """Return the pod's label; None where it finds no others.

    Two fleets with the same label leave each other alone by name.
    """
    if not finds_pods(settings):
        return None
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", fleet_name(settings))[:_MOST_CHARACTERS].strip("-_.")


def finds_pods(settings: Settings) -> bool:
    """Whether pods meet by finding each other, or would if they were told where."""
    return settings.fleet.mode != "alone" and settings.fleet.kind != "redis"


def peers_of(settings: Settings, config_map: str, namespaces: Sequence[str]) -> list[str]:
    """Return where the pods of this fleet are read, as the chart writes it into the ConfigMap; nothing where it does not."""
    if not finds_pods(settings) or settings.fleet.peers:
        return []
    service = f"{config_map}-{hashlib.sha256(fleet_name(settings).encode()).hexdigest()[:8]}"
    _, port = split_address(settings.ops)
    return [f"{service}.{namespace}.svc:{port}" for namespace in namespaces]
