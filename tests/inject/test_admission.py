"""An API server takes what comes out, and a pod that Pod Security "restricted" admits stays one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.inject.admission import invalid, not_restricted
from tests.inject.golden import Golden, injected, read
from tests.inject.pods import injected as inject
from tests.inject.pods import plan, pod

TIGHT = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("golden", injected(), ids=lambda golden: golden.name)
def test_every_shape_is_as_valid_as_it_was(golden: Golden) -> None:
    made = golden.outcome().pod
    assert made is not None
    assert (invalid(golden.pod), invalid(made)) == ([], [])


def restricted(given: dict[str, Any]) -> dict[str, Any]:
    """The pod, made such that "restricted" admits it."""
    made = copy.deepcopy(given)
    spec = made["spec"]
    spec["securityContext"] = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "sysctls": (spec.get("securityContext") or {}).get("sysctls") or [],
    }
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for each in spec.get(key) or ():
            each["securityContext"] = copy.deepcopy(TIGHT)
            each["ports"] = [port for port in each.get("ports") or () if "hostPort" not in port]
    spec["volumes"] = [volume for volume in spec.get("volumes") or () if "hostPath" not in volume]
    return made


@pytest.mark.parametrize("version", ["1.28", "1.29"])
@pytest.mark.parametrize("mode", ["env", "hostAliases", "none"])
@pytest.mark.parametrize("user", [8880, None])
def test_a_restricted_pod_stays_restricted(mode: str, version: str, user: int | None) -> None:
    """All shapes, all captures but redirect, both forms, with a user and without."""
    by = plan(capture={"mode": mode}, kubeVersion=version, runAsUser=user)
    looked_at = 0
    for golden in injected():
        given = restricted(golden.pod)
        assert not_restricted(given) == [], golden.name
        outcome = inject(given, by)
        if outcome.pod is not None:
            looked_at += 1
            assert not_restricted(outcome.pod) == [], golden.name
    assert looked_at > 40


def test_redirect_is_the_one_that_is_not_and_only_by_its_init_container() -> None:
    said = not_restricted(inject(restricted(pod()), plan(capture={"mode": "redirect"})).pod)  # type: ignore[arg-type]
    assert said
    assert all(line.startswith("container sidegate-redirect: ") for line in said)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("root-pod", "spec.securityContext.runAsUser"),
        ("root-pod", "container old: privileged"),
        ("host-network", "spec.hostNetwork"),
        ("host-network", "container node-exporter: hostPort"),
        ("daemonset", "volume logs: {'hostPath'}"),
        ("shared-processes", "container profiler: capabilities.add"),
        ("bare", "container bare: seccompProfile"),
        ("bare", "container bare: runAsNonRoot"),
        ("bare", "container bare: allowPrivilegeEscalation"),
    ],
)
def test_what_is_not_restricted_is_seen(name: str, said: str) -> None:
    """Or the test above would prove nothing."""
    assert said in not_restricted(read(name).pod)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"volumes": [{"name": "v"}, {"name": "v"}]}, "volume v: twice"),
        ({"initContainers": [{"name": "app"}]}, "container app: twice"),
        (
            {"initContainers": [{"name": "i", "lifecycle": {"x": 1}}]},
            "container i: lifecycle is not for init",
        ),
        (
            {"containers": [{"name": "a", "restartPolicy": "Always"}]},
            "container a: restartPolicy is for init",
        ),
        (
            {"containers": [{"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/"}]}]},
            "no volume is called v",
        ),
        (
            {"containers": [{"name": "a", "env": [{"name": "A", "value": "1", "valueFrom": {"x": 1}}]}]},
            "valueFrom",
        ),
        (
            {"containers": [{"name": "a", "ports": [{"name": "much-too-long-one", "containerPort": 1}]}]},
            "port much",
        ),
        (
            {"containers": [{"name": "a", "readinessProbe": {"httpGet": {"port": "ops"}}}]},
            "no port is called ops",
        ),
        ({"hostAliases": [{"hostnames": ["my_host"]}]}, "hostAliases: my_host"),
    ],
)
def test_what_is_invalid_is_seen(spec: dict[str, Any], said: str) -> None:
    assert any(said in line for line in invalid(pod(spec=spec)))
