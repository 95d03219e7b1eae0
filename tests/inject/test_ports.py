"""Ports that cannot be in a pod are refused; ones that only look so are not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.inject.pods import injected, plan, pod


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"listen": "127.0.0.1:0"}, "listen: port 0 picks a free one"),
        ({"ops": "0.0.0.0:8880"}, "ops: port 8880 is that of listen already"),
        ({"ops": "127.0.0.1:8881"}, "ops: the kubelet asks at the pod's address, not at 127.0.0.1"),
        ({"ops": "localhost:8881"}, "ops: the kubelet asks"),
        (
            {"capture": {"mode": "hostAliases", "port": 8882}},
            "admin: port 8882 is that of capture.port already",
        ),
    ],
)
def test_ports_that_cannot_be_are_refused(values: dict[str, Any], said: str) -> None:
    (problem,) = injected(pod(), plan(**values)).problems
    assert said in problem


@pytest.mark.parametrize(
    ("mode", "port", "is_refused"),
    [
        ("env", {"containerPort": 8881}, True),
        ("env", {"containerPort": 8881, "protocol": "TCP"}, True),
        ("env", {"containerPort": 8881, "protocol": "UDP"}, False),
        ("env", {"containerPort": 80}, False),
        ("env", {"containerPort": {}}, False),
        ("hostAliases", {"containerPort": 80}, True),
        ("hostAliases", {"containerPort": 8880}, False),
    ],
)
def test_only_what_the_sidecar_listens_on_is_taken(mode: str, port: dict[str, Any], is_refused: bool) -> None:
    """By hostAliases it listens at capture.port, and 8880 is the app's."""
    given = pod(spec={"containers": [{"name": "app", "ports": [port]}]})
    assert bool(injected(given, plan(capture={"mode": mode})).problems) is is_refused


def test_a_volume_of_our_name_is_refused() -> None:
    """The API server would refuse the second, and of a Deployment only its events would say so."""
    outcome = injected(pod(spec={"volumes": [{"name": "sidegate-config", "emptyDir": {}}]}))
    assert outcome.problems == [
        "spec.volumes: the pod has a volume sidegate-config already, which the sidecar brings"
    ]


def test_a_container_of_our_name_is_refused_where_we_bring_one() -> None:
    given = pod(spec={"initContainers": [{"name": "sidegate-redirect"}]})
    assert injected(given).pod is not None
    assert injected(given, plan(capture={"mode": "redirect"})).problems == [
        "the pod has a container sidegate-redirect already, which capture.mode redirect brings"
    ]
