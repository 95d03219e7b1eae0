"""A fast keep-alive client for soaks. It checks every body, and walks out of some calls at a random moment.

``python -m tests.soak.caller HOST:PORT --calls N --connections C --rude 0.1 --bodies FOLDER`` prints a tally as
JSON. The rude ways out are those that applications have: leaving while waiting or reading, leaving in the middle
of a request's head, and leaving in the middle of its body; by an orderly close or by a reset.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PATIENCE_S = (0.0, 0.001, 0.005, 0.02)
"""A rude client stays for at most one of these."""


@dataclass
class Tally:
    """``answered`` calls got the whole right body, ``left`` were walked out of; ``failed`` is everything else."""

    answered: int = 0
    left: int = 0
    failed: int = 0
    first_failure: str = ""


class Caller:
    """Starts exactly ``calls`` calls, over a fixed number of connections at a time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.tally = Tally()
        self.done = asyncio.Event()
        self.rng = random.Random(options.seed)
        self.rude: float = options.rude
        self.bodies = {f"/{file.name}": file.read_bytes() for file in options.bodies.iterdir()}
        self.paths = options.paths.split(",")
        self._host, _, port = options.address.partition(":")
        self._port = int(port)
        self._unstarted: int = options.calls
        self._open = 0
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self) -> bool:
        """Whether there is another call to start; starts counting it."""
        if self._unstarted == 0:
            return False
        self._unstarted -= 1
        return True

    def connect(self) -> None:
        task = self._loop.create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        self._open += 1
        try:
            await self._loop.create_connection(lambda: Connection(self, self._loop), self._host, self._port)
        except OSError as error:
            self.fail(f"connect: {error!r}")
            self.lost()

    def lost(self) -> None:
        """A connection is gone: another takes its place while there are calls to make."""
        self._open -= 1
        if self._unstarted:
            self.connect()
        elif self._open == 0:
            self.done.set()

    def fail(self, why: str) -> None:
        self.tally.failed += 1
        self.tally.first_failure = self.tally.first_failure or why


class Connection(asyncio.Protocol):
    """One kept connection: a call at a time, the next as soon as the last was answered."""

    def __init__(self, caller: Caller, loop: asyncio.AbstractEventLoop) -> None:
        self._caller = caller
        self._loop = loop
        self._received = bytearray()
        self._expected = b""
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass of it
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting:
            self._caller.fail(f"lost after {bytes(self._received[:80])!r}: {error!r}")
        self._waiting = False
        self._caller.lost()

    def _next(self) -> None:
        if not self._caller.take():
            self._transport.close()
            return
        path = self._caller.rng.choice(self._caller.paths)
        self._expected = self._caller.bodies[path]
        self._received.clear()
        self._waiting = True
        request = b"GET %b HTTP/1.1\r\nHost: soak\r\n\r\n" % path.encode()
        if self._caller.rude and self._caller.rng.random() < self._caller.rude:
            self._be_rude(request)
        else:
            self._transport.write(request)

    def _be_rude(self, request: bytes) -> None:
        rng = self._caller.rng
        kind = rng.choice(("leave", "leave", "half a head", "half a body"))
        if kind == "half a head":
            request = request[: rng.randrange(1, len(request))]
        elif kind == "half a body":
            request = request.replace(b"GET", b"POST").replace(
                b"\r\n\r\n", b"\r\nContent-Length: 9999\r\n\r\nhalf"
            )
        self._transport.write(request)
        self._loop.call_later(rng.uniform(0, rng.choice(_PATIENCE_S)), self._leave)

    def _leave(self) -> None:
        if self._waiting:
            self._waiting = False
            self._caller.tally.left += 1
        if self._caller.rng.random() < 0.5:
            self._transport.abort()
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._waiting:
            return
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = _LENGTH.search(self._received, 0, head_end)
        if length is None or len(self._received) >= head_end + 4 + int(length[1]):
            self._answered(head_end + 4)

    def _answered(self, body_start: int) -> None:
        self._waiting = False
        if self._received.startswith(b"HTTP/1.1 200") and self._received[body_start:] == self._expected:
            self._caller.tally.answered += 1
        else:
            self._caller.fail(f"answer: {bytes(self._received[:200])!r}")
        self._next()


async def call(options: argparse.Namespace) -> Tally:
    caller = Caller(options)
    for _ in range(options.connections):
        caller.connect()
    await asyncio.wait_for(caller.done.wait(), options.within_s)
    return caller.tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rude", type=float, default=0.0, help="share of calls that are walked out of")
    parser.add_argument("--paths", default="/1KiB")
    parser.add_argument("--bodies", type=Path, required=True, help="what each path must answer, as files")
    parser.add_argument("--within-s", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps(asdict(uvloop.run(call(options)))))


if __name__ == "__main__":
    main()
