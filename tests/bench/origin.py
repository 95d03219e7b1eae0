"""The origin: nginx serving files of fixed sizes from the page cache, the same for every peer."""

from __future__ import annotations

import random
from pathlib import Path

from tests.bench.peers import CONFIGS, start_configured
from tests.e2e.daemon import Daemon
from tests.parts import where

SIZES = {"1KiB": 1024, "100KiB": 100 * 1024, "1MiB": 1024 * 1024}


def write_files(folder: Path) -> dict[str, bytes]:
    """One file for each size, and what is in it."""
    noise = random.Random(7)
    bodies = {name: noise.randbytes(size) for name, size in SIZES.items()}
    (folder / "files").mkdir()
    for name, body in bodies.items():
        (folder / "files" / name).write_bytes(body)
    return bodies


def start_origin(folder: Path, *, core: int | None = None) -> tuple[Daemon, int]:
    """The process and its port; it serves ``/1KiB`` and the others that ``write_files`` wrote."""
    return start_configured(CONFIGS / "origin.conf", [where("nginx") or "nginx", "-c"], folder, 0, core)
