"""Kept connections: the most recently used first, bounded, none handed out that is closed or has something to read.

Every connection is in exactly one place: opening, busy, idle, or lost. ``open_count`` counts the first three.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from proxy.attempt.connect import Connector
from proxy.attempt.connection import Connection, Ends
from proxy.base.deadlines import Deadlines

_LEAST_AGE: Final = 0.9


class PoolObserver(Protocol):
    """Hears of connections."""

    def connection_opened(self, dns_s: float, connect_s: float, tls_s: float) -> None:
        """One was made."""

    def connection_closed(self, side: str, why: str, requests: int) -> None:
        """One is gone; ``side`` is upstream or local, ``requests`` how many it carried."""


class Pool:
    """The connections to one upstream."""

    def __init__(
        self,
        connector: Connector,
        observer: PoolObserver,
        deadlines: Deadlines,
        *,
        monotonic: Callable[[], float],
        rng: random.Random,
        max_connections: int,
        idle_s: float,
        max_age_s: float,
        max_head_bytes: int = 256 << 10,
    ) -> None:
        self._connector = connector
        self._observer = observer
        self._deadlines = deadlines
        self._monotonic = monotonic
        self._rng = rng
        self._max_head_bytes = max_head_bytes
        self.max_connections = max_connections
        self.idle_s = idle_s
        self.max_age_s = max_age_s
        self.open_count = 0
        self.opening = 0
        self._idle: list[Connection] = []
        self._made: set[Ends | None] = set()
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def idle_count(self) -> int:
        """Connections that wait for work."""
        return len(self._idle)

    def has_made(self, ends: Ends) -> bool:
        """Whether a connection is one of this pool's: then the upstream leads back to this process.

        Both ends count: the kernel gives one port to connections that go to different places.
        """
        return ends in self._made

    def try_take(self, now: float) -> Connection | None:
        """Return the most recently used idle connection that is still good; None when there is none or others wait."""
        return None if self._waiters else self._pop_idle(now)

    def _pop_idle(self, now: float) -> Connection | None:
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.is_fresh_enough(now, self.idle_s, self.max_age_s):
                return connection
            self.discard(connection, self._why_not(connection, now))
        return None

    async def take(self, timeout_s: float, *, fresh: bool = False) -> Connection:
        """Return a connection, opening one where none is idle; ``fresh`` never reuses. ConnectError when that fails.

        Waits while ``max_connections`` are busy, in the order of arrival.
        """
        if self._waiters:
            await self._wait_for_room()
        while True:
            connection = None if fresh else self._pop_idle(self._monotonic())
            if connection is not None:
                return connection
            if self.open_count < self.max_connections:
                return await self._open(timeout_s)
            if fresh and self._idle:
                self.discard(self._idle.pop(0), "replaced")
                continue
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(room)
        try:
            await room
        except asyncio.CancelledError:
            if room.done() and not room.cancelled():
                self._wake_one()
            raise

    def _wake_one(self) -> None:
        while self._waiters:
            room = self._waiters.popleft()
            if not room.done():
                room.set_result(None)
                return

    async def open_raw(self, timeout_s: float) -> Connection:
        """Return a new connection that is to carry another protocol, whose server may speak first."""
        return await self._open(timeout_s, is_raw=True)

    async def _open(self, timeout_s: float, is_raw: bool = False) -> Connection:
        connection = Connection(
            self._deadlines,
            monotonic=self._monotonic,
            on_lost=self._lost,
            max_head_bytes=self._max_head_bytes,
        )
        if is_raw:
            connection.early = []
        connection.age_share = self._rng.uniform(_LEAST_AGE, 1.0)
        self.open_count += 1
        self.opening += 1
        try:
            timings = connection.timings = await self._connector.connect(connection, timeout_s)
            connection.opened_at = self._monotonic()
            if not connection.is_settled:
                self._made.add(connection.ends)
            self._observer.connection_opened(timings.dns_s, timings.connect_s, timings.tls_s)
        except BaseException:
            self._settle(connection, "local", "cancelled")
            if hasattr(connection, "transport"):
                connection.transport.abort()
            raise
        finally:
            self.opening -= 1
        return connection

    def give_back(self, connection: Connection, now: float) -> None:
        """Keep a connection whose exchange has ended cleanly."""
        connection.end(now)
        if connection.is_lost:
            return
        if self.open_count > self.max_connections:
            self.discard(connection, "surplus")
            return
        self._idle.append(connection)
        if self._waiters:
            self._wake_one()

    def discard(self, connection: Connection, why: str) -> None:
        """Close a connection that is of no further use."""
        connection.signal = None
        if not connection.is_lost:
            self._settle(connection, "local", why)
            if connection.splice is None:
                connection.transport.abort()
            else:
                connection.transport.close()  # what a tunnel's one end has said still goes to the other

    def _lost(self, connection: Connection) -> None:
        """The transport is gone (called once by each connection that was not settled before)."""
        if connection in self._idle:
            self._idle.remove(connection)
        self._settle(connection, "upstream", "idle" if connection.signal is None else "busy")

    def _settle(self, connection: Connection, side: str, why: str) -> None:
        """Count a connection out, once: uvloop does not tell of the end of one whose making was cancelled."""
        if connection.is_settled:
            return
        connection.is_settled = connection.is_lost = True
        self._deadlines.discard(connection)
        self._made.discard(connection.ends)
        self.open_count -= 1
        if hasattr(connection, "transport"):
            self._observer.connection_closed(side, why, connection.uses)
        self._wake_one()

    def _why_not(self, connection: Connection, now: float) -> str:
        """Return why a connection that was idle carries no more; what is wrong with one that is not old lies in its socket."""
        if connection.is_lost:
            return "stale"
        return connection.too_old(now, self.idle_s, self.max_age_s) or "readable"

    def sweep(self, now: float) -> None:
        """Close what has been idle or alive for too long. Called now and then; ``try_take`` checks again."""
        for connection in list(self._idle):
            why = connection.too_old(now, self.idle_s, self.max_age_s)
            if why:
                self._idle.remove(connection)
                self.discard(connection, why)

    async def close(self) -> None:
        """Close every idle connection and stop resolving."""
        while self._idle:
            self.discard(self._idle.pop(), "shutdown")
        await self._connector.resolver.close()

    def __repr__(self) -> str:
        return f"<Pool {self.open_count} open, {len(self._idle)} idle, {len(self._waiters)} waiting for room>"
