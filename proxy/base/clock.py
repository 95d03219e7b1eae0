"""Time as a dependency. The only real clocks of the program are made here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one to measure with, one to compare with dates that strangers write."""

    @property
    def monotonic(self) -> Callable[[], float]:
        """Seconds, never going back; finer than the event loop's whole milliseconds."""

    @property
    def wall(self) -> Callable[[], float]:
        """Unix seconds; for HTTP dates and log lines only."""


class SystemClock:
    """The machine's clocks. Attributes, not methods: the path of a call reads them four times."""

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    wall: Callable[[], float] = staticmethod(time.time)
