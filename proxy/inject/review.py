"""AdmissionReview v1 in, AdmissionReview v1 out. A value for a value; the server around it only carries bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from proxy.inject.options import Plan
from proxy.inject.patch import diff
from proxy.inject.pod import Outcome, inject, malformed

API_VERSION = "admission.k8s.io/v1"
_MOST_OF_A_WARNING = 256
"""Characters of a warning that the API server passes on whole."""


class NotAReview(Exception):
    """The body is no AdmissionReview v1 of a pod; the text says what was expected."""


def answer(
    review: Any, plan: Plan, *, is_namespace_asking: bool, version: str
) -> tuple[dict[str, Any], Outcome]:
    """Return the review that answers ``review``, and what became of the pod; NotAReview where it is none."""
    request = _request(review)
    uid = request["uid"]
    if request.get("operation") != "CREATE" or request.get("subResource"):
        return _review({"uid": uid, "allowed": True}), Outcome()
    pod = request.get("object")
    if not isinstance(pod, Mapping) or pod.get("kind", "Pod") != "Pod":
        raise NotAReview("request.object: expected a Pod")
    if malformed(pod):
        return _review(
            {"uid": uid, "allowed": True}
        ), Outcome()  # the API server has better words for what is wrong with it
    outcome = inject(
        pod,
        plan,
        namespace=str(request.get("namespace", "")),
        is_namespace_asking=is_namespace_asking,
        version=version,
    )
    response: dict[str, Any] = {"uid": uid, "allowed": not outcome.problems}
    if outcome.problems:
        response["status"] = {"code": 422, "reason": "Invalid", "message": "; ".join(outcome.problems)}
    if outcome.warnings:
        response["warnings"] = [text[:_MOST_OF_A_WARNING] for text in outcome.warnings]
    if outcome.pod is not None:
        patch = list(diff(pod, outcome.pod))
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
    return _review(response), outcome


def _request(review: Any) -> Mapping[str, Any]:
    if not isinstance(review, Mapping) or review.get("kind") != "AdmissionReview":
        raise NotAReview("expected an AdmissionReview")
    if review.get("apiVersion") != API_VERSION:
        raise NotAReview(f"apiVersion: expected {API_VERSION} (got {review.get('apiVersion')!r})")
    request = review.get("request")
    if not isinstance(request, Mapping) or not isinstance(request.get("uid"), str):
        raise NotAReview("request: expected a request with a uid")
    return request


def _review(response: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
