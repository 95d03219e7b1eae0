"""Time that passes where everybody waits for it, and 10 µs in a turn of the loop: a busy machine takes none."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.fakes.loop import watched

T = TypeVar("T")

BEGINNING_S = 1000.0
"""When every trace begins."""
_TURN_S = 1e-5
"""So that who goes round until something has happened sees it happen."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer when nothing else is to be done. For coroutines among themselves, without sockets and threads."""

    def __init__(self) -> None:
        self.now = BEGINNING_S
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Return seconds."""
        return self.now


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("everybody waits, and there is no timer that would end it")
        self._loop.now += timeout if timeout and not ready else _TURN_S
        return ready


def run(trace: Coroutine[Any, Any, T]) -> T:
    """Run ``trace`` as ``tests.fakes.loop.run`` does, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return watched(trace, runner.run)


def now() -> float:
    """Return the running loop's time: what ``time.monotonic`` is elsewhere."""
    return asyncio.get_running_loop().time()
