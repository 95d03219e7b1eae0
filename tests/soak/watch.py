"""A process's memory over time, sampled in a thread."""

from __future__ import annotations

import statistics
import threading
from types import TracebackType
from typing import Self

from tests.e2e.daemon import Daemon


class MemoryWatch:
    """Samples the private resident memory of a process for as long as the block runs."""

    def __init__(self, daemon: Daemon, every_s: float) -> None:
        self.samples_kib: list[int] = []
        self._daemon = daemon
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(5)

    def _sample(self) -> None:
        while not self._over.wait(self._every_s):
            self.samples_kib.append(self._daemon.memory().anon_kib)

    def growth_kib(self) -> float:
        """From the second quarter of the time to the last: medians, so a short peak counts for nothing.

        The first quarter is warm-up: pools, buffers and the allocator's arenas fill once.
        """
        quarter = len(self.samples_kib) // 4
        if quarter == 0:
            raise ValueError(f"{len(self.samples_kib)} samples are too few to tell")
        early = statistics.median(self.samples_kib[quarter : 2 * quarter])
        return statistics.median(self.samples_kib[-quarter:]) - early
