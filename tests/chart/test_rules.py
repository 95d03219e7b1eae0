"""The chart's alerts on series as kube-state-metrics and the API server expose them, judged by real promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.made import CHART
from tests.parts import require

pytestmark = pytest.mark.kube
RULES = CHART / "rules" / "injection.yaml"


def pod(name: str, phase: str = "Running", namespace: str = "shop", **more: str) -> list[str]:
    """Series of a pod; ``more`` are its labels as kube-state-metrics names them."""
    key = f'namespace="{namespace}",pod="{name}"'
    others = ["Pending", "Running", "Succeeded", "Failed", "Unknown"]
    labels = "".join(f',{label}="{text}"' for label, text in more.items())
    return [
        f'kube_pod_info{{{key},host_network="false"}}',
        f"kube_pod_labels{{{key}{labels}}}",
        f'kube_pod_container_info{{{key},container="app"}}',
        *(f'kube_pod_status_phase{{{key},phase="{each}"}}={int(each == phase)}' for each in others),
    ]


def run(
    tmp_path: Path, series: list[str], alert: str, expected: list[dict[str, Any]], at: str = "20m"
) -> None:
    inputs = [
        {"series": text.partition("}=")[0] + ("" if text.endswith("}") else "}"), "values": values(text)}
        for text in series
    ]
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": inputs,
                "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": expected}],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    ran = subprocess.run(
        [require("promtool"), "test", "rules", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def values(text: str) -> str:
    """A series' samples: what stands behind ``}=``, 1 where nothing does, for an hour."""
    value = text.partition("}=")[2] or "1"
    return value if "x" in value else f"{value}x60"


def test_promtool_finds_nothing_wrong() -> None:
    ran = subprocess.run(
        [require("promtool"), "check", "rules", str(RULES)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_pod_that_slipped_through_is_named_and_no_other(tmp_path: Path) -> None:
    series = [
        'kube_namespace_labels{namespace="shop",label_sidegate_dev_inject="true"}',
        'kube_namespace_labels{namespace="other"}',
        *pod("slipped"),
        *pod("waits", "Pending"),
        *pod("native"),
        'kube_pod_init_container_info{namespace="shop",pod="native",container="sidegate"}',
        *pod("classic"),
        'kube_pod_container_info{namespace="shop",pod="classic",container="sidegate"}',
        *pod("opted-out", label_sidegate_dev_inject="false"),
        *pod("through", "Succeeded"),
        'kube_pod_info{namespace="shop",pod="on-host",host_network="true"}',
        'kube_pod_status_phase{namespace="shop",pod="on-host",phase="Running"}',
        *pod("elsewhere", namespace="other"),
        *pod("asks-itself", namespace="other", label_sidegate_dev_inject="true"),
    ]
    named = [("shop", "slipped"), ("shop", "waits"), ("other", "asks-itself")]
    (alert,) = [rule for rule in rules() if rule["alert"] == "SidegatePodWithoutSidecar"]
    expected = [
        {
            "exp_labels": {"namespace": namespace, "pod": name, "severity": "warning"},
            "exp_annotations": {
                "summary": f"{namespace}/{name} asked for a sidecar and runs without one",
                "description": alert["annotations"]["description"],
            },
        }
        for namespace, name in named
    ]
    run(tmp_path, series, "SidegatePodWithoutSidecar", expected)
    run(tmp_path, series, "SidegatePodWithoutSidecar", [], at="4m")


def test_a_webhook_that_failed_open_is_named(tmp_path: Path) -> None:
    (alert,) = [rule for rule in rules() if rule["alert"] == "SidegateWebhookFailedOpen"]
    series = [
        'apiserver_admission_webhook_fail_open_count{name="pod.inject.sidegate.dev"}=0+1x60',
        'apiserver_admission_webhook_fail_open_count{name="namespace.inject.sidegate.dev"}=3+0x60',
        'apiserver_admission_webhook_fail_open_count{name="somebody.else"}=0+1x60',
    ]
    expected = {
        "exp_labels": {"name": "pod.inject.sidegate.dev", "severity": "warning"},
        "exp_annotations": {
            "summary": "The API server let pods in without asking pod.inject.sidegate.dev",
            "description": alert["annotations"]["description"],
        },
    }
    run(tmp_path, series, "SidegateWebhookFailedOpen", [expected])


def test_a_webhook_that_refuses_is_named(tmp_path: Path) -> None:
    (alert,) = [rule for rule in rules() if rule["alert"] == "SidegateWebhookRefuses"]
    series = [
        'sidegate_injector_pods_total{namespace="sg",pod="a",outcome="refused"}=0+1x60',
        'sidegate_injector_pods_total{namespace="sg",pod="a",outcome="injected"}=0+5x60',
        'sidegate_injector_pods_total{namespace="calm",pod="a",outcome="refused"}=2+0x60',
    ]
    expected = {
        "exp_labels": {"namespace": "sg", "severity": "warning"},
        "exp_annotations": {
            "summary": "The injector in sg refuses pods or cannot read what it is sent",
            "description": alert["annotations"]["description"],
        },
    }
    run(tmp_path, series, "SidegateWebhookRefuses", [expected])


def rules() -> list[dict[str, Any]]:
    """All rules of the file."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
