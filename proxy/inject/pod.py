"""One pod: what becomes of it, and why.

    left alone      eligible.py says why
    refused         an annotation or a pair of settings that cannot be; each problem names the path and the rule
    injected        the pod with its sidecar, and what the operator should know

A pod that has the sidecar is left alone, so injecting twice changes nothing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from proxy.config.convert import suggestion
from proxy.config.mismatch import mismatches
from proxy.config.settings import Drain, Settings, split_address
from proxy.config.units import format_duration
from proxy.config.yaml12 import write_yaml
from proxy.inject import capture, fleet, overrides, ports
from proxy.inject.container import VOLUME, container, is_guaranteed, own_url, resources, volume
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
    mine = overrides.environment(texts, split(more)[0], plan.tree(service, more))
    options = _with_room_to_linger(spec, options)
    mine |= _lifetime(spec, settings, options, outcome)
    mine |= capture.overrides(settings, options)
    outcome.warnings += _warnings(metadata, spec, plan, options)
    outcome.warnings += capture.warnings(spec, settings, options)
    outcome.warnings += mismatches(settings)
    outcome.problems += [*ports.problems(spec, settings, options), *_taken_names(spec, options)]
    capture.apply(spec, settings, options, version, outcome.problems)
    if outcome.problems:
        return Outcome(problems=outcome.problems)
    file = f"{service}.yaml" if service is not None else "config.yaml"
    config_map = options.configMap if {namespace, "*"} & set(options.configMapNamespaces) else ""
    if config_map:
        mine |= _fleet(plan, settings, options, service, outcome)
    sidecar = container(settings, options, version=version, file=file, overrides=mine)
    _place(spec, sidecar, options)
    volumes = listed(spec, "volumes")
    volumes.append(volume(config_map, file))
    volumes += [copy.deepcopy(each) for each in options.volumes if each not in volumes]
    for name in options.imagePullSecrets:
        secrets = listed(spec, "imagePullSecrets")
        if {"name": name} not in secrets:
            secrets.append({"name": name})
    added = {STATUS: _status(options, service, config_map, version)}
    if not config_map:
        added[CONFIG] = write_yaml(split(plan.tree(service, {}))[0])
    _annotate(metadata, spec, settings, options, added)
    label = fleet.label_of(settings)
    if label is not None:
        given = metadata.get("labels")
        metadata["labels"] = {**(given if isinstance(given, Mapping) else {}), fleet.LABEL: label}
    outcome.pod = made
    return outcome


def _fleet(
    plan: Plan, settings: Settings, options: Options, service: str | None, outcome: Outcome
) -> dict[str, str]:
    """Return overrides that keep a pod out of a fleet that its annotations have taken it away from."""
    of_file = plan.read(service, {})[0]
    if of_file is None or not fleet.finds_pods(settings) or settings.fleet.peers:
        return {}
    around = (options.configMap, options.configMapNamespaces)
    if fleet.peers_of(settings, *around) == fleet.peers_of(of_file, *around):
        return {}
    outcome.warnings.append(
        "the pod learns its limit alone: by its annotations it has another upstream, or another ops port, than the pods that the "
        "chart's Service finds"
    )
    return {"fleet.mode": "alone"}


def _annotate(
    metadata: dict[str, Any],
    spec: Mapping[str, Any],
    settings: Settings,
    options: Options,
    added: dict[str, str],
) -> None:
    """Write ``added`` to the pod, and, where the pod does not say itself, which container is the app's and where metrics are."""
    if not isinstance(metadata.get("annotations"), Mapping):
        metadata["annotations"] = {}
    annotations = metadata["annotations"]
    if not options.is_native:
        first = next((str(c["name"]) for c in containers(spec) if c["name"] != CONTAINER), "")
        annotations.setdefault("kubectl.kubernetes.io/default-container", first)
    _, port = split_address(settings.ops)
    scrape = {"scrape": "true", "port": str(port), "path": "/metrics"}
    if options.scrapeAnnotations and not any(f"prometheus.io/{key}" in annotations for key in scrape):
        added |= {f"prometheus.io/{key}": text for key, text in scrape.items()}
    annotations |= added


def _taken_names(spec: Mapping[str, Any], options: Options) -> Iterator[str]:
    """Yield a sentence for each name of ours that the pod has given to something of its own."""
    names = {each["name"] for each in [*containers(spec), *containers(spec, "initContainers")]}
    if options.capture.mode == "redirect" and capture.REDIRECT in names:
        yield f"the pod has a container {capture.REDIRECT} already, which capture.mode redirect brings"
    ours = {VOLUME, *(each["name"] for each in options.volumes)}
    for each in spec.get("volumes") or ():
        if each["name"] in ours and each not in options.volumes:
            yield f"spec.volumes: the pod has a volume {each['name']} already, which the sidecar brings"


def service_of(metadata: Mapping[str, Any], plan: Plan) -> str | None:
    """Return the service whose settings the pod takes: what it is annotated or else labelled with, where there are any."""
    said = words(metadata, "annotations").get(SERVICE)
    labels = words(metadata, "labels")
    named = [said] if said is not None else [labels.get(key) for key in _SERVICE_LABELS]
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
            if not isinstance(each.get("securityContext") or {}, Mapping):
                problems.append(f"container {each['name']}.securityContext: expected a section with keys")
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


def _place(spec: dict[str, Any], sidecar: dict[str, Any], options: Options) -> None:
    """Put the sidecar first, after what rewrites packets: whatever comes later may call through it."""
    key = "initContainers" if options.is_native else "containers"
    others = spec.get(key) or []
    first = 1 if options.is_native and options.capture.mode == "redirect" else 0
    spec[key] = [*others[:first], sidecar, *others[first:]]


def _grace_s(spec: Mapping[str, Any]) -> float | None:
    """Return the time the pod gives its containers to end; None where it does not say."""
    given = spec.get("terminationGracePeriodSeconds")
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return float(max(0, min(given, 1e9)))


def _with_room_to_linger(spec: Mapping[str, Any], options: Options) -> Options:
    """Return options whose preStop leaves half of the pod's grace period for the end itself."""
    grace_s = _grace_s(spec)
    if grace_s is None or options.preStop <= grace_s / 2:
        return options
    return msgspec.structs.replace(options, preStop=grace_s / 2)


def _warnings(
    metadata: Mapping[str, Any], spec: Mapping[str, Any], plan: Plan, options: Options
) -> Iterator[str]:
    service = words(metadata, "annotations").get(SERVICE)
    if service is not None and not plan.has(service):
        near = suggestion(service, plan.services) if plan.services else ""
        yield f"{SERVICE}: {service} has no settings of its own, the pod takes those for all{near}"
    if is_guaranteed([*containers(spec), *containers(spec, "initContainers")]) and not is_guaranteed(
        [{"resources": resources(options)}]
    ):
        yield (
            "the pod's QoS class was Guaranteed and is Burstable with the sidecar; to keep it, give the sidecar's resources "
            "limits for cpu and memory, and requests that are the same"
        )


def _lifetime(
    spec: Mapping[str, Any], settings: Settings, options: Options, outcome: Outcome
) -> dict[str, str]:
    """Return overrides that let the sidecar end within the pod's grace period, and let a job's pod end at all."""
    changed: dict[str, str] = {}
    given_s = _grace_s(spec)
    grace_s = _DEFAULT_GRACE_S if given_s is None else given_s
    before_s = 0.0 if options.is_native else options.preStop
    room_s = max(1.0, grace_s - before_s - (0.0 if given_s is None and not before_s else _LEFT_S))
    if settings.drain.grace > room_s:
        changed["drain.grace"] = f"{room_s:g}s"
        if settings.drain.grace != Drain().grace:
            given = format_duration(settings.drain.grace)
            outcome.warnings.append(
                f"drain.grace is {changed['drain.grace']} in this pod and not {given}, for its containers have {grace_s:g}s to "
                "end (terminationGracePeriodSeconds)"
            )
    if not options.is_native and (spec.get("restartPolicy") or "Always") != "Always":
        changed["allow_shutdown"] = "true"
        outcome.warnings.append(
            "a job's pod ends only when its sidecar does: before Kubernetes 1.29 the job has to "
            f"POST {own_url(settings.admin)}/shutdown as its last act"
        )
    return changed


def _status(options: Options, service: str | None, config_map: str, version: str) -> str:
    said = {
        "version": version,
        "mode": "native" if options.is_native else "classic",
        "capture": options.capture.mode,
        "config": f"configMap {config_map}" if config_map else "annotation",
        **({"service": service} if service is not None else {}),
    }
    return json.dumps(said)
