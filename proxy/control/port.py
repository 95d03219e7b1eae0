"""A port of the operator's side: aiohttp behind a bound on connections and on their time.

Whoever reaches the port may open connections and say nothing. They take descriptors that the app's calls need. So there are
at most so many; one more takes the place of the one that has been idle longest, and a probe always gets in. A connection
without a request for a while is closed, whatever it trickles, and one whose answer is not read as well.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web

FIRST_REQUEST_S = 10.0
"""From the connection to the end of its first request's head."""

IDLE_S = 75.0
"""From an answer to the end of the next request's head. Longer than the usual minute between two scrapes."""

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Port:
    """Serves an application on listening sockets, to ``most`` connections at a time."""

    def __init__(self, app: web.Application, *, most: int) -> None:
        app.middlewares.insert(0, self._watching)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=1.0,
            keepalive_timeout=IDLE_S,
            lingering_time=1.0,
        )
        self._most = most
        self._servers: list[asyncio.Server] = []
        self._connections: dict[asyncio.BaseTransport, _Connection] = {}
        self.refused = 0
        """Connections that found no place, or lost theirs to another."""

    async def open(self, sockets: list[socket.socket]) -> None:
        """Serve on these sockets, which now belong to the port."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for sock in sockets:
            self._servers.append(await loop.create_server(self._connection, sock=sock))

    async def close(self) -> None:
        """Close sockets and connections."""
        for server in self._servers:
            server.close()
        await self._runner.cleanup()
        for connection in list(self._connections.values()):
            connection.abort()

    def _connection(self) -> _Connection:
        assert self._runner.server is not None
        return _Connection(self, cast(asyncio.Protocol, self._runner.server()))

    def opened(self, connection: _Connection) -> bool:
        """Give a new connection a place; whether there is one."""
        if len(self._connections) >= self._most:
            self.refused += 1
            idle = [each for each in self._connections.values() if not each.is_busy]
            if not idle:
                return False
            min(idle, key=lambda each: each.idle_since).abort()
        self._connections[connection.transport] = connection
        return True

    def closed(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._connections.pop(connection.transport, None)

    @web.middleware
    async def _watching(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        connection = self._connections.get(request.transport) if request.transport is not None else None
        if connection is None:
            return await handler(request)
        connection.begin()
        try:
            return await handler(request)
        finally:
            connection.end()


class _Connection(asyncio.Protocol):
    """Stands before aiohttp's own protocol and ends it when its time is up. A request being handled takes what it takes."""

    transport: asyncio.Transport

    def __init__(self, port: Port, inner: asyncio.Protocol) -> None:
        self._port = port
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._has_place = False
        self.idle_since = 0.0
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if not self._port.opened(self):
            self.transport.write(_FULL)
            self.transport.close()
            return
        self._has_place = True
        self._wait(FIRST_REQUEST_S)
        self._inner.connection_made(transport)

    def _wait(self, seconds: float) -> None:
        self.idle_since = self._loop.time()
        self._timer = self._loop.call_later(seconds, self.abort)

    def begin(self) -> None:
        """A request is being handled."""
        self.is_busy = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """Its answer is made; it has yet to be read."""
        self.is_busy = False
        if self._has_place and self._timer is None:
            self._wait(IDLE_S)

    def abort(self) -> None:
        """End it at once."""
        self._forget()
        self.transport.abort()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._has_place:
            self._has_place = False
            self._port.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._has_place:
            self._inner.data_received(data)

    def eof_received(self) -> Any:
        return self._inner.eof_received() if self._has_place else None

    def connection_lost(self, exc: Exception | None) -> None:
        was_made = self._has_place or self.idle_since > 0.0
        self._forget()
        if was_made:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
