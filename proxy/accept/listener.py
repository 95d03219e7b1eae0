"""The port the app calls, and the connections made to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.accept.downstream import Downstream
from proxy.accept.rules import Rules
from proxy.accept.turned_away import TurnedAway
from proxy.attempt.connection import Ends
from proxy.base.deadlines import Deadlines
from proxy.base.listening import BACKLOG, listen_on, name_of
from proxy.base.reasons import Reason
from proxy.exchange import Exchange


class DownstreamListener:
    """Accepts the app's connections and keeps account of them."""

    def __init__(
        self,
        exchange: Exchange,
        rules: Rules,
        deadlines: Deadlines,
        *,
        monotonic: Callable[[], float],
        max_connections: int,
        max_head_bytes: int,
        max_headers: int,
        head_timeout_s: float,
        idle_s: float,
        on_refused: Callable[[int, Reason, str], None],
        has_made: Callable[[Ends], bool],
        bound: str = "downstream.max_connections",
    ) -> None:
        """``bound`` says in words what allows no more than ``max_connections``."""
        self.exchange = exchange
        self.rules = rules
        self.deadlines = deadlines
        self.monotonic = monotonic
        self.max_connections = max_connections
        self.max_head_bytes = max_head_bytes
        self.max_headers = max_headers
        self.head_timeout_s = head_timeout_s
        self.idle_s = idle_s
        self.is_draining = False
        self.request_refused = on_refused
        self.has_made = has_made
        self.connections: set[Downstream] = set()
        self.turned_away = TurnedAway(most=max_connections, bound=bound, monotonic=monotonic)
        self.turn_away = self.turned_away.refuse
        self._servers: list[asyncio.Server] = []

    async def open(self, host: str, port: int, loop: asyncio.AbstractEventLoop) -> tuple[str, int]:
        """Listen; return the address really bound. OSError when it is taken."""
        sockets = await asyncio.to_thread(listen_on, host, port)
        bound = name_of(sockets[0])
        for sock in sockets:
            self._servers.append(
                await loop.create_server(lambda: Downstream(self, loop), sock=sock, backlog=BACKLOG)
            )
        return bound

    def connection_opened(self, connection: Downstream) -> bool:
        """Note a new connection; False when there are too many."""
        if len(self.connections) >= self.max_connections:
            return False
        self.connections.add(connection)
        return True

    def connection_closed(self, connection: Downstream) -> None:
        """Forget a connection."""
        self.connections.discard(connection)

    @property
    def busy_count(self) -> int:
        """Connections with a call under way."""
        return sum(1 for connection in self.connections if connection.is_busy)

    def stop_accepting(self) -> None:
        """Close the port; connections stay."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    def close_idle(self) -> None:
        """Close every connection that has no call under way."""
        for connection in list(self.connections):
            connection.close_when_idle()

    def abort_all(self) -> None:
        """Close every connection at once."""
        for connection in list(self.connections):
            connection.abort()

    def __repr__(self) -> str:
        return f"<DownstreamListener {len(self.connections)} connections, {self.busy_count} busy>"
