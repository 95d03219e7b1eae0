"""Everything we put into a cluster fits the schemas of each Kubernetes release from 1.29 on, unknown keys included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.inject.manifests import inject_all
from tests.chart.made import CHART, ROOT
from tests.chart.schemas import FOREIGN, mistakes, releases
from tests.chart.test_helm import EIGHT, helm, kubectl, rendered
from tests.inject.golden import Golden, injected
from tests.inject.pods import plan

pytestmark = pytest.mark.kube

SET = {
    "defaults": "",
    "the webhook off": "injector.enabled=false",
    "one replica": "injector.replicas=1",
    "cert-manager": "injector.tls.mode=certManager",
    "a certificate that is there": "injector.tls.mode=existing,injector.tls.secretName=tls,injector.tls.caBundle=PEM",
    "OpenShift": "runAsUser=null",
    "everything on": "podMonitor.enabled=true,serviceMonitor.enabled=true,alerts.enabled=true,dashboards.enabled=true",
}
DEPLOY = sorted((ROOT / "deploy").rglob("*.yaml"))
VALUES = [path for path in DEPLOY if path.name.startswith("values") and path.parent.name != "plain"]
"""Values of the chart; those beside the plain manifest are for `sidegate inject`."""
KUSTOMIZED = [path.parent for path in DEPLOY if path.name == "kustomization.yaml"]


def documents(text: str) -> list[dict[str, Any]]:
    """The manifests in a text; what is no manifest is not among them."""
    found = [document for document in yaml.safe_load_all(text) if isinstance(document, dict)]
    return [document for document in found if "kind" in document and "apiVersion" in document]


def test_a_key_that_nobody_knows_and_a_wrong_type_are_mistakes_in_each_release() -> None:
    """Or the tests below would prove nothing."""
    container = {"name": "a", "imag": "x", "ports": [{"containerPort": "80"}]}
    said = mistakes({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [container]}})
    assert releases()[:2] == ("1.29", "1.30")
    for release in releases():
        assert (
            f"{release} Pod spec.containers.0: Additional properties are not allowed ('imag' was unexpected)"
            in said
        )
        assert f"{release} Pod spec.containers.0.ports.0.containerPort: '80' is not of type 'integer'" in said


@pytest.mark.parametrize("values", SET.values(), ids=SET)
@pytest.mark.parametrize("release", [releases()[0], releases()[-1]])
def test_what_the_chart_renders(values: str, release: str) -> None:
    """Custom resources, which Kubernetes has no schema of, are looked past, and only they."""
    made = rendered("--kube-version", release, *(["--set", values] if values else []))
    assert made
    assert {document["kind"] for document in made if document["kind"] in FOREIGN} <= {
        "Issuer",
        "Certificate",
        "PodMonitor",
        "ServiceMonitor",
        "PrometheusRule",
    }
    assert [line for document in made for line in mistakes(document)] == []


def test_what_the_chart_renders_for_eight_services() -> None:
    assert [line for document in rendered(given=EIGHT) for line in mistakes(document)] == []


@pytest.mark.parametrize("golden", injected(), ids=lambda golden: golden.name)
def test_every_shape_of_pod_with_its_sidecar(golden: Golden) -> None:
    made = golden.outcome().pod
    assert made is not None
    assert (
        mistakes(made, since=25 if "restartPolicy" not in str(made["spec"].get("initContainers")) else 29)
        == []
    )


POD = {
    "metadata": {"labels": {"app": "orders"}},
    "spec": {"containers": [{"name": "app", "image": "shop/orders:1", "ports": [{"containerPort": 8080}]}]},
}
ENDING = {"metadata": {}, "spec": {**POD["spec"], "restartPolicy": "Never"}}
SELECTED = {"selector": {"matchLabels": {"app": "orders"}}, "template": POD}
CLAIM = {
    "metadata": {"name": "journal"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
WORKLOADS: dict[str, dict[str, Any]] = {
    "Pod": {"apiVersion": "v1", **POD},
    "Deployment": {"apiVersion": "apps/v1", "spec": {"replicas": 2, **SELECTED}},
    "StatefulSet": {
        "apiVersion": "apps/v1",
        "spec": {"serviceName": "orders", **SELECTED, "volumeClaimTemplates": [CLAIM]},
    },
    "DaemonSet": {"apiVersion": "apps/v1", "spec": SELECTED},
    "ReplicaSet": {"apiVersion": "apps/v1", "spec": SELECTED},
    "Job": {"apiVersion": "batch/v1", "spec": {"backoffLimit": 2, "template": ENDING}},
    "CronJob": {
        "apiVersion": "batch/v1",
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": ENDING}}},
    },
}


@pytest.mark.parametrize("mode", ["env", "hostAliases", "redirect", "none"])
@pytest.mark.parametrize("version", ["1.28", "1.29"])
def test_what_inject_writes_for_every_kind_of_workload(mode: str, version: str) -> None:
    """One by one, and all of them as a List."""
    made = [
        {"apiVersion": body["apiVersion"], "kind": kind, **body, "metadata": {"name": "orders"}}
        for kind, body in WORKLOADS.items()
    ]
    together = {"apiVersion": "v1", "kind": "List", "items": made}
    text = "---\n".join(json.dumps(document, indent=1) + "\n" for document in [*made, together])
    report = inject_all(text, plan(capture={"mode": mode}, kubeVersion=version), version="1.2.3")
    assert report.problems == []
    assert len(report.injected) == 2 * len(WORKLOADS)
    assert [line for document in documents(report.text) for line in mistakes(document)] == []


@pytest.mark.parametrize("path", VALUES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_the_chart_renders_for_every_example(path: Path) -> None:
    ran = helm("template", "sidegate", str(CHART), "--kube-version", releases()[0], "-f", str(path))
    assert ran.returncode == 0, ran.stderr
    assert [line for document in documents(ran.stdout) for line in mistakes(document)] == []


@pytest.mark.parametrize("path", DEPLOY, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_manifest_in_deploy(path: Path) -> None:
    """A kustomization's parts are no manifests by themselves; what it makes is looked at below."""
    if any(folder in path.parents for folder in KUSTOMIZED):
        return
    text = path.read_text(encoding="utf-8")
    assert [line for document in documents(text) for line in mistakes(document)] == []


@pytest.mark.parametrize("folder", KUSTOMIZED, ids=lambda folder: folder.name)
def test_what_kustomize_makes(folder: Path) -> None:
    if "kind: Component" in (folder / "kustomization.yaml").read_text(encoding="utf-8"):
        return  # comes into an overlay
    ran = kubectl("kustomize", str(folder))
    assert ran.returncode == 0, ran.stderr
    assert [line for document in documents(ran.stdout) for line in mistakes(document)] == []
