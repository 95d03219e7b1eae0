"""AdmissionReview in, AdmissionReview out: the patch makes of the given pod what was meant, whatever the pod."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given

from proxy.inject.patch import diff
from proxy.inject.review import NotAReview, answer
from tests.inject.hostile import anything, plans, pods
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


def as_text(value: Any) -> str:
    """A value with its types: 1 is not true. The order of keys says nothing."""
    return json.dumps(value, sort_keys=True)


@given(given=pods, values=plans)
def test_whatever_the_pod_it_never_crashes_and_the_patch_always_applies(
    given: dict[str, Any], values: dict[str, Any]
) -> None:
    """And a second time it is left alone; in mode none the app's containers are byte for byte what they were."""
    by = plan(**values)
    before = copy.deepcopy(given)
    said, outcome = answer(review(given), by, is_namespace_asking=True, version="1.2.3")
    assert as_text(given) == as_text(before)
    response = said["response"]
    assert response["allowed"] is (not outcome.problems)
    assert ("patch" in response) is (outcome.pod is not None)
    if "patch" not in response:
        return
    after = patched(given, response)
    assert as_text(after) == as_text(outcome.pod)
    again, _ = answer(review(after), by, is_namespace_asking=True, version="1.2.3")
    assert again["response"] == {"uid": "u-1", "allowed": True}
    if '"capture": "none"' in after["metadata"]["annotations"]["sidegate.dev/status"]:
        for key in ("containers", "initContainers"):
            others = [each for each in after["spec"].get(key) or () if each["name"] != "sidegate"]
            assert as_text(others) == as_text(given["spec"].get(key) or [])


@given(given=pods)
def test_whatever_the_pod_inject_never_crashes(given: dict[str, Any]) -> None:
    """As `sidegate inject` calls it, which has no API server to say what is wrong with a pod."""
    outcome = injected(given, PLAN)
    assert (outcome.pod is not None) + (outcome.skip is not None) + bool(outcome.problems) == 1


@given(before=anything, after=anything)
def test_a_patch_turns_any_value_into_any_other(before: Any, after: Any) -> None:
    """As the library applies it, which did not write it."""
    steps = list(diff({"it": before}, {"it": after}))
    assert json.dumps(jsonpatch.apply_patch({"it": before}, steps)) == json.dumps({"it": after}) or (
        jsonpatch.apply_patch({"it": before}, steps) == {"it": after}
    )
