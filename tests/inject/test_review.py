"""AdmissionReview in, AdmissionReview out: the patch makes of the given pod what was meant, whatever the pod."""

from __future__ import annotations

import base64
import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.inject.patch import diff
from proxy.inject.review import NotAReview, answer
from tests.inject.pods import injected, plan, pod

PLAN = plan()


def review(given: Any, **over: Any) -> dict[str, Any]:
    request = {"uid": "u-1", "operation": "CREATE", "namespace": "shop", "object": given, **over}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def answered(given: Any, **over: Any) -> dict[str, Any]:
    said, _ = answer(review(given, **over), PLAN, is_namespace_asking=True, version="1.2.3")
    assert said["response"]["uid"] == "u-1"
    response: dict[str, Any] = said["response"]
    return response


def patched(given: dict[str, Any], response: dict[str, Any]) -> Any:
    return jsonpatch.apply_patch(given, json.loads(base64.b64decode(response["patch"])))


def test_the_patch_gives_the_pod_with_its_sidecar() -> None:
    response = answered(pod())
    assert response["allowed"] is True
    assert response["patchType"] == "JSONPatch"
    assert patched(pod(), response) == injected(pod()).pod


def test_a_refusal_says_every_rule_that_was_broken() -> None:
    response = answered(pod(metadata={"annotations": {"sidegate.dev/limits.rat": "1"}}))
    assert response["allowed"] is False
    assert response["status"]["message"] == "sidegate.dev/limits.rat: unknown key; did you mean rate?"
    assert "patch" not in response


@pytest.mark.parametrize(
    "over", [{"operation": "UPDATE"}, {"operation": "DELETE"}, {"subResource": "ephemeralcontainers"}]
)
def test_what_is_no_creation_is_let_through(over: dict[str, str]) -> None:
    response = answered(pod(), **over)
    assert response == {"uid": "u-1", "allowed": True}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"},
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"},
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": 3}},
        review(None),
        review([]),
        review({"kind": "Service"}),
    ],
)
def test_what_is_no_review_of_a_pod_is_said(body: Any) -> None:
    with pytest.raises(NotAReview):
        answer(body, PLAN, is_namespace_asking=True, version="1")


def test_a_pod_the_api_server_will_refuse_anyway_is_left_to_its_words() -> None:
    assert answered({"kind": "Pod", "spec": {"containers": "many"}}) == {"uid": "u-1", "allowed": True}


words = st.text(alphabet="abcxyz019.-_/", max_size=12)
scalars = st.none() | st.booleans() | st.integers(-5, 70000) | words
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
named = st.fixed_dictionaries(
    {"name": words}, optional={"image": words, "env": anything, "ports": anything, "lifecycle": anything}
)
good_env = st.lists(
    st.fixed_dictionaries({"name": words}, optional={"value": words, "valueFrom": st.just({"fieldRef": {}})}),
    max_size=3,
)
containers = st.lists(
    st.fixed_dictionaries(
        {"name": words.filter(bool)},
        optional={
            "env": good_env,
            "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(1, 9000)}), max_size=2),
        },
    ),
    min_size=1,
    max_size=3,
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "name": words,
        "labels": st.none()
        | st.dictionaries(words | st.sampled_from(["app", "sidegate.dev/inject"]), words, max_size=3),
        "annotations": st.none()
        | st.dictionaries(
            words
            | st.sampled_from(["sidegate.dev/limits.rate", "sidegate.dev/capture.mode", "sidegate.dev/"]),
            words,
            max_size=3,
        ),
    },
)
likely = st.fixed_dictionaries(
    {
        "metadata": metadata,
        "spec": st.fixed_dictionaries(
            {"containers": containers},
            optional={
                "initContainers": st.none() | containers,
                "volumes": st.none()
                | st.lists(st.fixed_dictionaries({"name": words.filter(bool)}), max_size=2),
                "hostAliases": anything,
                "securityContext": anything,
                "terminationGracePeriodSeconds": scalars,
                "restartPolicy": scalars,
                "hostNetwork": st.booleans(),
            },
        ),
    }
)
unlikely = st.fixed_dictionaries(
    {},
    optional={
        "metadata": anything,
        "spec": st.dictionaries(
            st.sampled_from(["containers", "initContainers", "volumes", "os"]),
            anything | st.lists(named, max_size=2),
            max_size=4,
        ),
    },
)


@given(
    given=likely | unlikely,
    mode=st.sampled_from(["env", "hostAliases", "redirect", "none"]),
    version=st.sampled_from(["1.20", "1.30"]),
)
def test_whatever_the_pod_it_never_crashes_and_the_patch_always_applies(
    given: dict[str, Any], mode: str, version: str
) -> None:
    by = plan(capture={"mode": mode}, kubeVersion=version)
    before = json.loads(json.dumps(given))
    said, outcome = answer(review(given), by, is_namespace_asking=True, version="1.2.3")
    assert given == before
    response = said["response"]
    assert response["allowed"] is (not outcome.problems)
    if "patch" in response:
        after = patched(given, response)
        assert after == outcome.pod
        again, _ = answer(review(after), by, is_namespace_asking=True, version="1.2.3")
        assert again["response"] == {"uid": "u-1", "allowed": True}


@given(before=anything, after=anything)
def test_a_patch_turns_any_value_into_any_other(before: Any, after: Any) -> None:
    """As the library applies it, which did not write it."""
    steps = list(diff({"it": before}, {"it": after}))
    assert json.dumps(jsonpatch.apply_patch({"it": before}, steps)) == json.dumps({"it": after}) or (
        jsonpatch.apply_patch({"it": before}, steps) == {"it": after}
    )
