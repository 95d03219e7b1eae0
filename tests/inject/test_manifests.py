"""Manifests in, manifests out: what changes keeps its author's hand, what does not is byte for byte as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.inject.manifests import inject_all
from tests.inject.hostile import plans, pods
from tests.inject.pods import URL, plan

SERVICE = "# the first\napiVersion: v1\nkind: Service\nmetadata: {name: orders}   # stays\n"
TEMPLATE = '      containers:\n      - name: app   # ours\n        image: "shop/orders:1"\n'
DEPLOYMENT = (
    "# two of them\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: orders\nspec:\n  replicas: 2  # two\n"
    "  template:\n    metadata:\n      labels: {app: orders}\n    spec:\n" + TEMPLATE
)


def done(text: str, **over: Any) -> str:
    report = inject_all(text, plan(), version="1.2.3", **over)
    assert report.problems == []
    return report.text


def test_documents_without_pods_are_not_touched() -> None:
    odd = "key:   [a,b ]\n...\n"
    text = f"{SERVICE}---\n# only a comment\n---\n{odd}---\nkind: Widget\nspec: {{template: {{}}}}\n"
    assert done(text) == text


def test_a_changed_document_keeps_comments_quotes_and_order() -> None:
    text = done(f"{SERVICE}---\n{DEPLOYMENT}")
    assert text.startswith(f"{SERVICE}---\n# two of them\napiVersion: apps/v1\n")
    for kept in (
        "replicas: 2  # two\n",
        "- name: app   # ours\n",
        'image: "shop/orders:1"\n',
        "labels: {app: orders, sidegate.dev/fleet: http-data.example.com}\n",
    ):
        assert kept in text
    spec = list(yaml.safe_load_all(text))[1]["spec"]["template"]["spec"]
    assert [c["name"] for c in spec["initContainers"]] == ["sidegate"]


def test_lists_stay_as_far_in_as_they_were() -> None:
    text = done("kind: Pod\nspec:\n  containers:\n    - name: app\n")
    assert "\n    - name: app\n" in text
    assert "\n    - name: sidegate\n" in text


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Pod", []),
        ("Deployment", ["spec", "template"]),
        ("StatefulSet", ["spec", "template"]),
        ("DaemonSet", ["spec", "template"]),
        ("ReplicaSet", ["spec", "template"]),
        ("Job", ["spec", "template"]),
        ("CronJob", ["spec", "jobTemplate", "spec", "template"]),
    ],
)
def test_every_kind_that_holds_a_pod(kind: str, path: list[str]) -> None:
    tree: dict[str, Any] = {"spec": {"containers": [{"name": "app"}]}}
    for key in reversed(path):
        tree = {key: tree}
    text = done(yaml.safe_dump({"kind": kind, "metadata": {"name": "x"}, **tree}))
    assert inject_all(text, plan(), version="1.2.3").text == text, "injecting twice changes nothing"
    found = yaml.safe_load(text)
    for key in path:
        found = found[key]
    assert found["spec"]["initContainers"][0]["name"] == "sidegate"


def test_lists_are_looked_into() -> None:
    pods = [
        {"kind": "Pod", "metadata": {"name": n}, "spec": {"containers": [{"name": "a"}]}} for n in ("x", "y")
    ]
    report = inject_all(
        yaml.safe_dump({"kind": "List", "items": [{"kind": "Secret"}, *pods]}), plan(), version="1"
    )
    assert report.injected == ["Pod/x", "Pod/y"]


@pytest.mark.parametrize(
    ("namespace", "said"), [("kube-system", "it belongs to Kubernetes itself"), ("shop", None)]
)
def test_the_namespace_is_that_of_the_workload(namespace: str, said: str | None) -> None:
    """Its template says none: kube-system's workloads got a sidecar, and no pod the ConfigMap."""
    text = DEPLOYMENT.replace("  name: orders\n", f"  name: orders\n  namespace: {namespace}\n")
    by = plan(configMap="sidegate", configMapNamespaces=["shop"])
    report = inject_all(text, by, version="1")
    assert [why for _, why in report.skipped] == ([said] if said else [])
    assert ("configMap:\n" in report.text) is (namespace == "shop")


def test_what_asks_for_it_only() -> None:
    report = inject_all(DEPLOYMENT, plan(), version="1", is_asked=False)
    assert report.text == DEPLOYMENT
    assert "neither the pod nor its namespace asks" in report.skipped[0][1]


@given(
    given=pods,
    kind=st.sampled_from(["Pod", "Deployment", "CronJob", "List", "PodList", "Service", "", None]),
    values=plans,
)
@settings(max_examples=30)  # reading YAML with its comments takes its time
def test_whatever_the_document_it_never_crashes_and_a_second_time_changes_nothing(
    given: dict[str, Any], kind: str | None, values: dict[str, Any]
) -> None:
    template: Any = {"apiVersion": "v1", "kind": "Pod", **given}
    tree: Any = {
        "kind": kind,
        "spec": {"template": template, "jobTemplate": {"spec": {"template": template}}},
    }
    text = json.dumps({**tree, "items": [template]} if kind != "Pod" else template, indent=1)
    report = inject_all(text, plan(**values), version="1")
    if report.problems or not report.injected:
        assert report.problems or report.text == text
        return
    again = inject_all(report.text, plan(**values), version="1")
    assert (again.problems, again.injected, again.text) == ([], [], report.text)


@pytest.mark.parametrize("text", ["a: [1\n", "a: 1\na: 2\n", "\tkey: 1\n", "a: !!timestamp x\n"])
def test_what_is_no_yaml_is_named_by_its_number(text: str) -> None:
    report = inject_all(f"{SERVICE}---\n{text}", plan(), version="1")
    assert report.problems[0].startswith("document 2: not YAML: ")


def sidegate(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy", "inject", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


class TestCommand:
    def test_from_standard_input_to_standard_output(self) -> None:
        ran = sidegate("-f", "-", "--upstream", URL, given=DEPLOYMENT)
        assert (ran.returncode, ran.stderr) == (0, "Deployment/orders: injected\n")
        assert ran.stdout == done(DEPLOYMENT).replace("sidegate:1.2.3", "sidegate:0.1.0").replace(
            '"version": "1.2.3"', '"version": "0.1.0"'
        )

    def test_nothing_is_written_when_one_pod_cannot_be_injected(self, tmp_path: Path) -> None:
        bad = tmp_path / "bad.yaml"
        bad.write_text(
            DEPLOYMENT.replace("labels:", 'annotations: {sidegate.dev/limits.rat: "1"}\n      labels:')
        )
        ran = sidegate("-f", str(bad), "--upstream", URL)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert "Deployment/orders: sidegate.dev/limits.rat: unknown key; did you mean rate?" in ran.stderr

    def test_every_mistake_in_the_configuration_is_listed(self, tmp_path: Path) -> None:
        values = tmp_path / "values.yaml"
        values.write_text("limits: {rat: 1}\ncapture: {mode: magic}\n")
        ran = sidegate("-f", str(tmp_path / "none.yaml"), "--config", str(values))
        assert ran.returncode == 2
        for said in (
            "limits.rat: unknown key",
            "upstream: required",
            "capture.mode: expected one of",
            "none.yaml: cannot be read",
        ):
            assert said in ran.stderr

    def test_the_clusters_version_decides_the_form(self) -> None:
        ran = sidegate("-f", "-", "--upstream", URL, "--kube-version", "1.28", given=DEPLOYMENT)
        assert "initContainers" not in ran.stdout
        assert "preStop" in ran.stdout
