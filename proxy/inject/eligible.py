"""Which pods get a sidecar, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from proxy.inject.overrides import INJECT

CONTAINER = "sidegate"
_KUBE_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_NO = frozenset({"false", "disabled", "no", "off"})
_YES = frozenset({"true", "enabled", "yes", "on"})


class Skip(StrEnum):
    """Why a pod is left as it is."""

    NOT_ASKED = 'neither the pod nor its namespace asks for it with sidegate.dev/inject: "true"'
    OPTED_OUT = 'it is opted out with sidegate.dev/inject: "false"'
    KUBE_NAMESPACE = "it belongs to Kubernetes itself"
    HOST_NETWORK = "it is on the host's network, where a sidecar would listen on the node's loopback"
    ALREADY = "it has a sidecar already"
    OWN = "it is Sidegate's own injector"
    WINDOWS = "it runs on Windows"
    MIRROR = "it is a static pod's mirror, which cannot be changed"


def why_not(
    metadata: Mapping[str, Any], spec: Mapping[str, Any], namespace: str, *, is_namespace_asking: bool
) -> Skip | None:
    """Return why the pod gets no sidecar; None when it does. A label beats an annotation, the pod beats its namespace."""
    labels, annotations = words(metadata, "labels"), words(metadata, "annotations")
    if labels.get("app.kubernetes.io/name") == CONTAINER and "app.kubernetes.io/component" in labels:
        return Skip.OWN
    if namespace in _KUBE_NAMESPACES:
        return Skip.KUBE_NAMESPACE
    if "kubernetes.io/config.mirror" in annotations:
        return Skip.MIRROR
    said = str(labels.get(INJECT, annotations.get(INJECT, ""))).strip().lower()
    if said in _NO:
        return Skip.OPTED_OUT
    if said not in _YES and not is_namespace_asking:
        return Skip.NOT_ASKED
    if spec.get("hostNetwork") is True:
        return Skip.HOST_NETWORK
    if is_windows(spec):
        return Skip.WINDOWS
    if any(c.get("name") == CONTAINER for c in [*containers(spec), *containers(spec, "initContainers")]):
        return Skip.ALREADY
    return None


def is_windows(spec: Mapping[str, Any]) -> bool:
    """Whether the pod says that it runs on Windows."""
    os, selector = spec.get("os"), spec.get("nodeSelector")
    named = os.get("name") if isinstance(os, Mapping) else None
    selected = selector.get("kubernetes.io/os") if isinstance(selector, Mapping) else None
    return "windows" in (named, selected)


def words(metadata: Mapping[str, Any], key: str) -> dict[str, str]:
    """Return labels or annotations as text, whatever was there; null is the empty text, as the API server reads it."""
    given = metadata.get(key)
    if not isinstance(given, Mapping):
        return {}
    return {str(k): "" if v is None else str(v) for k, v in given.items()}


def containers(spec: Mapping[str, Any], key: str = "containers") -> list[Mapping[str, Any]]:
    """Return the containers that are any."""
    given = spec.get(key)
    return [c for c in given if isinstance(c, Mapping)] if isinstance(given, list) else []


def listed(section: dict[str, Any], key: str) -> list[Any]:
    """Return the list under ``key``, made where there is none yet; null is none."""
    if section.get(key) is None:
        section[key] = []
    made: list[Any] = section[key]
    return made
