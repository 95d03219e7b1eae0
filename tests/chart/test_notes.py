"""What `helm install` says when it is done: what to do next, and which values have no effect."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

from proxy.config.convert import convert
from proxy.config.mismatch import PAIRS, mismatches
from proxy.config.settings import Settings
from proxy.config.units import parse_duration
from tests.chart.made import CHART
from tests.chart.test_helm import URL, helm

pytestmark = pytest.mark.kube


def notes(*arguments: str) -> str:
    ran = helm("install", "sidegate", str(CHART), "--dry-run=client", *URL, *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.partition("\nNOTES:\n")[2]


def without_effect(*arguments: str) -> list[str]:
    return notes(*arguments).partition("Values without effect:\n")[2].split("\n")[1:-1]


def product(paths: dict[str, str]) -> list[str]:
    """What the sidecar logs when it is given these."""
    tree: dict[str, Any] = {"upstream": {"url": "https://data.example.com/api"}}
    for path, value in paths.items():
        *above, last = path.split(".")
        reduce(lambda node, key: node.setdefault(key, {}), above, tree)[last] = value
    settings = convert(Settings, tree, [])
    assert settings is not None
    return mismatches(settings)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"timeouts.total": "1s"},
        {"queue.max_wait": "5m"},
        {"queue.max_wait": "10m"},
        {"queue.max_wait": "10m", "timeouts.total": "20m"},
        {"timeouts.connect": "6m", "timeouts.response_head": "7m", "timeouts.body_idle": "8m"},
        {"outage.max_hold": "6m", "retry.backoff.max": "6m", "drain.quiet": "30s", "pool.idle": "11m"},
        {"limits.concurrency.max": "100"},
        {"limits.concurrency.limit": "100", "limits.concurrency.mode": "fixed"},
        {"limits.concurrency.max": "1000", "pool.max_connections": "1000"},
        {"pool.max_connections": "2", "pool.max_age": "1s"},
    ],
)
def test_values_without_effect_are_those_that_the_sidecar_names(given: dict[str, str]) -> None:
    arguments = [part for path, value in given.items() for part in ("--set", f"{path}={value}")]
    said = product({path: int(value) if value.isdigit() else value for path, value in given.items()})  # type: ignore[misc]
    assert without_effect(*arguments) == said


def test_pairs_and_defaults_are_the_products() -> None:
    text = (CHART / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    table = text.partition('"sidegate.pairs" -}}\n')[2].partition("\n{{- end")[0]
    lines = [line.split() for line in table.splitlines()]
    assert tuple((line[0], line[2]) for line in lines) == PAIRS
    defaults = Settings(upstream=convert(Settings, {"upstream": {"url": "http://u.example"}}, []).upstream)  # type: ignore[union-attr]
    for line in lines:
        for path, written in (line[:2], line[2:]):
            default = reduce(getattr, path.split("."), defaults) or 0  # type: ignore[arg-type]
            assert default == parse_duration(int(written) if written.isdigit() else written), path


def test_a_services_are_named_where_they_are_not_those_of_all() -> None:
    said = without_effect(
        "--set=queue.max_wait=10m,services.orders.drain.quiet=30s,services.stock.limits.rate=3"
    )
    assert said == [
        "queue.max_wait: 10m is never reached, for timeouts.total is 5m",
        "services.orders.drain.quiet: 30s is never reached, for drain.grace is 25s",
    ]


def test_what_http_proxy_does_to_other_hosts_is_said_where_it_is_set() -> None:
    assert "capture.noProxy" in notes()
    assert "capture.noProxy" not in notes("--set=capture.httpProxy=false")
    assert "capture.noProxy" not in notes("--set=capture.mode=hostAliases")


def test_where_pods_learn_together_is_said() -> None:
    assert "find its limit together in default, shop; in a namespace" in notes("--set=namespaces={shop}")
    assert "limit together" not in notes("--set=fleet.mode=alone")


def test_without_a_webhook_it_says_what_writes_the_sidecar() -> None:
    said = notes("--set=injector.enabled=false")
    assert "sidegate inject -f" in said
    assert "kubectl label" not in said
