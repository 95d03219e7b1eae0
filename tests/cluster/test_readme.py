"""The README's Kubernetes section, word by word, on a cluster that has nothing but the image under the name the README uses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import images
from tests.cluster.node import Node
from tests.cluster.root import needs_root

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
README = images.REPOSITORY / "README.md"
NAME = "docker.io/library/sidegate:0.1.0"
"""What `sidegate:0.1.0` means to a kubelet."""


def blocks() -> list[str]:
    """The commands of the section, a block each, but for the one that builds the image, which images.py has done."""
    _, _, section = README.read_text(encoding="utf-8").partition("## In Kubernetes\n")
    section, _, _ = section.partition("\n## ")
    found = re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found[0].startswith("make image")
    return found[1:]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A new cluster with the image."""
    needs_root()
    images.podman("tag", images.sidecar(), NAME)
    with tempfile.TemporaryDirectory(prefix="sg") as folder, Node(Path(folder) / "n") as made:
        made.load(NAME)
        yield made


def test_the_section_works_word_by_word(node: Node) -> None:
    said = [run(node, block) for block in blocks()]
    installed, shown, fleet, changed, job, injected, _ = said
    assert "Phase:          Succeeded" in installed
    assert len(re.findall(r"2/2 +Running", shown)) == 8
    assert '"delivered": 400, "expected": 400, "errors": 0' in shown
    assert "sidegate_attempts_total{" in shown
    (pods,) = re.findall(r'"pods": ?(\d+)', fleet)
    assert int(pods) >= 7  # mail has a fixed limit and takes no share
    assert 'deployment "orders" successfully rolled out' in changed
    assert "job.batch/load condition met" in job
    assert "restartPolicy: Always" in injected
    assert node.get("pods", "-A")["items"] == []


def run(node: Node, commands: str) -> str:
    """Run a block as a user would who has helm, kubectl and sidegate on the PATH; return what it printed."""
    binaries = Path(sys.prefix)
    path = f"{binaries / 'kube'}:{binaries / 'bin'}:{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "KUBECONFIG": str(node.kubeconfig),
        "HOME": str(node.folder / "home"),
    }
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"set -m\n{commands}"],
        cwd=images.REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, f"{commands}\n{said}\n{node.kubectl('get', 'pods', '-A', check=False)}"
    print(f"$ {commands}{said}")
    return said
