"""The sidecar's container and what comes with it into the pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proxy.config.settings import Settings, split_address
from proxy.inject.eligible import CONTAINER
from proxy.inject.options import Capped, Options, Requested
from proxy.inject.overrides import CONFIG, variable_of

VOLUME = "sidegate-config"
DIRECTORY = "/etc/sidegate"
OPS_PORT_NAME = "sidegate-ops"
_HOOK = ["python", "-m", "proxy.inject.hooks"]


def own_url(address: str) -> str:
    """Return the URL at which the pod's containers reach an address that the sidecar listens on."""
    host, port = split_address(address)
    return f"http://{'[::1]' if ':' in host else '127.0.0.1'}:{port}"


def security_context(options: Options) -> dict[str, Any]:
    """Return what Pod Security "restricted" asks for, and a root that cannot be written to."""
    context: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if options.runAsUser is not None:
        context |= {"runAsUser": options.runAsUser, "runAsGroup": options.runAsUser}
    return context


def container(
    settings: Settings, options: Options, *, version: str, file: str, overrides: dict[str, str]
) -> dict[str, Any]:
    """Return the container that runs ``sidegate run`` on ``file``; ``overrides`` are paths of the file and texts."""
    _, ops_port = split_address(settings.ops)
    env: list[dict[str, Any]] = [{"name": "SIDEGATE_CONFIG", "value": f"{DIRECTORY}/{file}"}]
    env += [
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in (
            ("SIDEGATE_POD", "metadata.name"),
            ("SIDEGATE_NAMESPACE", "metadata.namespace"),
            ("SIDEGATE_NODE", "spec.nodeName"),
        )
    ]
    # Kubernetes makes one $ of two, and of $(NAME) what another variable says.
    env += [
        {"name": variable_of(path), "value": text.replace("$", "$$")}
        for path, text in sorted(overrides.items())
    ]
    made: dict[str, Any] = {
        "name": CONTAINER,
        "image": options.image.reference(version),
        "imagePullPolicy": options.image.pullPolicy,
        "args": ["run"],
        "env": env,
        "ports": [{"name": OPS_PORT_NAME, "containerPort": ops_port, "protocol": "TCP"}],
        "startupProbe": {**_probe("/startupz"), "periodSeconds": 1, "failureThreshold": 120},
        "livenessProbe": {
            **_probe("/livez"),
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 5, "timeoutSeconds": 5},
        "resources": resources(options),
        "securityContext": security_context(options),
        "volumeMounts": [
            {"name": VOLUME, "mountPath": DIRECTORY, "readOnly": True},
            *({"readOnly": True, **mount} for mount in options.volumeMounts),
        ],
    }
    if options.is_native:
        made["restartPolicy"] = "Always"
        return made
    # Kubernetes starts containers one after the other and waits for a postStart: the app starts once this one serves.
    made["lifecycle"] = {
        "postStart": {"exec": {"command": [*_HOOK, "ready", f"{own_url(settings.ops)}/startupz"]}}
    }
    if options.preStop:
        made["lifecycle"]["preStop"] = {"exec": {"command": [*_HOOK, "linger", f"{options.preStop:g}s"]}}
    return made


def resources(options: Options) -> dict[str, dict[str, str]]:
    """Return requests and limits, what is not said left out."""

    def amounts(of: Requested | Capped) -> dict[str, str]:
        return {key: text for key, text in (("cpu", of.cpu), ("memory", of.memory)) if text is not None}

    given = {"requests": amounts(options.resources.requests), "limits": amounts(options.resources.limits)}
    return {key: value for key, value in given.items() if value}


def is_guaranteed(of: Iterable[Mapping[str, Any]]) -> bool:
    """Whether containers make a pod of QoS class Guaranteed: each with limits for cpu and memory, and no other requests."""

    def same(each: Mapping[str, Any]) -> bool:
        said = each.get("resources")
        limits, asked = (
            (said.get(key) or {}) if isinstance(said, Mapping) else {} for key in ("limits", "requests")
        )
        if not isinstance(limits, Mapping) or not isinstance(asked, Mapping):
            return False
        return all(
            limits.get(key) and asked.get(key, limits[key]) == limits[key] for key in ("cpu", "memory")
        )

    return all(same(each) for each in of)


def volume(config_map: str, file: str) -> dict[str, Any]:
    """Return the volume that holds the configuration: the ConfigMap, or else the pod's own annotation as a file."""
    if config_map:
        return {"name": VOLUME, "configMap": {"name": config_map}}
    field = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{CONFIG}']"}
    return {"name": VOLUME, "downwardAPI": {"items": [{"path": file, "fieldRef": field}]}}


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": OPS_PORT_NAME, "scheme": "HTTP"}}
