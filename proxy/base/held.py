"""How many bytes of bodies are kept, and who waits until there is room: the whole process has one bound.

    room ── take: held grows ──▶ full: who comes waits, in the order of arrival ── give ──▶ room

Nobody knows how large an answer will be. What is taken for it beforehand is what answers were of late: the largest of them,
less two per cent for each that came since. The first is taken to be as large as an answer that is kept may be.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import Final

_DECAY: Final = 0.98
_SHARE: Final = 3
"""Bodies get a third of the memory: the rest is for the program, for heads, buffers, and what malloc keeps."""
_CGROUP_FILES: Final = ("memory.max", "memory/memory.limit_in_bytes")
_NO_LIMIT: Final = 1 << 60


class HeldBytes:
    """One bound. ``held`` is in bytes; one body is always let in, however large.

    ``usual`` is what to take for an answer whose size is not known, in bytes.
    """

    __slots__ = ("_waiters", "held", "limit", "usual")

    def __init__(self, limit: int, usual: int) -> None:
        self.limit = limit
        self.held = 0
        self.usual = float(usual)
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiters)

    def note(self, size: int) -> None:
        """An answer had ``size`` bytes."""
        self.usual = max(float(size), self.usual * _DECAY)

    def try_take(self, count: int) -> bool:
        """Take ``count`` bytes if there is room and nobody waits; whether they were taken."""
        if self._waiters or (self.held and self.held + count > self.limit):
            return False
        self.held += count
        return True

    async def take(self, count: int) -> None:
        """Take ``count`` bytes, waiting for room. Cancelling takes none."""
        if self.try_take(count):
            return
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((count, ready))
        try:
            await ready
        except asyncio.CancelledError:
            if ready.done() and not ready.cancelled():
                self.give(count)
            else:
                self._let_in()  # which passes over whoever has left
            raise

    def grow(self, count: int) -> None:
        """More came than was taken, or less (below 0): it is held whether there is room or not."""
        self.held += count
        if count < 0:
            self._let_in()

    def give(self, count: int) -> None:
        """``count`` bytes are held no longer."""
        self.held -= count
        if self._waiters:
            self._let_in()

    def _let_in(self) -> None:
        waiters = self._waiters
        while waiters:
            count, ready = waiters[0]
            if not ready.done():
                if self.held and self.held + count > self.limit:
                    return
                self.held += count
                ready.set_result(None)
            waiters.popleft()

    def __repr__(self) -> str:
        return f"<HeldBytes {self.held} of {self.limit}, {len(self._waiters)} waiting>"


def memory_limit(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that this process may use: its cgroup's limit (v2, v1), or what the machine has."""
    for name in _CGROUP_FILES:
        try:
            said = (root / name).read_text().strip()
        except OSError:
            continue
        if said.isdigit() and int(said) < _NO_LIMIT:
            return int(said)
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) << 10
    return _NO_LIMIT


def room_for_bodies() -> int:
    """Return how many bytes of bodies this process may keep where nobody says so."""
    return memory_limit() // _SHARE
