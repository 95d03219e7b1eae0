"""The chart under real Helm: it lints, renders and packages; what it renders fits Kubernetes' schemas and the product."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from proxy.config.convert import convert
from proxy.config.settings import Settings
from proxy.config.yaml12 import read_yaml
from proxy.inject.options import Plan
from tests.chart.made import CHART
from tests.parts import where_in_kube

pytestmark = pytest.mark.kube
URL = ["--set", "upstream.url=https://data.example.com/api"]
EIGHT = """
upstream: {url: "https://data.example.com/api"}
namespaces: [shop, stock]
services:
  orders: {limits: {rate: 20}, retry: {on: [500, connect]}}
  stock: {timeouts: {total: 10m}, capture: {mode: none}}
  billing: {}
  users: {limits: {concurrency: {mode: fixed, limit: 8}}}
  prices: {resources: {requests: {cpu: 200m}}}
  search: {queue: {max_wait: 5m}}
  mail: {nativeSidecar: never}
  audit: {log: {access: all}}
"""


def helm(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return _run("helm", arguments, given)


def kubectl(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return _run("kubectl", arguments, given)


def _run(name: str, arguments: tuple[str, ...], given: str) -> subprocess.CompletedProcess[str]:
    command = [where_in_kube(name), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


def rendered(*arguments: str, given: str = "") -> list[dict[str, Any]]:
    values = ["-f", "-"] if given else URL
    ran = helm("template", "sidegate", str(CHART), "--namespace", "sg", *values, *arguments, given=given)
    assert ran.returncode == 0, ran.stderr
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


def test_it_lints_and_packages(tmp_path: Path) -> None:
    assert helm("lint", "--strict", str(CHART), *URL).returncode == 0
    assert helm("package", str(CHART), "-d", str(tmp_path)).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sidegate-0.1.0.tgz"]


def test_every_file_of_configuration_is_what_the_product_reads() -> None:
    """All services, and the plan of the webhook; an unquoted `on` included, which Helm takes for true."""
    maps = of_kind(rendered(given=EIGHT), "ConfigMap")
    assert sorted(document["metadata"]["namespace"] for document in maps) == ["sg", "sg", "shop", "stock"]
    for document in maps:
        for name, text in document["data"].items():
            tree = read_yaml(text)
            problems: list[str] = []
            if name == "values.yaml":
                made = Plan(tree)
                settings, options, problems = made.read("orders", {})
                assert made.problems == []
                assert options is not None
                assert options.configMapNamespaces == ("sg", "shop", "stock")
            else:
                settings = convert(Settings, tree, problems)
            assert problems == []
            assert settings is not None
            assert settings.upstream.url == "https://data.example.com/api"
            if name in ("orders.yaml", "values.yaml"):
                assert settings.limits.rate == 20
                assert settings.retry.on == (500, "connect")


def test_the_certificate_is_for_the_service_and_by_the_authority_in_the_webhook() -> None:
    documents = rendered()
    (secret,) = of_kind(documents, "Secret")
    (hook,) = of_kind(documents, "MutatingWebhookConfiguration")
    chain = x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["tls.crt"]))
    names = chain.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    client = hook["webhooks"][0]["clientConfig"]
    assert f"{client['service']['name']}.sg.svc" in names.get_values_for_type(x509.DNSName)
    assert client["caBundle"] == secret["data"]["ca.crt"]
    authority = x509.load_pem_x509_certificate(base64.b64decode(client["caBundle"]))
    chain.verify_directly_issued_by(authority)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "upstream.url: required"),
        (["upstream.url=ftp://x"], "upstream.url: has the form"),
        (["upstream.url=http://a", "limits.rate=fast"], "'/limits/rate'"),
        (["upstream.url=http://a", "limits.rat=1"], "additional properties 'rat' not allowed"),
        (["upstream.url=http://a", "services.orders.limits.rat=1"], "'/services/orders/limits'"),
        (["upstream.url=http://a", "limits.concurrency.mode=fixed"], "mode fixed needs a limit"),
        (
            ["upstream.url=http://a", "limits.concurrency.min=9", "limits.concurrency.max=3"],
            "min may not exceed max",
        ),
        (["upstream.url=http://a", "fleet.mode=redis"], "fleet: mode redis needs redis_url"),
        (["upstream.url=http://a", "injector.tls.mode=existing"], "needs secretName and caBundle"),
        (["upstream.url=http://a", "injector.tls.days=30"], "renewDays must be less than days"),
        (["upstream.url=http://a", "capture.mode=redirect", "runAsUser=null"], "runAsUser: required"),
        (["upstream.url=http://a", "timeouts.total=soon"], "'/timeouts/total'"),
        (
            ["upstream.url=http://a", "services.config.limits.rate=1"],
            "services.config: expected what a label can hold",
        ),
        (
            ["upstream.url=http://a", "services.a b.limits.rate=1"],
            "services.a b: expected what a label can hold",
        ),
        (["upstream.url=http://a", "ops=127.0.0.1:8881"], "ops: the kubelet asks at the pod's address"),
        (["upstream.url=http://a", "ops=[::1]:8881"], "ops: the kubelet asks at the pod's address"),
    ],
)
def test_wrong_values_fail_with_a_sentence(values: list[str], said: str) -> None:
    ran = helm("template", "x", str(CHART), *[part for value in values for part in ("--set", value)])
    assert ran.returncode != 0
    assert said in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        (["--set", "injector.enabled=false"], {"ConfigMap"}),
        (["--set", "injector.tls.mode=certManager"], {"Issuer", "Certificate"}),
        (["--set", "injector.replicas=1"], {"Deployment"}),
    ],
)
def test_what_is_switched_is_there_or_not(arguments: list[str], kinds: set[str]) -> None:
    found = {document["kind"] for document in rendered(*arguments)}
    assert kinds <= found
    assert ("Deployment" in found) is ("injector.enabled=false" not in arguments)
    assert ("PodDisruptionBudget" in found) is not bool(
        {"injector.enabled=false", "injector.replicas=1"} & set(arguments)
    )
