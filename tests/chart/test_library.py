"""The chart's library templates give the very pod that the injector makes, whatever the values."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy import __version__
from proxy.inject.options import Plan
from proxy.inject.pod import inject
from tests.chart.made import CHART
from tests.chart.test_helm import helm

pytestmark = pytest.mark.kube

TEMPLATE = """
{{- $sidegate := dict "root" .Subcharts.sidegate }}
{{- range $key, $value := .Values.sidecar }}{{ $_ := set $sidegate $key $value }}{{ end }}
{{- $native := eq (include "sidegate.isNative" $sidegate) "true" }}
apiVersion: v1
kind: Pod
metadata:
  name: orders
  {{- with include "sidegate.podLabels" $sidegate }}
  labels:
    {{- . | nindent 4 }}
  {{- end }}
  annotations:
    {{- include "sidegate.annotations" $sidegate | nindent 4 }}
spec:
  {{- with .Values.sidecar.terminationGracePeriodSeconds }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  {{- if .Values.sidecar.job }}
  restartPolicy: Never
  {{- end }}
  {{- with include "sidegate.hostAliases" $sidegate }}
  hostAliases:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with include "sidegate.sysctls" $sidegate }}
  securityContext:
    sysctls:
      {{- . | nindent 6 }}
  {{- end }}
  {{- if $native }}
  initContainers:
    {{- include "sidegate.container" $sidegate | nindent 4 }}
  {{- end }}
  containers:
    {{- if not $native }}
    {{- include "sidegate.container" $sidegate | nindent 4 }}
    {{- end }}
    - name: app
      image: shop/orders:1
      {{- with include "sidegate.env" $sidegate }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
  volumes:
    {{- include "sidegate.volume" $sidegate | nindent 4 }}
"""
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "classic": {"nativeSidecar": "never"},
    "classic without a pause": {"nativeSidecar": "never", "preStop": 0},
    "classic with a pause of two units": {
        "nativeSidecar": "never",
        "preStop": "1m5s",
        "drain": {"grace": "500ms"},
    },
    "hostAliases": {"capture": {"mode": "hostAliases"}, "runAsUser": None},
    "hostAliases below 1024": {"capture": {"mode": "hostAliases", "port": 81}},
    "hostAliases at the port of the url": {
        "capture": {"mode": "hostAliases"},
        "upstream": {"url": "http://Data.example.com:8080"},
    },
    "hostAliases of TLS": {
        "capture": {"mode": "hostAliases"},
        "upstream": {"url": "https://data.example.com:8443/api/"},
    },
    "hostAliases of a Service": {
        "capture": {"mode": "hostAliases"},
        "upstream": {"url": "http://stock.shop.svc.cluster.local:8080/"},
    },
    "hostAliases of a full name": {
        "capture": {"mode": "hostAliases"},
        "upstream": {"url": "http://stock.shop.svc.cluster.local.:8080"},
    },
    "hostAliases and names": {"capture": {"mode": "hostAliases"}, "downstream": {"hosts": ["a.example"]}},
    "hostAliases and any name": {
        "capture": {"mode": "hostAliases"},
        "upstream": {"url": "http://data.example.com", "host_header": "preserve"},
    },
    "none": {"capture": {"mode": "none"}, "scrapeAnnotations": False},
    "variables": {"capture": {"baseUrlVars": ["DATA_URL"], "httpProxy": False}, "listen": "127.0.0.1:9000"},
    "image and resources": {
        "image": {
            "repository": "registry.example.com/s",
            "digest": "sha256:" + "0" * 64,
            "pullPolicy": "Always",
        },
        "resources": {"requests": {"cpu": None, "memory": "1Gi"}, "limits": {"cpu": "2", "memory": None}},
    },
    "files": {
        "volumes": [{"name": "authority", "secret": {"secretName": "authority", "defaultMode": 288}}],
        "volumeMounts": [{"name": "authority", "mountPath": "/etc/authority"}],
        "upstream": {
            "url": "https://data.example.com",
            "tls": {"ca_file": "/etc/authority/ca.crt"},
        },
    },
    "other ports": {"ops": "0.0.0.0:9981", "listen": "127.0.0.1:9980", "runAsUser": 1000},
    "a service": {
        "limits": {"rate": 50},
        "services": {"orders": {"limits": {"rate": 5}, "image": {"tag": "9"}, "capture": {"mode": "none"}}},
    },
    "long drain": {"drain": {"grace": "2m"}},
    "alone": {"fleet": {"mode": "alone"}},
    "a fleet with a name": {"fleet": {"name": "the shop's data, all of it"}},
}
PODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "patient": {"terminationGracePeriodSeconds": 90},
    "hasty": {"terminationGracePeriodSeconds": 3},
    "job": {"job": True},
}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart of somebody's own that depends on ours."""
    made = tmp_path_factory.mktemp("shop")
    depends = {"name": "sidegate", "version": "0.1.0", "repository": ""}
    chart_yaml = {"apiVersion": "v2", "name": "shop", "version": "1.0.0", "dependencies": [depends]}
    (made / "Chart.yaml").write_text(yaml.safe_dump(chart_yaml))
    (made / "templates").mkdir()
    (made / "templates" / "pod.yaml").write_text(TEMPLATE)
    shutil.copytree(CHART, made / "charts" / "sidegate")
    return made


@pytest.mark.parametrize("kube_version", ["1.20.2", "1.30.0"])
@pytest.mark.parametrize("shape", PODS)
@pytest.mark.parametrize("name", VALUES)
def test_a_pod_rendered_with_the_library_is_the_one_that_would_be_injected(
    chart: Path, name: str, shape: str, kube_version: str
) -> None:
    upstream = {"upstream": {"url": "http://data.example.com/api"}}
    values = {"sidegate": {**upstream, **VALUES[name], "injector": {"enabled": False}}}
    values["sidecar"] = {"service": "orders", **PODS[shape]}
    ran = helm(
        "template",
        "shop",
        str(chart),
        "-n",
        "shop",
        "--kube-version",
        kube_version,
        "-f",
        "-",
        given=yaml.safe_dump(values),
    )
    plan = Plan(
        {
            **upstream,
            **VALUES[name],
            "kubeVersion": kube_version,
            "configMap": "shop-sidegate",
            "configMapNamespaces": ["*"],
        }
    )
    outcome = inject(bare(PODS[shape]), plan, namespace="shop", is_namespace_asking=True, version=__version__)
    if outcome.pod is None:
        assert name.startswith(
            "hostAliases"
        )  # a port below 1024 on an old server: the library cannot refuse pods
        return
    assert ran.returncode == 0, ran.stderr
    rendered = next(d for d in yaml.safe_load_all(ran.stdout) if d and d["kind"] == "Pod")
    wanted = outcome.pod
    for added in ("sidegate.dev/status", "kubectl.kubernetes.io/default-container"):
        wanted["metadata"]["annotations"].pop(added, None)
    rendered["metadata"]["annotations"] = rendered["metadata"]["annotations"] or {}
    rendered["metadata"].setdefault("labels", {})
    assert sorted_env(rendered) == sorted_env(wanted)


def test_redirect_which_the_library_has_no_container_for_is_refused(chart: Path) -> None:
    """The pod came out with a sidecar that no call reached."""
    values = {"upstream": {"url": "http://data.example.com"}, "capture": {"mode": "redirect"}}
    given = yaml.safe_dump({"sidegate": values, "sidecar": {"service": "orders"}})
    ran = helm("template", "shop", str(chart), "-f", "-", given=given)
    assert ran.returncode != 0
    assert "capture.mode redirect: these templates have no container for it" in ran.stderr


def bare(shape: dict[str, Any]) -> dict[str, Any]:
    """The pod before anything is done to it."""
    spec: dict[str, Any] = {"containers": [{"name": "app", "image": "shop/orders:1"}]}
    if "terminationGracePeriodSeconds" in shape:
        spec["terminationGracePeriodSeconds"] = shape["terminationGracePeriodSeconds"]
    if shape.get("job"):
        spec["restartPolicy"] = "Never"
    metadata = {"name": "orders", "labels": {"app": "orders"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def sorted_env(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod with variables by name: their order means nothing here, for none refers to another."""
    pod["metadata"].get("labels", {}).pop("app", None)
    for key in ("initContainers", "containers"):
        for container in pod["spec"].get(key, ()):
            if "env" in container:
                container["env"].sort(key=lambda item: str(item["name"]))
    return pod
