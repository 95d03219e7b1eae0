"""What stands in deploy/ is what the product and Helm make now, and does what its comments say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy import __version__
from proxy.config.yaml12 import read_yaml
from proxy.inject.manifests import inject_all
from proxy.inject.options import Plan, read_plan
from tests.chart.made import CHART, EXAMPLES, RENDERED, rendered
from tests.chart.test_helm import helm, kubectl

ALL_VALUES = sorted(path for path in EXAMPLES.rglob("values*.yaml") if path.parent.name != "plain")
EIGHT = ("orders", "stock", "billing", "users", "prices", "search", "mail", "audit")


@pytest.mark.kube
def test_the_rendered_example_is_what_helm_renders_now() -> None:
    def run(*arguments: str) -> str:
        ran = helm(*arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert RENDERED.read_text(encoding="utf-8") == rendered(run), "run: make chart"


@pytest.mark.kube
@pytest.mark.parametrize("path", ALL_VALUES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_chart_takes_every_example_of_values(path: Path) -> None:
    assert helm("lint", "--strict", str(CHART), "-f", str(path)).returncode == 0
    ran = helm("template", "sidegate", str(CHART), "-f", str(path), "--kube-version", "1.30")
    assert ran.returncode == 0, ran.stderr
    plan, problems = read_plan(str(path), {})
    assert problems == []
    assert plan.read(None, {})[0] is not None


@pytest.mark.kube
def test_the_kustomize_component_puts_the_sidecar_into_who_asks() -> None:
    ran = kubectl("kustomize", str(EXAMPLES / "kustomize" / "overlay"))
    assert ran.returncode == 0, ran.stderr
    made = {document["kind"]: document for document in yaml.safe_load_all(ran.stdout)}
    spec = made["Deployment"]["spec"]["template"]["spec"]
    (sidecar,) = spec["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert spec["volumes"][0]["configMap"]["name"] == made["ConfigMap"]["metadata"]["name"]
    tree = read_yaml(made["ConfigMap"]["data"]["config.yaml"])
    assert Plan(tree).problems == []
    service = made["Service"]
    assert tree["fleet"]["peers"] == [f"{service['metadata']['name']}:8881"]
    labels = made["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert {"name": "DATA_URL", "value": "http://127.0.0.1:8880"} in spec["containers"][0]["env"]


def test_the_eight_take_their_own_settings_and_one_upstream() -> None:
    plan, problems = read_plan(str(EXAMPLES / "eight" / "values.yaml"), {})
    assert problems == []
    text = (EXAMPLES / "eight" / "apps.yaml").read_text(encoding="utf-8")
    report = inject_all(text, plan, version=__version__)
    assert report.problems == []
    made: list[dict[str, Any]] = [d for d in yaml.safe_load_all(report.text) if d["kind"] == "Deployment"]
    assert tuple(document["metadata"]["name"] for document in made) == EIGHT
    for document in made:
        template = document["spec"]["template"]
        assert (
            f'"service": "{document["metadata"]["name"]}"'
            in template["metadata"]["annotations"]["sidegate.dev/status"]
        )
        (app,) = template["spec"]["containers"]
        assert {item["name"]: item["value"] for item in app["env"]}["DATA_URL"] == "http://127.0.0.1:8880"
