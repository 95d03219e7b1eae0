"""A second opinion on the patches: what the API server's own Go code makes of each, by ``kubectl patch --local``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonpatch
import pytest
import yaml

from tests.inject.golden import Golden, injected
from tests.parts import where_in_kube

pytestmark = pytest.mark.kube


@pytest.mark.parametrize("golden", injected(), ids=lambda golden: golden.name)
def test_kubectl_applies_the_patch_to_the_same_pod(golden: Golden, tmp_path: Path) -> None:
    given, patch = tmp_path / "pod.yaml", tmp_path / "patch.json"
    given.write_text(yaml.safe_dump(golden.pod, allow_unicode=True), encoding="utf-8")
    patch.write_text(json.dumps(golden.expect["patch"]))
    command = [where_in_kube("kubectl"), "patch", "--local", "--type=json", "-o", "yaml"]
    ran = subprocess.run(
        [*command, "--patch-file", str(patch), "-f", str(given)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    outcome = golden.outcome()
    assert yaml.safe_load(ran.stdout) == outcome.pod
    assert jsonpatch.apply_patch(golden.pod, golden.expect["patch"]) == outcome.pod
