"""Pods to inject, and what is needed around them."""

from __future__ import annotations

from typing import Any

from proxy.inject.options import Plan
from proxy.inject.pod import Outcome, inject

URL = "http://data.example.com/api"


def plan(**values: Any) -> Plan:
    """The operator's values, an upstream apart."""
    made = Plan({"upstream": {"url": URL}, **values})
    assert made.problems == []
    return made


def pod(**over: Any) -> dict[str, Any]:
    """A pod of one container; ``metadata`` and ``spec`` are joined with what is there."""
    metadata = {"name": "orders-1", "labels": {"app": "orders"}, **over.get("metadata", {})}
    spec = {"containers": [{"name": "app", "image": "shop/orders:1"}], **over.get("spec", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def injected(given: dict[str, Any], by: Plan | None = None, **over: Any) -> Outcome:
    """What becomes of a pod in a namespace that asks."""
    around = {"namespace": "shop", "is_namespace_asking": True, "version": "1.2.3", **over}
    return inject(given, by or plan(), **around)


def sidecar(outcome: Outcome) -> dict[str, Any]:
    """The sidecar's container, wherever it is."""
    assert outcome.pod is not None, outcome
    spec = outcome.pod["spec"]
    (found,) = [c for c in [*spec.get("initContainers", []), *spec["containers"]] if c["name"] == "sidegate"]
    made: dict[str, Any] = found
    return made


def env_of(container: dict[str, Any]) -> dict[str, Any]:
    """Variables by name."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container.get("env", [])}
