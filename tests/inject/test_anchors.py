"""Manifests with anchors: what two places share stays shared, but for what comes into one of them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from proxy.inject.manifests import inject_all
from tests.inject.pods import plan

HEAD = "kind: Deployment\nmetadata:\n  name: x\n  labels: &labels {app: x}\nspec:\n  template:\n"
SHARED_LIST = (
    "    spec:\n      containers:\n      - name: a\n        env: &env   # shared\n        # the first\n"
    '        - {name: A, value: "1"}\n        resources: &r {limits: {cpu: 1}}\n'
    "      - name: b\n        env: *env\n        resources: *r\n"
)
MERGED = (
    '    spec:\n      containers:\n      - &a\n        name: a\n        env:\n        - {name: A, value: "1"}\n'
    "      - <<: *a\n        name: b\n      - <<: *a\n        name: c\n"
)
SHARED_ITEM = (
    "    spec:\n      containers:\n      - name: a\n        env:\n        - &no {name: NO_PROXY, value: corp.example}\n"
    "      - name: b\n        env:\n        - *no\n"
)
ANNOTATIONS = "    metadata:\n      labels: *labels\n      annotations: *labels\n    spec:\n      containers: [{name: a}]\n"


@pytest.mark.parametrize("below", [SHARED_LIST, MERGED, SHARED_ITEM, ANNOTATIONS])
def test_what_is_shared_becomes_what_it_would_be_written_out(below: str) -> None:
    """A list of variables that two containers share was given ours twice."""
    tree: Any = yaml.safe_load(HEAD + below)
    written_out = yaml.dump(tree, Dumper=_NoAliases)
    assert "*" not in written_out
    done, expected = (inject_all(text, plan(), version="1").text for text in (HEAD + below, written_out))
    assert yaml.safe_load(done) == yaml.safe_load(expected)
    assert inject_all(done, plan(), version="1").text == done


def test_a_pod_that_is_left_alone_keeps_its_anchors() -> None:
    text = HEAD + "    metadata: {labels: {sidegate.dev/inject: 'false'}}\n" + SHARED_LIST
    assert inject_all(text, plan(), version="1").text == text


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
