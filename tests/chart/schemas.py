"""Kubernetes' own schemas of each release, as kubernetes-validate brings them: what does not fit a document, strictly.

Strict means that a key nobody knows is a mistake, as ``kubectl apply`` has it. What the schemas do not hold: rules between keys
(a port's name is there once, a request lies below its limit), and kinds of custom resources, which are FOREIGN here.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate.utils import all_versions, major_minor
from referencing import Registry, Resource

from proxy.inject.options import NATIVE_FROM_MINOR

FOREIGN = frozenset(
    {"Issuer", "Certificate", "PodMonitor", "ServiceMonitor", "PrometheusRule", "Kustomization", "Component"}
)
"""Kinds that Kubernetes has no schema of: cert-manager's, the Prometheus operator's, kustomize's."""


@functools.cache
def releases(since: int = NATIVE_FROM_MINOR) -> tuple[str, ...]:
    """Return the releases with a schema from 1.``since`` on, the oldest first: 1.29, 1.30 and so on."""
    minors = {int(version.split(".")[1]) for version in all_versions()}
    return tuple(f"1.{minor}" for minor in sorted(minors) if minor >= since)


def mistakes(document: dict[str, Any], since: int = NATIVE_FROM_MINOR) -> list[str]:
    """Return a line per mistake: release, path and rule. The items of a List are looked at one by one; FOREIGN ones are not."""
    if document["kind"] == "List":
        return [line for item in document["items"] for line in mistakes(item, since)]
    if document["kind"] in FOREIGN:
        return []
    return [line for release in releases(since) for line in _against(document, release)]


def _against(document: dict[str, Any], release: str) -> Iterator[str]:
    group, _, version = document["apiVersion"].rpartition("/")
    name = "-".join(filter(None, (document["kind"].lower(), group.partition(".")[0], version)))
    for error in _validator(release, name).iter_errors(document):
        deepest = jsonschema.exceptions.best_match([error])
        yield f"{release} {document['kind']} {'.'.join(map(str, deepest.absolute_path))}: {deepest.message}"


@functools.cache
def _validator(release: str, name: str) -> Any:
    """A validator per release and kind, for reading the definitions takes longer than looking at a document."""
    schema, definitions = (Resource.from_contents(_read(release, each)) for each in (name, "_definitions"))
    return jsonschema.Draft202012Validator(schema.contents, registry=definitions @ (schema @ Registry()))


@functools.cache
def _read(release: str, name: str) -> Any:
    version = next(version for version in all_versions() if major_minor(version) == release)
    folder = resources.files(kubernetes_validate) / "kubernetes-json-schema" / f"v{version}-local-strict"
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
