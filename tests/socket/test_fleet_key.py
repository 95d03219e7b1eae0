"""A sidecar whose fleet's key is not to be had does not start, and says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("text", "told"), [(None, "No such file"), ("\n", "is empty")])
def test_key_that_cannot_be_read_ends_the_start_with_a_sentence(
    tmp_path: Path, text: str | None, told: str
) -> None:
    """It ended with a traceback; an empty file was a key that everybody could prove."""
    file = tmp_path / "key"
    if text is not None:
        file.write_text(text)
    argv = [sys.executable, "-m", "proxy", "run", "--upstream", "http://127.0.0.1:1"]
    argv += ["--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    argv += ["--set", "fleet.peers=[127.0.0.1:1]", "--set", f"fleet.key_file={file}"]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("sidegate: fleet.key_file: ")
    assert told in ran.stderr
    assert ran.stderr.count("\n") == 1
