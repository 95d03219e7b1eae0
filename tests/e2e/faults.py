"""A layer of faults: passes calls on to an origin, answers some with 500 and cuts some bodies short.

Which call meets which fault is drawn from a seeded generator in the order the calls arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Self, TypeVar

Result = TypeVar("Result")

_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nfault\n"


@dataclass(slots=True)
class Tally:
    """How often each thing happened."""

    calls: int = 0
    errors: int = 0
    cuts: int = 0


class FaultLayer:
    """Listens on ``port`` in a thread of its own; carries requests without a body. A context manager."""

    def __init__(self, origin_port: int, *, error_ratio: float, cut_ratio: float, seed: int) -> None:
        self.tally = Tally()
        self._origin_port = origin_port
        self._error_ratio = error_ratio
        self._cut_ratio = cut_ratio
        self._rng = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._serving: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _close(self) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._origin_port)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one_call(reader, writer, up_reader, up_writer):
                    pass
        finally:
            self._serving.discard(task)
            up_writer.close()
            writer.close()

    async def _one_call(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> bool:
        """Carries one call; False when the connection is not to be used again."""
        request = await reader.readuntil(b"\r\n\r\n")
        self.tally.calls += 1
        drawn = self._rng.random()
        if drawn < self._error_ratio:
            self.tally.errors += 1
            writer.write(_ERROR)
            return True
        up_writer.write(request)
        head, body = await _read_answer(up_reader)
        if drawn < self._error_ratio + self._cut_ratio:
            self.tally.cuts += 1
            await self._cut(writer, head, body)
            return False
        writer.write(head + body)
        await writer.drain()
        return True

    async def _cut(self, writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
        """Sends the head and a part of the body, then ends the connection: in order, or with a reset."""
        writer.write(head + body[: self._rng.randrange(len(body))])
        await writer.drain()
        if self._rng.random() < 0.5:
            writer.transport.abort()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body as they are on the wire, chunk sizes and all."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in _fields(head)}
    if b"content-length" in fields:
        return head, await reader.readexactly(int(fields[b"content-length"]))
    body = bytearray()
    size = 1
    while size:
        line = await reader.readuntil(b"\r\n")
        size = int(line, 16)
        body += line + await reader.readexactly(size + 2)
    return head, bytes(body)


def _fields(head: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [line.partition(b":") for line in head.split(b"\r\n")[1:] if line]
