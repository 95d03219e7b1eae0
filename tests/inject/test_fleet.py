"""How the pods of one upstream find each other: the label, the peers, and who is kept out."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from proxy.config.convert import convert
from proxy.config.settings import Settings
from proxy.inject.fleet import LABEL, label_of, peers_of
from proxy.inject.manifests import inject_all
from tests.inject.pods import env_of, injected, plan, pod, sidecar

SHOP = {"configMap": "sidegate", "configMapNamespaces": ["sidegate", "shop"]}


def settings(url: str = "http://data.example.com", **over: Any) -> Settings:
    problems: list[str] = []
    made = convert(Settings, {"upstream": {"url": url}, **over}, problems)
    assert made is not None, problems
    return made


def labels_of(given: dict[str, Any], **values: Any) -> dict[str, str]:
    outcome = injected(given, plan(**values))
    assert outcome.pod is not None
    found: dict[str, str] = outcome.pod["metadata"]["labels"]
    return found


@pytest.mark.parametrize(
    ("made", "label"),
    [
        (settings("https://data.example.com/api"), "https-data.example.com"),
        (settings("https://Data.example.com.:443/v2"), "https-data.example.com"),
        (settings("http://data.example.com:8080"), "http-data.example.com-8080"),
        (settings("http://[fd00::1]:8080"), "http-fd00-1-8080"),
        (settings(fleet={"name": "数据"}), ""),
        (settings("http://" + "a" * 50 + "-b.example.com"), "http-" + "a" * 50 + "-b.examp"),
        (settings(fleet={"mode": "alone"}), None),
        (settings(fleet={"peers": ["a:1"]}), "http-data.example.com"),
    ],
)
def test_label_is_the_fleets_name_as_a_label_can_hold_it(made: Settings, label: str | None) -> None:
    """One for each scheme, host and port, however they are written; none for who learns alone."""
    assert label_of(made) == label


def test_peers_are_one_service_in_each_namespace_that_has_the_config_map() -> None:
    assert peers_of(settings(), "sidegate", ["sidegate", "shop"]) == [
        "sidegate-ce8820c8.sidegate.svc:8881",
        "sidegate-ce8820c8.shop.svc:8881",
    ]
    assert peers_of(settings(fleet={"mode": "alone"}), "sidegate", ["shop"]) == []
    assert peers_of(settings(fleet={"peers": ["a:1"]}), "sidegate", ["shop"]) == []


def test_pods_of_all_services_of_one_upstream_get_the_same_label() -> None:
    """Eight services that pull from one server share its limit, so they are one fleet."""
    services = {
        "orders": {"limits": {"rate": 5}},
        "stock": {"upstream": {"url": "http://data.example.com/stock"}},
    }
    names = ("orders", "stock", "other")
    found = [labels_of(pod(metadata={"labels": {"app": name}}), services=services) for name in names]
    assert found == [{"app": name, LABEL: "http-data.example.com"} for name in names]


def test_pod_that_asks_to_be_alone_gets_no_label() -> None:
    assert labels_of(pod(metadata={"annotations": {"sidegate.dev/fleet.mode": "alone"}})) == {"app": "orders"}


@pytest.mark.parametrize("key", ["upstream.url", "ops", "fleet.name"])
def test_pod_with_another_upstream_than_its_file_learns_alone(key: str) -> None:
    """The Service named in its ConfigMap finds the pods of another fleet; a pod that read them would warn of each."""
    text = {"upstream.url": "http://else.example.com", "ops": "0.0.0.0:9881", "fleet.name": "else"}[key]
    given = pod(metadata={"annotations": {f"sidegate.dev/{key}": text}})
    outcome = injected(given, plan(**SHOP))
    assert env_of(sidecar(outcome))["SIDEGATE_FLEET__MODE"] == "alone"
    assert any("the pod learns its limit alone" in warning for warning in outcome.warnings)
    elsewhere = injected(given, plan(**SHOP), namespace="calm")
    assert "SIDEGATE_FLEET__MODE" not in env_of(sidecar(elsewhere))


@pytest.mark.parametrize(
    "said",
    [
        {"limits.rate": "5"},
        {"upstream.url": "http://data.example.com/v2"},
        {"fleet.peers": "[a:1]", "ops": "0.0.0.0:1"},
    ],
)
def test_pod_that_changes_something_else_stays_in_the_fleet(said: dict[str, str]) -> None:
    given = pod(metadata={"annotations": {f"sidegate.dev/{key}": text for key, text in said.items()}})
    outcome = injected(given, plan(**SHOP))
    assert "SIDEGATE_FLEET__MODE" not in env_of(sidecar(outcome))
    assert outcome.warnings == []


def test_label_goes_to_the_pod_and_not_to_a_selector_that_shares_its_labels() -> None:
    """A selector cannot be changed once the Deployment is there."""
    text = (
        "kind: Deployment\nmetadata: {name: x}\nspec:\n  selector:\n    matchLabels: &labels {app: x}\n"
        "  template:\n    metadata:\n      labels: *labels\n    spec:\n      containers: [{name: a}]\n"
    )
    spec = yaml.safe_load(inject_all(text, plan(), version="1").text)["spec"]
    assert spec["selector"]["matchLabels"] == {"app": "x"}
    assert spec["template"]["metadata"]["labels"] == {"app": "x", LABEL: "http-data.example.com"}
