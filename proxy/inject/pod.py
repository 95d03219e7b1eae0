"""One pod: what becomes of it, and why.

    left alone      eligible.py says why
    refused         an annotation or a pair of settings that cannot be; each problem names the path and the rule
    injected        the pod with its sidecar, and what the operator should know

A pod that has the sidecar is left alone, so injecting twice changes nothing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from proxy.config.settings import Settings, split_address
from proxy.inject import capture, overrides
from proxy.inject.container import container, volume
from proxy.inject.eligible import CONTAINER, Skip, containers, listed, why_not, words
from proxy.inject.options import Options, Plan, split
from proxy.inject.overrides import CONFIG, SERVICE, STATUS

_SERVICE_LABELS = ("app.kubernetes.io/name", "app", "k8s-app")
_DEFAULT_GRACE_S = 30.0
_LEFT_S = 5.0
"""What the sidecar leaves of the pod's grace period, so that it ends by itself before it is killed."""


@dataclass(slots=True)
class Outcome:
    """What became of a pod: ``pod`` is None where nothing changes."""

    pod: dict[str, Any] | None = None
    skip: Skip | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def inject(
    pod: Mapping[str, Any], plan: Plan, *, namespace: str, is_namespace_asking: bool, version: str
) -> Outcome:
    """Return what becomes of ``pod``, which is not changed. ``version`` is the release whose image runs by default."""
    problems = malformed(pod)
    if problems:
        return Outcome(problems=problems)
    metadata, spec = pod.get("metadata") or {}, pod["spec"]
    namespace = str(metadata.get("namespace") or namespace)
    skip = why_not(metadata, spec, namespace, is_namespace_asking=is_namespace_asking)
    if skip is not None:
        return Outcome(skip=skip)
    annotations = words(metadata, "annotations")
    texts = overrides.texts_of(annotations)
    service = service_of(metadata, plan)
    more = overrides.tree_of(texts, problems)
    settings, options, wrong = plan.read(service, more)
    problems += wrong
    if settings is None or options is None or problems:
        return Outcome(problems=[f"{overrides.PREFIX}{problem}" for problem in problems])
    return _injected(pod, plan, settings, options, service, texts, more, namespace, version)


def _injected(
    pod: Mapping[str, Any],
    plan: Plan,
    settings: Settings,
    options: Options,
    service: str | None,
    texts: Mapping[str, str],
    more: Mapping[str, Any],
    namespace: str,
    version: str,
) -> Outcome:
    outcome = Outcome()
    made = copy.deepcopy(dict(pod))
    metadata = made["metadata"] = made.get("metadata") or {}
    spec = made["spec"]
    own, _ = split(more)
    mine = {path: text for path, text in texts.items() if path.partition(".")[0] in own}
    mine |= _lifetime(spec, settings, options, outcome)
    mine |= capture.overrides(settings, options)
    outcome.problems += _taken_ports(spec, settings, options)
    capture.apply(spec, settings, options, version, outcome.problems)
    if outcome.problems:
        return Outcome(problems=outcome.problems)
    file = f"{service}.yaml" if service is not None else "config.yaml"
    config_map = options.configMap if {namespace, "*"} & set(options.configMapNamespaces) else ""
    sidecar = container(settings, options, version=version, file=file, overrides=mine)
    _place(spec, sidecar, is_native=options.is_native)
    listed(spec, "volumes").append(volume(config_map, file))
    for name in options.imagePullSecrets:
        secrets = listed(spec, "imagePullSecrets")
        if {"name": name} not in secrets:
            secrets.append({"name": name})
    annotations = metadata["annotations"] = words(metadata, "annotations")
    first = next((str(c["name"]) for c in containers(spec) if c["name"] != CONTAINER), "")
    added = {STATUS: _status(options, service, config_map, version)}
    if not config_map:
        added[CONFIG] = yaml.safe_dump(split(plan.tree(service, {}))[0], sort_keys=False)
    if not options.is_native:
        annotations.setdefault("kubectl.kubernetes.io/default-container", first)
    if options.scrapeAnnotations and "prometheus.io/scrape" not in annotations:
        _, port = split_address(settings.ops)
        added |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(port),
            "prometheus.io/path": "/metrics",
        }
    annotations |= added
    outcome.pod = made
    return outcome


def service_of(metadata: Mapping[str, Any], plan: Plan) -> str | None:
    """Return the service whose settings the pod takes: what it is annotated or labelled with, where there are any."""
    annotations, labels = words(metadata, "annotations"), words(metadata, "labels")
    named = [annotations.get(SERVICE), *(labels.get(key) for key in _SERVICE_LABELS)]
    return next((name for name in named if name is not None and plan.has(name)), None)


def malformed(pod: Mapping[str, Any]) -> list[str]:
    """Return what makes this no pod, as far as it is looked at here. Null is as good as nothing."""
    spec, metadata = pod.get("spec"), pod.get("metadata")
    if not isinstance(spec, Mapping):
        return ["spec: expected a pod's spec"]
    problems = []
    if metadata is not None and not isinstance(metadata, Mapping):
        problems.append("metadata: expected a section with keys")
    for key in ("containers", "initContainers", "volumes", "hostAliases", "imagePullSecrets"):
        problems += _not_sections(spec, key, "spec", is_named=key not in ("hostAliases", "imagePullSecrets"))
    if not problems and not spec.get("containers"):
        problems.append("spec.containers: expected one at least")
    if not problems:
        for each in [*containers(spec), *containers(spec, "initContainers")]:
            problems += [
                p for key in ("env", "ports") for p in _not_sections(each, key, f"container {each['name']}")
            ]
        for alias in spec.get("hostAliases") or ():
            if not isinstance(alias.get("hostnames") or [], list):
                problems.append("spec.hostAliases: expected a list of hostnames")
    security = spec.get("securityContext")
    if security is not None and not isinstance(security, Mapping):
        problems.append("spec.securityContext: expected a section with keys")
    elif security is not None:
        problems += _not_sections(security, "sysctls", "spec.securityContext")
    return problems


def _not_sections(section: Mapping[str, Any], key: str, path: str, *, is_named: bool = False) -> list[str]:
    items = section.get(key)
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        return [f"{path}.{key}: expected a list of sections"]
    if is_named and not all(isinstance(item.get("name"), str) and item["name"] for item in items):
        return [f"{path}.{key}: one has no name"]
    return []


def _place(spec: dict[str, Any], sidecar: dict[str, Any], *, is_native: bool) -> None:
    """Put the sidecar first, after what rewrites packets: whatever comes later may call through it."""
    key = "initContainers" if is_native else "containers"
    others = spec.get(key) or []
    first = 1 if others and others[0].get("name") == capture.REDIRECT else 0
    spec[key] = [*others[:first], sidecar, *others[first:]]


def _lifetime(
    spec: Mapping[str, Any], settings: Settings, options: Options, outcome: Outcome
) -> dict[str, str]:
    """Return overrides that let the sidecar end within the pod's grace period, and let a job's pod end at all."""
    changed: dict[str, str] = {}
    given = spec.get("terminationGracePeriodSeconds")
    grace_s = float(given) if isinstance(given, int | float) else _DEFAULT_GRACE_S
    before_s = 0.0 if options.is_native else options.preStop
    room_s = max(1.0, grace_s - before_s - (0.0 if given is None and not before_s else _LEFT_S))
    if settings.drain.grace > room_s:
        changed["drain.grace"] = f"{room_s:g}s"
    if not options.is_native and spec.get("restartPolicy", "Always") != "Always":
        changed["allow_shutdown"] = "true"
        _, port = split_address(settings.admin)
        outcome.warnings.append(
            "a job's pod ends only when its sidecar does: before Kubernetes 1.29 the job has to "
            f"POST http://127.0.0.1:{port}/shutdown as its last act"
        )
    return changed


def _taken_ports(spec: Mapping[str, Any], settings: Settings, options: Options) -> list[str]:
    """Return a line per port of ours that a container of the pod says it listens on."""
    ours = {split_address(getattr(settings, name))[1]: name for name in ("listen", "ops", "admin")}
    if options.capture.mode == "hostAliases":
        ours[options.capture.port] = "capture.port"
    return [
        f"container {each['name']} listens on {port['containerPort']}, which is sidegate's {ours[port['containerPort']]}: "
        f"set {overrides.PREFIX}{ours[port['containerPort']]} to another"
        for each in [*containers(spec), *containers(spec, "initContainers")]
        for port in each.get("ports") or ()
        if port.get("containerPort") in ours
    ]


def _status(options: Options, service: str | None, config_map: str, version: str) -> str:
    said = {
        "version": version,
        "mode": "native" if options.is_native else "classic",
        "capture": options.capture.mode,
        "config": f"configMap {config_map}" if config_map else "annotation",
        **({"service": service} if service is not None else {}),
    }
    return json.dumps(said)
