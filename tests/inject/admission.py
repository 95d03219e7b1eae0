"""What an API server says to a pod beyond its schema: its own rules, as far as a sidecar can break them, and Pod Security.

``invalid`` follows ValidatePodSpec; ``not_restricted`` follows the published table of Pod Security Standards, levels baseline and
restricted of the current release, field by field.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from proxy.inject.options import amount

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_ANNOTATION = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_ANNOTATION_BYTES = 256 << 10
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")

_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)
_SYSCTLS = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    ]
)
_SELINUX_TYPES = frozenset(
    {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
)


def _all_containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [c for key in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(key) or ()]


def _twice(names: list[Any]) -> list[Any]:
    return [name for name, count in Counter(names).items() if count > 1]


def invalid(pod: dict[str, Any]) -> list[str]:
    """Return what an API server would refuse."""
    return list(_invalid(pod["metadata"], pod["spec"]))


def _invalid(metadata: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    annotations = metadata.get("annotations") or {}
    yield from (f"annotation {key}" for key in annotations if not _ANNOTATION.fullmatch(key))
    yield from (
        f"annotation {key}: no text" for key, text in annotations.items() if not isinstance(text, str)
    )
    if sum(len(part.encode()) for item in annotations.items() for part in item) > _ANNOTATION_BYTES:
        yield "annotations: too long"
    yield from (f"container {name}: twice" for name in _twice([c["name"] for c in _all_containers(spec)]))
    volumes = [volume["name"] for volume in spec.get("volumes") or ()]
    yield from (f"volume {name}: twice" for name in _twice(volumes))
    for alias in spec.get("hostAliases") or ():
        yield from (f"hostAliases: {host}" for host in alias["hostnames"] if not _SUBDOMAIN.fullmatch(host))
    yield from (
        f"sysctl {name}: twice" for name in _twice([s["name"] for s in _security(spec).get("sysctls") or ()])
    )
    for each in _all_containers(spec):
        is_init = each in (spec.get("initContainers") or ())
        yield from (
            f"container {each['name']}: {said}" for said in _invalid_container(each, volumes, is_init)
        )


def _invalid_container(each: dict[str, Any], volumes: list[str], is_init: bool) -> Iterator[str]:
    if not _LABEL.fullmatch(each["name"]):
        yield "name"
    is_native = each.get("restartPolicy") == "Always"
    if each.get("restartPolicy") and not is_init:
        yield "restartPolicy is for init containers"
    if is_init and not is_native:
        yield from (f"{key} is not for init containers" for key in (*_PROBES, "lifecycle") if each.get(key))
    ports = each.get("ports") or []
    yield from (f"port {p['name']}" for p in ports if "name" in p and not _PORT_NAME.fullmatch(p["name"]))
    names = [port["name"] for port in ports if "name" in port]
    yield from (f"port {name}: twice" for name in _twice(names))
    yield from (f"port {p['containerPort']}" for p in ports if not 1 <= p["containerPort"] <= 65535)
    for key in _PROBES:
        port = ((each.get(key) or {}).get("httpGet") or {}).get("port")
        if isinstance(port, str) and port not in names:
            yield f"{key}: no port is called {port}"
    for item in each.get("env") or ():
        if not item.get("name") or not re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", item["name"]):
            yield f"variable {item.get('name')}"
        if item.get("value") and item.get("valueFrom"):
            yield f"variable {item['name']}: value and valueFrom"
    mounts = each.get("volumeMounts") or []
    yield from (f"no volume is called {m['name']}" for m in mounts if m["name"] not in volumes)
    yield from (f"mounted twice: {path}" for path in _twice([m["mountPath"] for m in mounts]))
    asked, most = ((each.get("resources") or {}).get(key) or {} for key in ("requests", "limits"))
    for key in asked.keys() & most.keys():
        if amount(str(asked[key])) > amount(str(most[key])):
            yield f"requests.{key} exceeds limits.{key}"


def _security(section: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = section.get("securityContext") or {}
    return made


def not_restricted(pod: dict[str, Any]) -> list[str]:
    """Return what keeps a pod out of a namespace with ``pod-security.kubernetes.io/enforce: restricted``."""
    return list(_not_restricted(pod["spec"]))


def _not_restricted(spec: dict[str, Any]) -> Iterator[str]:
    security = _security(spec)
    yield from (f"spec.{key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key))
    for volume in spec.get("volumes") or ():
        kinds = set(volume) - {"name"}
        if not kinds <= _VOLUMES:
            yield f"volume {volume['name']}: {kinds - _VOLUMES}"
    yield from (f"sysctl {s['name']}" for s in security.get("sysctls") or () if s["name"] not in _SYSCTLS)
    yield from (f"spec.securityContext.{said}" for said in _not_restricted_either(security))
    for each in _all_containers(spec):
        yield from (f"container {each['name']}: {said}" for said in _not_restricted_container(each, security))


def _not_restricted_container(each: dict[str, Any], above: dict[str, Any]) -> Iterator[str]:
    own = _security(each)
    yield from _not_restricted_either(own)
    if own.get("privileged"):
        yield "privileged"
    if own.get("procMount") not in (None, "", "Default"):
        yield "procMount"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "capabilities.drop"
    if not set(capabilities.get("add") or ()) <= {"NET_BIND_SERVICE"}:
        yield "capabilities.add"
    if own.get("runAsNonRoot", above.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot"
    if (own.get("seccompProfile") or above.get("seccompProfile") or {}).get("type") not in (
        "RuntimeDefault",
        "Localhost",
    ):
        yield "seccompProfile"
    if any(port.get("hostPort") for port in each.get("ports") or ()):
        yield "hostPort"
    hooks = [*(each.get(key) or {} for key in _PROBES), *(each.get("lifecycle") or {}).values()]
    if any((hook.get(key) or {}).get("host") for hook in hooks for key in ("httpGet", "tcpSocket")):
        yield "a probe of another host"


def _not_restricted_either(security: dict[str, Any]) -> Iterator[str]:
    if security.get("runAsUser") == 0:
        yield "runAsUser"
    if security.get("runAsNonRoot") is False:
        yield "runAsNonRoot"
    if (security.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield "seccompProfile"
    if (security.get("appArmorProfile") or {}).get("type") == "Unconfined":
        yield "appArmorProfile"
    linux = security.get("seLinuxOptions") or {}
    if linux.get("type") not in _SELINUX_TYPES or linux.get("user") or linux.get("role"):
        yield "seLinuxOptions"
    if (security.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"
