"""Pods of one upstream find each other by Services of the chart: what it renders is what the injector counts on."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from proxy.config.convert import convert
from proxy.config.settings import Settings
from proxy.config.yaml12 import read_yaml
from proxy.inject.fleet import LABEL, label_of, peers_of
from tests.chart.made import CHART
from tests.chart.test_helm import helm, of_kind, rendered
from tests.chart.test_values import plan_of

pytestmark = pytest.mark.kube
SERVICES: dict[str, Any] = {
    "same": {"limits": {"rate": 5}},
    "path": {"upstream": {"url": "https://data.example.com:443/other"}},
    "port": {"upstream": {"url": "https://data.example.com:8443"}},
    "capital": {"upstream": {"url": "http://Stock.example.com.:80"}},
    "six": {"upstream": {"url": "http://[fd00::80]:8080"}},
    "long": {"upstream": {"url": f"http://{'a' * 60}.{'b' * 20}"}},
    "named": {"fleet": {"name": "the shop's data, all of it"}},
    "ops": {"ops": "0.0.0.0:9881"},
    "alone": {"fleet": {"mode": "alone"}},
    "own": {"fleet": {"mode": "peers", "peers": ["mine:8881"]}},
}


def test_files_name_the_services_that_are_there_and_these_select_the_label() -> None:
    """Whatever an upstream's address looks like. What has the same one has the same Service."""
    values = {
        "upstream": {"url": "https://data.example.com/api"},
        "namespaces": ["shop"],
        "services": SERVICES,
    }
    documents = rendered(given=yaml.safe_dump(values))
    services = {
        (each["metadata"]["name"], each["metadata"]["namespace"]): each["spec"]
        for each in of_kind(documents, "Service")
        if each["spec"].get("clusterIP") == "None"
    }
    plan = plan_of(documents)
    used = set()
    maps = [d for d in of_kind(documents, "ConfigMap") if "config.yaml" in d["data"]]
    assert [each["metadata"]["namespace"] for each in maps] == ["sg", "shop"]
    for file, text in maps[1]["data"].items():
        made = convert(Settings, read_yaml(text), [])
        of_pod, options, _ = plan.read(file.removesuffix(".yaml"), {})
        assert made is not None
        assert of_pod is not None
        assert options is not None
        if file == "own.yaml":
            assert made.fleet.peers == ("mine:8881",)
            continue
        assert list(made.fleet.peers) == peers_of(of_pod, options.configMap, options.configMapNamespaces)
        assert bool(made.fleet.peers) is (file != "alone.yaml")
        for peer in made.fleet.peers:
            name, namespace, _ = peer.split(".")
            used.add((name, namespace))
            spec = services[name, namespace]
            assert spec["selector"] == {LABEL: label_of(of_pod)}
            assert spec["publishNotReadyAddresses"] is True
    assert used == set(services)
    assert len({name for name, _ in used}) == 6
    assert all(len(name) <= 63 for name, _ in used)


@pytest.mark.parametrize(
    "given", ["fleet.mode=alone", "fleet.peers={mine:8881}", "fleet.redis_url=redis://sidegate@redis/0"]
)
def test_who_needs_no_service_gets_none(given: str) -> None:
    services = of_kind(rendered("--set", given), "Service")
    assert [each["spec"].get("clusterIP") for each in services] == [None]


def test_mode_peers_without_peers_is_refused_here_and_not_in_the_webhooks_pod() -> None:
    ran = helm("template", "x", str(CHART), "--set", "upstream.url=http://a,fleet.mode=peers")
    assert ran.returncode != 0
    assert "fleet: mode peers needs peers; leave it auto" in ran.stderr


def test_a_password_may_not_stand_in_a_config_map() -> None:
    ran = helm(
        "template", "x", str(CHART), "--set", "upstream.url=http://a,fleet.redis_url=redis://u:hunter2@r"
    )
    assert ran.returncode != 0
    assert "fleet.redis_password_file" in ran.stderr
    assert "hunter2" not in ran.stderr
