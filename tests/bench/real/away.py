"""An upstream that is well but for a moment every 5 to 12 s: gone from its port, or answering 500 to everything.

Run: ``python -m tests.bench.real.away {gone|bursts} PORT SEED``. In between it is the lab's pool of workers.

serving ──5 to 12 s──▶ troubled (0.7 to 1.3 s) ──▶ serving
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
import time

from proxy.lab.model import Decision, Request
from proxy.lab.models import REFUSAL_S, Pool
from proxy.lab.server import LOOPBACK, RESET_ON_CLOSE, Connection, Upstream

WELL_S = (5.0, 12.0)
TROUBLED_S = (0.7, 1.3)
WORKERS, QUEUE, SERVICE_S = 20, 16, 0.125
"""160 pages a second."""


class Bursts(Pool):
    """A pool that answers 500 to whatever arrives while it is troubled."""

    name = "bursts"
    is_troubled = False

    def arrive(self, now: float, request: Request) -> Decision:
        """500 at once in a burst, else what the pool does."""
        if self.is_troubled:
            return Decision(500, REFUSAL_S, "burst")
        return super().arrive(now, request)


class Resettable(Connection):
    """A connection that its server can reset."""

    def __init__(self, upstream: Upstream, opened: set[Resettable]) -> None:
        super().__init__(upstream, 0)
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opened.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._opened.discard(self)

    def reset(self) -> None:
        """End it as the kernel does for a process that is killed with bytes unread."""
        held = self._transport.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._transport.abort()


async def serve(kind: str, port: int, seed: int) -> None:
    """Serve until killed; prints the ready line once it listens."""
    loop = asyncio.get_running_loop()
    rng = random.Random(f"{seed}/{kind}")
    model = Bursts(rng=random.Random(seed), workers=WORKERS, queue=QUEUE, service_s=SERVICE_S)
    started = time.monotonic()
    upstream = Upstream(model, lambda: time.monotonic() - started)
    opened: set[Resettable] = set()

    async def listen() -> asyncio.Server:
        return await loop.create_server(lambda: Resettable(upstream, opened), LOOPBACK, port, backlog=1024)

    server = await listen()
    print(json.dumps({"event": "ready"}), flush=True)
    while True:
        await asyncio.sleep(rng.uniform(*WELL_S))
        trouble_s = rng.uniform(*TROUBLED_S)
        if kind == "bursts":
            model.is_troubled = True
            await asyncio.sleep(trouble_s)
            model.is_troubled = False
            continue
        server.close()
        for each in list(opened):
            each.reset()
        await asyncio.sleep(trouble_s)
        server = await listen()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
