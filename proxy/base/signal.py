"""One waiter, many reasons to wake it: how protocols talk to the coroutine that serves a connection."""

from __future__ import annotations

import asyncio


class Signal:
    """An edge that one coroutine waits for. Firing with nobody waiting is forgotten: check your condition first.

    Cheaper than ``asyncio.Event``: no waiter list, no flag (a round through uvloop: 1.5 µs against 2.0 µs).
    """

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None

    def fire(self) -> None:
        """Wake the waiter, if there is one."""
        future = self._future
        if future is not None:
            self._future = None
            if not future.done():
                future.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        """Return the future of the next ``fire``. A second waiter would starve the first: there is only ever one."""
        future = self._future = self._loop.create_future()
        return future
