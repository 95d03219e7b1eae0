"""The files that are made from the product: the chart's values, the examples with a sidecar in them.

``FILES`` take nothing but the product; ``RENDERED`` takes Helm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from proxy import __version__
from proxy.inject.manifests import inject_all
from proxy.inject.options import Plan, read_plan
from proxy.inject.pod import inject
from proxy.inject.values import values_schema, values_table, values_yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "sidegate"
EXAMPLES = ROOT / "deploy" / "examples"
MADE = "# Made by `make chart`; do not edit.\n"


def schema_text() -> str:
    """values.schema.json."""
    return json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n"


def chart_readme() -> str:
    """The chart's README: what is written by hand above the line, the table of values below it."""
    above, _, _ = (CHART / "README.md").read_text(encoding="utf-8").partition(TABLE_BEGINS)
    return f"{above}{TABLE_BEGINS}\n{values_table()}"


TABLE_BEGINS = "<!-- Made by `make chart` from here on. -->\n"


def plain_example() -> str:
    """What `sidegate inject` makes of the plain manifest."""
    folder = EXAMPLES / "plain"
    plan, problems = read_plan(str(folder / "values.yaml"), {})
    report = inject_all((folder / "orders.yaml").read_text(encoding="utf-8"), plan, version=__version__)
    assert not problems + report.problems, problems + report.problems
    _, _, text = report.text.partition("apiVersion:")
    return f"{MADE}apiVersion:{text}"


def kustomize_patch() -> str:
    """A Deployment's patch: the sidecar's container and volume, and the fleet's label, as they come into a pod."""
    plan = Plan(
        {
            "upstream": {"url": "http://data.example.com"},
            "capture": {"mode": "none"},
            "configMap": "sidegate",
            "configMapNamespaces": ["*"],
        }
    )
    app = {"name": "app", "image": "app"}
    outcome = inject(
        {"spec": {"containers": [app]}}, plan, namespace="shop", is_namespace_asking=True, version=__version__
    )
    assert outcome.pod is not None
    annotations = {
        key: text for key, text in outcome.pod["metadata"]["annotations"].items() if "prometheus" in key
    }
    metadata = {"labels": outcome.pod["metadata"]["labels"], "annotations": annotations}
    spec = {key: outcome.pod["spec"][key] for key in ("initContainers", "volumes")}
    patch: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "any"},
        "spec": {"template": {"metadata": metadata, "spec": spec}},
    }
    return MADE + yaml.safe_dump(patch, sort_keys=False)


FILES: Mapping[Path, Callable[[], str]] = {
    CHART / "values.yaml": values_yaml,
    CHART / "values.schema.json": schema_text,
    CHART / "README.md": chart_readme,
    EXAMPLES / "plain" / "orders-with-sidecar.yaml": plain_example,
    EXAMPLES / "kustomize" / "sidegate" / "sidecar.yaml": kustomize_patch,
}

RENDERED = EXAMPLES / "rendered" / "sidegate.yaml"


def rendered(helm: Callable[..., str]) -> str:
    """What Helm makes of the rendered example; ``helm`` runs it and returns what it printed."""
    values = str(EXAMPLES / "rendered" / "values.yaml")
    arguments = [
        "template",
        "sidegate",
        str(CHART),
        "--namespace",
        "sidegate",
        "--kube-version",
        "1.30",
        "-f",
        values,
    ]
    return MADE + helm(*arguments, "--skip-tests")
