"""Every shape of golden/: patch, reason or refusal to the letter; the patch applies; a second time changes nothing."""

from __future__ import annotations

import base64
import copy
import json

import jsonpatch
import pytest

from proxy.inject.eligible import Skip
from proxy.inject.pod import inject
from proxy.inject.review import answer
from tests.inject.golden import VERSION, Golden, names, read


@pytest.fixture(params=names())
def golden(request: pytest.FixtureRequest) -> Golden:
    return read(request.param)


def test_there_are_many_and_each_says_why() -> None:
    assert len(names()) >= 50
    for name in names():
        assert read(name).why.startswith("# "), name


def test_what_comes_out_is_what_is_expected(golden: Golden) -> None:
    assert golden.found() == golden.expect, (
        f"look closely; if it is right: python -m tests.inject.golden {golden.name}"
    )


def test_the_patch_applies_and_injecting_again_changes_nothing(golden: Golden) -> None:
    outcome = golden.outcome()
    if outcome.pod is None:
        return
    before = copy.deepcopy(golden.pod)
    patched = jsonpatch.apply_patch(golden.pod, golden.expect["patch"])
    assert golden.pod == before
    assert patched == outcome.pod
    again = inject(
        patched, golden.plan, namespace=golden.namespace, is_namespace_asking=golden.is_asked, version=VERSION
    )
    assert (again.skip, again.pod) == (Skip.ALREADY, None)


def test_the_webhook_answers_the_same(golden: Golden) -> None:
    request = {"uid": "1", "operation": "CREATE", "namespace": golden.namespace, "object": golden.pod}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    said, _ = answer(review, golden.plan, is_namespace_asking=golden.is_asked, version=VERSION)
    response = said["response"]
    assert response["allowed"] is ("refused" not in golden.expect)
    if "patch" in golden.expect:
        assert json.loads(base64.b64decode(response["patch"])) == golden.expect["patch"]
