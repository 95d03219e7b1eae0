"""Values as people write them: null, numbers that look like words and words that look like numbers, two of everything."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from proxy.config.convert import convert
from proxy.config.settings import Settings
from proxy.config.yaml12 import read_yaml
from proxy.inject.options import Plan
from proxy.inject.pod import inject
from proxy.inject.values import values_yaml
from tests.chart.made import CHART
from tests.chart.test_helm import URL, helm, of_kind, rendered

pytestmark = pytest.mark.kube
EVERYTHING = [
    part
    for key in ("podMonitor", "serviceMonitor", "alerts", "dashboards")
    for part in ("--set", f"{key}.enabled=true")
]


def paths(tree: dict[str, Any], above: str = "") -> list[str]:
    """Every section and every value, by path."""
    found = []
    for key, value in tree.items():
        found.append(f"{above}{key}")
        if isinstance(value, dict):
            found += paths(value, f"{above}{key}.")
    return found


def plan_of(documents: list[dict[str, Any]]) -> Plan:
    """What the webhook reads."""
    (text,) = [
        d["data"]["values.yaml"] for d in of_kind(documents, "ConfigMap") if "values.yaml" in d["data"]
    ]
    return Plan(read_yaml(text))


@pytest.mark.timeout(300)
def test_null_is_the_default_or_refused_with_a_sentence() -> None:
    """Helm takes the key away; templates that then look into nothing end with a nil pointer, or an image without a name."""
    for path in paths(read_yaml(values_yaml())):
        ran = helm("template", "x", str(CHART), *URL, *EVERYTHING, "--set", f"{path}=null")
        if ran.returncode:
            assert re.search(rf"missing property '{path.rpartition('.')[2]}'", ran.stderr), (path, ran.stderr)
        else:
            assert plan_of([d for d in yaml.safe_load_all(ran.stdout) if d]).problems == [], path


@pytest.mark.parametrize(
    "release", ["shop", "123", "1e3", "0x10", "true", "my.release", "a" * 49 + "-b-c", "1" * 53]
)
def test_any_name_of_a_release_will_do(release: str) -> None:
    """A number became a number and no label; a Service's name begins with a letter and holds no dot."""
    ran = helm("template", release, str(CHART), "-n", "1e3", *URL, *EVERYTHING)
    assert ran.returncode == 0, ran.stderr
    documents = [document for document in yaml.safe_load_all(ran.stdout) if document]
    for document in documents:
        metadata = document["metadata"]
        assert metadata.get("namespace", "1e3") == "1e3"
        assert all(isinstance(value, str) for value in metadata["labels"].values()), metadata
        assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", metadata["name"])
    assert all(len(service["metadata"]["name"]) <= 63 for service in of_kind(documents, "Service"))


def test_what_looks_like_a_number_stays_a_text() -> None:
    given = {
        "upstream": {"url": "http://data.example.com"},
        "image": {"tag": "20240101"},
        "imagePullSecrets": ["123"],
        "injector": {"priorityClassName": "123", "podLabels": {"a": "1.10"}, "nodeSelector": {"b": "true"}},
        "podMonitor": {"enabled": True, "labels": {"c": "yes"}},
        "trial": {"path": "/items:"},
    }
    documents = rendered(given=yaml.safe_dump(given))
    (deployment,) = of_kind(documents, "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    assert (spec["priorityClassName"], spec["imagePullSecrets"], spec["nodeSelector"]) == (
        "123",
        [{"name": "123"}],
        {"b": "true"},
    )
    assert (spec["containers"][0]["image"], spec["containers"][0]["args"][-1]) == (
        "sidegate:20240101",
        "--image-tag=20240101",
    )
    assert of_kind(documents, "PodMonitor")[0]["metadata"]["labels"]["c"] == "yes"
    assert of_kind(documents, "Pod")[0]["spec"]["containers"][0]["args"][0] == "http://127.0.0.1:8880/items:"
    assert plan_of(documents).problems == []


def test_large_numbers_reach_the_sidecar_as_they_are() -> None:
    """Helm reads every number of a file as a float, and some of its ways to write one give 1e+06."""
    given = {
        "upstream": {"url": "http://data.example.com"},
        "queue": {"max_waiting": 1_000_000},
        "body": {"verify_up_to": 10_485_760},
        "limits": {"rate": 1_500_000.5},
        "runAsUser": 1_000_650_000,
        "services": {"orders": {"limits": {"burst": 10_000_000}}},
    }
    documents = rendered(given=yaml.safe_dump(given))
    for document in of_kind(documents, "ConfigMap"):
        for name, text in document["data"].items():
            settings = (
                plan_of(documents).read("orders", {})[0]
                if name == "values.yaml"
                else convert(Settings, read_yaml(text), [])
            )
            assert settings is not None, text
            assert (settings.queue.max_waiting, settings.body.verify_up_to) == (1_000_000, 10_485_760)
            assert settings.limits.rate == 1_500_000.5
    (deployment,) = of_kind(documents, "Deployment")
    context = deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert context["runAsUser"] == 1_000_650_000


def test_off_is_a_word_whether_quoted_or_not() -> None:
    """Helm reads YAML 1.1, where it is false, and the schema refused it with a list that has it."""
    given = """
upstream: {url: "http://data.example.com"}
limits: {concurrency: {mode: off}}
log: {access: "off"}
services: {orders: {log: {access: off}, limits: {concurrency: {mode: adaptive}}}}
"""
    documents = rendered(given=given)
    for service, mode in ((None, "off"), ("orders", "adaptive")):
        settings, _, problems = plan_of(documents).read(service, {})
        assert settings is not None, problems
        assert (settings.limits.concurrency.mode, settings.log.access) == (mode, "off")


@pytest.mark.parametrize(
    ("interval", "written"), [("30", "30s"), ("1.5m", "90s"), ("250ms", "250ms"), ("0.5s", "500ms")]
)
def test_an_interval_is_one_that_prometheus_reads(interval: str, written: str) -> None:
    made = rendered("--set", f"podMonitor.enabled=true,podMonitor.interval={interval}")
    assert of_kind(made, "PodMonitor")[0]["spec"]["podMetricsEndpoints"][0]["interval"] == written


def test_no_key_is_there_twice() -> None:
    """Labels of ours that somebody gives as well."""
    keys = ("podMonitor", "serviceMonitor", "alerts", "dashboards")
    ours = {"app.kubernetes.io/name": "x", "sidegate.dev/inject": "true"}
    given: dict[str, Any] = {key: {"enabled": True, "labels": ours} for key in keys}
    given |= {"upstream": {"url": "http://data.example.com"}, "injector": {"podLabels": ours}}
    ran = helm("template", "x", str(CHART), "-f", "-", given=yaml.safe_dump(given))
    assert ran.returncode == 0, ran.stderr
    documents = list(YAML(typ="safe").load_all(ran.stdout))
    assert {d["metadata"]["labels"]["app.kubernetes.io/name"] for d in documents} == {
        "sidegate",
        "sidegate-trial",
    }


def test_the_webhooks_own_pods_never_wait_for_the_webhook() -> None:
    """And no other pod is left out for being called an injector."""
    documents = rendered()
    (deployment,) = of_kind(documents, "Deployment")
    assert deployment["spec"]["template"]["metadata"]["labels"]["sidegate.dev/inject"] == "false"
    (hook,) = of_kind(documents, "MutatingWebhookConfiguration")
    asked = {rule["key"] for each in hook["webhooks"] for rule in each["objectSelector"]["matchExpressions"]}
    assert asked == {"sidegate.dev/inject"}


def test_two_releases_keep_to_namespaces_of_their_own() -> None:
    (hook,) = of_kind(rendered("--set", "injector.namespaceLabels.team=shop"), "MutatingWebhookConfiguration")
    assert [each["namespaceSelector"]["matchLabels"] for each in hook["webhooks"]] == [{"team": "shop"}] * 2


def test_a_chart_that_depends_on_this_one_may_have_a_condition() -> None:
    assert plan_of(rendered("--set", "enabled=true")).problems == []


def test_cert_managers_secret_is_not_the_one_that_helm_made() -> None:
    """Helm takes over no Secret that it did not make, and deletes the one that it made."""
    (own,) = of_kind(rendered(), "Secret")
    documents = rendered("--set", "injector.tls.mode=certManager")
    (certificate,) = of_kind(documents, "Certificate")
    (deployment,) = of_kind(documents, "Deployment")
    mounted = deployment["spec"]["template"]["spec"]["volumes"][1]["secret"]["secretName"]
    assert mounted == certificate["spec"]["secretName"] != own["metadata"]["name"]


@pytest.mark.parametrize("mode", ["env", "hostAliases", "redirect", "none"])
@pytest.mark.parametrize("release", ["1.28", "1.30"])
def test_the_trials_pod_gets_its_sidecar_by_every_capture(mode: str, release: str) -> None:
    """It ran as the sidecar's user, which redirect refuses."""
    documents = rendered("--kube-version", release, "--set", f"capture.mode={mode}")
    (trial,) = of_kind(documents, "Pod")
    plan = plan_of(documents)
    outcome = inject(trial, plan, namespace="sg", is_namespace_asking=False, version="0")
    assert outcome.pod is not None, outcome


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            "services.a.limits.concurrency.mode=fixed",
            "services.a.limits.concurrency: mode fixed needs a limit",
        ),
        ("services.a.ops=127.0.0.1:8881", "services.a.ops: the kubelet asks"),
        ("services.a.upstream.url=ftp://x", "services.a.upstream.url: has the form"),
        ("services.a.capture.mode=redirect,runAsUser=null", "services.a.capture.mode redirect: runAsUser"),
        ("services.a.fleet.mode=redis", "services.a.fleet: mode redis needs redis_url"),
        ("namespaces={*}", "'/namespaces/0'"),
    ],
)
def test_a_services_wrong_values_fail_here_and_not_in_the_webhooks_pod(values: str, said: str) -> None:
    ran = helm("template", "x", str(CHART), *URL, "--set", values)
    assert ran.returncode != 0
    assert said in ran.stderr
