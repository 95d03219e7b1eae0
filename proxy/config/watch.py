"""Notices that the configuration file has changed, also when a ConfigMap's symlinks are swapped under it."""

from __future__ import annotations

import hashlib
from pathlib import Path


class FileWatch:
    """Compares a file's content with what it was. Asked once a second; reading a few KiB costs less than missing a swap.

    Stat times are not trusted: a ConfigMap's update keeps the path and may keep the size, and coarse file systems keep the
    time.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._seen = self._digest()

    def has_changed(self) -> bool:
        """Whether the content differs from the last time this was asked. A file that is gone for a moment has not changed."""
        digest = self._digest()
        if digest is None or digest == self._seen:
            return False
        self._seen = digest
        return True

    def _digest(self) -> bytes | None:
        try:
            return hashlib.sha256(self._path.read_bytes()).digest()
        except OSError:
            return None
