"""The chart's values: the types of the sidecar's configuration, of injection, and of what only the chart knows.

values.yaml, values.schema.json and the table in the chart's README are made from these types by ``python -m tests.chart``; CI
compares them.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from proxy.config import settings
from proxy.config.convert import key_types, unit_of
from proxy.config.schema import as_written, describe, field_docs
from proxy.config.settings import Duration, Section, Settings, Upstream
from proxy.config.units import DURATION, format_duration, format_size
from proxy.inject import options
from proxy.inject.options import Capped, Options, Requested, Resources

NOT_VALUES = frozenset({"kubeVersion", "configMap", "configMapNamespaces"})
"""Options that the chart fills in itself."""

READ_BY_TEMPLATES = frozenset(
    {"upstream", "listen", "ops", "admin", "limits", "forward_proxy", "downstream", "fleet", "drain"}
)
"""Keys of the sidecar's own configuration that the chart's templates read; the product has defaults for the others."""

_NO_UPSTREAM = Upstream(url="http://nobody.invalid")
"""Stands for the one value that has no default."""


Namespace = Annotated[
    str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="the name of a namespace")
]


class WebhookTls(Section, frozen=True):
    """The webhook's certificate."""

    mode: Literal["chart", "certManager", "existing"] = "chart"
    """chart makes an authority and a certificate and keeps them, certManager asks cert-manager, existing is named below."""
    secretName: str = ""
    """Secret of type kubernetes.io/tls; empty is a name of the chart's own. Required for mode existing."""
    caBundle: str = ""
    """PEM of the authority, for mode existing."""
    days: Annotated[int, Meta(ge=1, le=3650)] = 365
    """How long a certificate of the chart's own is good for."""
    renewDays: Annotated[int, Meta(ge=0, le=3650)] = 90
    """An upgrade makes a new one when the old one has fewer days left."""


class Injector(Section, frozen=True):
    """The admission webhook."""

    enabled: bool = True
    """Whether the webhook is installed; without it use `sidegate inject` or the chart's template sidegate.container."""
    replicas: Annotated[int, Meta(ge=1, le=100)] = 2
    """Pods of the webhook; with two or more there is a PodDisruptionBudget."""
    failurePolicy: Literal["Ignore", "Fail"] = "Ignore"
    """What becomes of a pod when the webhook does not answer: Ignore lets it in without a sidecar, Fail refuses it."""
    timeoutSeconds: Annotated[int, Meta(ge=1, le=30)] = 10
    """How long the API server waits for the webhook."""
    tls: WebhookTls = WebhookTls()
    resources: Resources = Resources(
        requests=Requested(cpu="20m", memory="64Mi"), limits=Capped(memory="128Mi")
    )
    """What the webhook asks of the node."""
    namespaceLabels: dict[str, str] = {}
    """Labels that a namespace must have beside sidegate.dev/inject; they keep two releases in one cluster apart."""
    nodeSelector: dict[str, str] = {}
    """Labels of the nodes the webhook may run on."""
    tolerations: tuple[dict[str, Any], ...] = ()
    """Taints the webhook bears, as in a pod's spec."""
    affinity: dict[str, Any] = {}
    """As in a pod's spec; empty keeps the webhook's pods on different nodes where it can."""
    priorityClassName: str = ""
    """How important the webhook's pods are to the scheduler; empty is the cluster's default."""
    podLabels: dict[str, str] = {}
    """More labels of the webhook's pods."""
    podAnnotations: dict[str, str] = {}
    """More annotations of the webhook's pods."""


class Monitor(Section, frozen=True):
    """What the Prometheus operator is asked to scrape."""

    enabled: bool = False
    """Whether it is installed."""
    labels: dict[str, str] = {}
    """Labels by which a Prometheus picks it, for example release: prometheus."""
    interval: Duration | None = None
    """How often Prometheus asks; null is its own interval."""


class Alerts(Section, frozen=True):
    """A PrometheusRule, of the Prometheus operator, from the chart's folder rules."""

    enabled: bool = False
    """Whether it is installed."""
    labels: dict[str, str] = {}
    """Labels by which a Prometheus picks it."""


class Dashboards(Section, frozen=True):
    """ConfigMaps for Grafana's sidecar, one for each file of the chart's folder dashboards."""

    enabled: bool = False
    """Whether they are installed."""
    labels: dict[str, str] = msgspec.field(default_factory=lambda: {"grafana_dashboard": "1"})
    """Labels by which Grafana picks them."""


class Trial(Section, frozen=True):
    """What `helm test` does."""

    path: Annotated[str, Meta(pattern=r"^/\S*$", description="a path, with query where there is one")] = "/"
    """What the trial pod asks the upstream for, once, through its sidecar; any answer of the upstream will do."""


class Chart(Section, frozen=True):
    """What only the chart knows."""

    namespaces: tuple[Namespace, ...] = ()
    """Namespaces that get the configuration as a ConfigMap, which running pods follow, and Services by which the pods of one
    upstream find each other; pods elsewhere keep the configuration they got, and learn alone."""
    injector: Injector = Injector()
    podMonitor: Monitor = Monitor()
    """A PodMonitor, of the Prometheus operator, for the sidecars of all namespaces."""
    serviceMonitor: Monitor = Monitor()
    """A ServiceMonitor, of the Prometheus operator, for the webhook."""
    alerts: Alerts = Alerts()
    dashboards: Dashboards = Dashboards()
    trial: Trial = Trial()


def values_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 7, which every Helm reads) of the values."""
    _, definitions = msgspec.json.schema_components(
        [Settings, Options, Chart], ref_template="#/definitions/{name}"
    )
    for module in (settings, options):
        describe(definitions, field_docs(module))
    describe(definitions, _own_docs())
    definitions = as_written(definitions)
    own = msgspec.json.schema_components([Options, Chart])[1].keys() - {"Options", "Chart"}
    retry = definitions["Retry"]["properties"]
    retry["true"] = {**retry["on"], "description": "on, as Helm reads it where it is not quoted"}
    retry["true"].pop("default", None)
    for section, key in (("Concurrency", "mode"), ("Log", "access")):
        definitions[section]["properties"][key]["enum"].append(
            False
        )  # off, as Helm reads it where it is not quoted
    whole = {**_properties(definitions, "Settings"), **_properties(definitions, "Options")}
    for key in NOT_VALUES:
        del whole[key]
    partial = {f"Partial{name}": _partial(definition) for name, definition in definitions.items()}
    for name in own:
        definitions[name]["required"] = _needed(definitions[name]["properties"])
    read = {key: whole[key] for key in whole if key in READ_BY_TEMPLATES or key in key_types(Options)}
    service = {"type": "object", "properties": _partial(whole), "additionalProperties": False}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart sidegate",
        "type": "object",
        "properties": {
            **whole,
            **_properties(definitions, "Chart"),
            "services": {
                "type": "object",
                "description": SERVICES,
                "additionalProperties": service,
                "default": {},
            },
            "global": {"type": "object", "description": "Helm's own; nothing here reads it"},
            "enabled": {
                "type": "boolean",
                "description": "A condition of charts that depend on this one; nothing here reads it",
            },
        },
        "required": _needed({**read, **_properties(definitions, "Chart")}),
        "additionalProperties": False,
        "definitions": {**definitions, **partial},
    }


SERVICES = (
    "What differs, by service: the same keys as above, merged over them. A pod's service is its annotation "
    "sidegate.dev/service or its label app.kubernetes.io/name, app or k8s-app"
)


def values_yaml() -> str:
    """Return values.yaml: every value with its default and, in the line above, what it means."""
    docs = {**field_docs(settings), **field_docs(options), **_own_docs()}
    lines = [
        "# Values of the chart sidegate. Made from the product's types by `python -m tests.chart`; do not edit.",
        "",
    ]
    for section in (Settings(upstream=_NO_UPSTREAM), Options(), Chart()):
        for key in key_types(type(section)):
            if key not in NOT_VALUES:
                lines += [*_lines(section, key, docs, 0), ""]
    lines += [f"# -- {SERVICES}", "services: {}"]
    return "\n".join(lines) + "\n"


def values_table() -> str:
    """Return the values as a table in Markdown: path, default, what it means."""
    rows, path = ["| value | default | what it is |", "|---|---|---|"], list[str]()
    said = ""
    for line in values_yaml().splitlines():
        text = line.strip()
        if text.startswith("# --"):
            said = text.removeprefix("# --").strip()
        elif text and not text.startswith("#"):
            depth = (len(line) - len(line.lstrip())) // 2
            key, _, default = text.partition(":")
            path[depth:] = [key.strip('"')]
            shown = f"`{default.strip()}`" if default.strip() else ""
            rows.append(f"| `{'.'.join(path)}` | {_cell(shown)} | {_cell(said)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _lines(section: Section, key: str, docs: dict[str, dict[str, str]], depth: int) -> Iterator[str]:
    hint, value = key_types(type(section))[key], getattr(section, key)
    pad = "  " * depth
    text = docs.get(type(section).__name__, {}).get(key) or (
        value.__doc__ if isinstance(value, Section) else ""
    )
    yield f"{pad}# -- {' '.join((text or '').split())}"
    if isinstance(value, Section):
        yield f"{pad}{key}:"
        for name in key_types(type(value)):
            yield from _lines(value, name, docs, depth + 1)
    elif section is _NO_UPSTREAM and key == "url":
        yield f'{pad}url: ""'
    else:
        yield f"{pad}{_quoted(key)}: {_written(value, hint)}"


def _quoted(key: str) -> str:
    """Return a key as Helm reads it: in YAML 1.1, which it goes by, on is true."""
    return f'"{key}"' if key in ("on", "off", "yes", "no") else key


def _written(value: Any, hint: Any) -> str:
    """Return a default as people write it, on one line of YAML."""
    unit = unit_of(hint)
    if unit is not None and value is not None:
        return format_duration(value) if unit == DURATION else format_size(value)
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)


def _properties(definitions: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = copy.deepcopy(definitions[name]["properties"])
    return found


def _needed(properties: dict[str, Any]) -> list[str]:
    """Return the keys that may not be null, which takes a key away: those with a default that says anything."""
    return [
        key
        for key, schema in properties.items()
        if schema.get("default", key) not in (None, "", False, (), [], {})
        and {"type": "null"} not in schema.get("anyOf", ())
    ]


def _partial(node: Any) -> Any:
    """Return a schema in which nothing is required and nothing has a default."""
    if isinstance(node, list):
        return [_partial(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _partial(value) for key, value in node.items() if key not in ("required", "default")}
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].replace("#/definitions/", "#/definitions/Partial")
    return made


def _own_docs() -> dict[str, dict[str, str]]:
    return field_docs(sys.modules[__name__])
