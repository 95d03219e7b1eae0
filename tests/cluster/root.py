"""Who may run these tests."""

from __future__ import annotations

import os

import pytest


def needs_root() -> None:
    """Skip where this is not root; with ``CI=true`` fail."""
    if os.geteuid() != 0:
        note = "network namespaces and mounts take root"
        if os.environ.get("CI") == "true":
            pytest.fail(note, pytrace=False)
        pytest.skip(note)
