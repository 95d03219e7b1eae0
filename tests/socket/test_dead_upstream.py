"""An upstream that is dead for six seconds, in each way there is: the app sees no error, and the upstream no crowd."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from tests.fakes.house import House
from tests.fakes.loop import run, until
from tests.fakes.origin import Origin

THREADS = 8
LIMIT = 4
DEAD_S = 6.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"
FAILED = b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops"

pytestmark = pytest.mark.slow


class Server:
    """An upstream on one port that can die and come back; ``most`` is how many requests it had at once."""

    def __init__(self) -> None:
        self.port = 0
        self.answer = OK
        self.inflight = self.most = 0
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.Transport] = set()
        self._full: socket.socket | None = None
        self._fillers: list[socket.socket] = []

    async def open(self, sock: socket.socket | None = None) -> None:
        """Listen, on the port of before if there was one."""
        where: dict[str, Any] = {"sock": sock} if sock else {"host": "127.0.0.1", "port": self.port}
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), **where)
        self.port = self._server.sockets[0].getsockname()[1]

    def drop(self) -> None:
        """Refuse new connections and break off what there is."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in list(self._transports):
            transport.abort()

    def black_hole(self) -> None:
        """Answer no SYN: a listener with a full backlog."""
        self.drop()
        full = self._full = socket.socket()
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind(("127.0.0.1", self.port))
        full.listen(0)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self._fillers.append(filler)

    async def recover(self) -> None:
        """Be well again."""
        self.answer = OK
        self.most = 0
        for filler in self._fillers:
            filler.close()
        if self._server is None:
            await self.open(self._full)

    def close(self) -> None:
        self.drop()

    def made(self, transport: asyncio.Transport) -> None:
        self._transports.add(transport)

    def lost(self, transport: asyncio.Transport) -> None:
        self._transports.discard(transport)


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._server.made(self.transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.lost(self.transport)

    def data_received(self, data: bytes) -> None:
        server = self._server
        server.inflight += 1
        server.most = max(server.most, server.inflight)
        asyncio.get_running_loop().call_later(0.02, self._answer)

    def _answer(self) -> None:
        self._server.inflight -= 1
        if not self.transport.is_closing():
            self.transport.write(self._server.answer)


@pytest.mark.parametrize("death", ["refused", "all 500", "black hole"])
def test_six_seconds_of_a_dead_upstream(death: str) -> None:
    async def trace() -> None:
        server = Server()
        await server.open()
        origin = Origin()
        origin.port = server.port
        over: dict[str, Any] = {
            "limits": {"concurrency": {"mode": "fixed", "limit": LIMIT}},
            "retry": {"backoff": {"base": "100ms", "max": "10s"}, "budget": {"floor_per_s": 1}},
            "timeouts": {"connect": "1s", "total": "60s"},
            "queue": {"max_wait": "4s"},
        }
        async with House(origin, **over) as house:
            done = asyncio.Event()
            wrong: list[str] = []

            async def thread() -> None:
                app = await house.app()
                while not done.is_set():
                    await app.ask()
                    got = await app._answer(to_head=False)  # patience of its own: it is held for seconds
                    if got.status != 200:
                        wrong.append(repr(got))

            threads = [asyncio.ensure_future(thread()) for _ in range(THREADS)]
            await asyncio.sleep(1.0)
            died_at = time.monotonic()
            if death == "refused":
                server.drop()
            elif death == "black hole":
                server.black_hole()
            else:
                server.answer = FAILED
            await asyncio.sleep(DEAD_S)
            assert house.gate.is_closed
            closed_at = house.gate.closed_at
            await server.recover()
            await until(lambda: not house.gate.is_closed, "a probe comes back")
            opened = len(house.witness.calls)
            await asyncio.sleep(1.0)
            done.set()
            await asyncio.gather(*threads)
            assert len(house.witness.calls) - opened > 0.5 * LIMIT / 0.02, "it runs at full speed again"
            server.close()
        assert wrong == []
        assert closed_at - died_at < 5.0
        assert server.most <= LIMIT
        probes = [one for one in house.witness.attempts if one.kind == "probe"]
        assert 1 <= len(probes) <= 8
        assert all(late.started_at - early.started_at >= 1.0 for early, late in pairwise(probes))
        others = [
            one for one in house.witness.attempts if one.kind != "probe" and one.started_at > closed_at + 0.01
        ]
        assert min(one.started_at for one in others) >= probes[-1].ended_at

    run(trace())
