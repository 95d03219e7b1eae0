"""An upstream that does what its script says, to the byte, and remembers what it was sent."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.loop import soon
from tests.fakes.ports import free_port

LIMIT = 1 << 20


class Gone(Exception):
    """The other side closed before the message ended."""


@dataclass
class Asked:
    """One request as it reached the origin. ``raw`` is head and body exactly as they came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    raw: bytes
    line: Line

    def header(self, name: str) -> str | None:
        """The first value of a header, None without one."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def names(self) -> list[str]:
        """All header names in lower case, in order."""
        return [name.lower() for name, _ in self.headers]


@dataclass(eq=False)
class Line:
    """One connection to the origin."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: bytearray = field(default_factory=bytearray)
    asked: int = 0

    async def head(self) -> bytes:
        """The next head, its empty line included; Gone when the other side closed."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.seen += getattr(error, "partial", b"")
            raise Gone from error
        self.seen += head
        return head

    async def exactly(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        try:
            data = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.seen += getattr(error, "partial", b"")
            raise Gone from error
        self.seen += data
        return data

    async def request(self) -> Asked:
        """The next request, body included."""
        head = await self.head()
        asked = read_head(head, self)
        if asked.header("transfer-encoding") == "chunked":
            body, raw = await self._chunks()
            asked.body, asked.raw = body, head + raw
        else:
            asked.body = await self.exactly(int(asked.header("content-length") or 0))
            asked.raw = head + asked.body
        self.asked += 1
        return asked

    async def _chunks(self) -> tuple[bytes, bytes]:
        body, raw = b"", b""
        while True:
            line = await self._crlf_line()
            size = int(line, 16)
            data = await self.exactly(size + 2)
            body, raw = body + data[:-2], raw + line + b"\r\n" + data
            if not size:
                return body, raw

    async def _crlf_line(self) -> bytes:
        try:
            line = await self.reader.readuntil(b"\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone from error
        self.seen += line
        return line[:-2]

    async def send(self, data: bytes) -> None:
        """Send ``data`` as far as the other side takes it."""
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        """Close in peace."""
        self.writer.close()

    def reset(self) -> None:
        """Close with a reset, whatever lies in the buffers."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_gone(self) -> None:
        """Wait until the other side has closed."""
        try:
            while data := await soon(self.reader.read(LIMIT)):
                self.seen += data
        except ConnectionError:
            pass


Step = bytes | Callable[[Line, Asked], Awaitable[None]]
"""What the origin does about one request: send these bytes, or play this part."""


def read_head(head: bytes, line: Line) -> Asked:
    """Read a request head by nothing but its line ends and colons."""
    first, *rest = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = []
    for text in rest:
        name, _, value = text.partition(":")
        headers.append((name, value.strip(" \t")))
    return Asked(method, target, headers, b"", head, line)


def answer(
    status: int = 200, body: bytes = b"", headers: Iterable[str] = (), *, phrase: str = "Said"
) -> bytes:
    """An answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status} {phrase}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*parts: bytes, headers: Iterable[str] = (), last: bytes = b"0\r\n\r\n") -> bytes:
    """An answer in chunks; an empty ``last`` cuts it."""
    lines = ["HTTP/1.1 200 OK", *headers, "Transfer-Encoding: chunked"]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + chunks + last


def cut(data: bytes) -> Step:
    """Send ``data`` and close in peace: a body that breaks off, or an answer that ends so."""

    async def play(line: Line, _: Asked) -> None:
        await line.send(data)
        line.close()

    return play


def reset(data: bytes = b"") -> Step:
    """Send ``data`` and reset the connection."""

    async def play(line: Line, _: Asked) -> None:
        if data:
            await line.send(data)
        line.reset()

    return play


def silence() -> Step:
    """Say nothing until the other side gives up."""

    async def play(line: Line, _: Asked) -> None:
        await line.until_gone()

    return play


def when(event: asyncio.Event, step: Step, arrived: asyncio.Event | None = None) -> Step:
    """Do ``step`` once ``event`` is set; ``arrived`` is set as soon as the request is here."""

    async def play(line: Line, asked: Asked) -> None:
        if arrived is not None:
            arrived.set()
        await soon(event.wait())
        await perform(step, line, asked)

    return play


async def perform(step: Step, line: Line, asked: Asked) -> None:
    """Do what a step says."""
    if isinstance(step, bytes):
        await line.send(step)
    else:
        await step(line, asked)


class Origin:
    """Serves its steps to requests in the order of their arrival, on whatever connection they come.

    After the last step every request is answered by ``then``. With ``plays``, a coroutine has each connection to itself instead.
    """

    def __init__(
        self,
        *steps: Step,
        then: Step = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nthen",
        plays: Callable[[Line], Awaitable[None]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._steps = list(steps)
        self._then = then
        self._plays = plays or self._serve
        self._tls = tls
        self.asked: list[Asked] = []
        self.lines: list[Line] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def seen(self) -> bytes:
        """Every byte it was ever sent."""
        return b"".join(bytes(line.seen) for line in self.lines)

    @property
    def targets(self) -> list[str]:
        """The targets it was asked for, in order."""
        return [asked.target for asked in self.asked]

    async def __aenter__(self) -> Origin:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. The port stays the origin's own when it hangs up."""
        self.port = port or self.port or free_port(host)
        self._server = await asyncio.start_server(
            self._connected, host, self.port, ssl=self._tls, limit=LIMIT
        )

    def hang_up(self) -> None:
        """Close the port; connections stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """Close the port and every connection."""
        self.hang_up()
        for line in self.lines:
            line.writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(len(self.lines), reader, writer)
        self.lines.append(line)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._plays(line)
        except (Gone, ConnectionError):
            pass
        except asyncio.CancelledError:
            return  # asyncio.streams would report the cancellation as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, line: Line) -> None:
        while True:
            asked = await line.request()
            self.asked.append(asked)
            step = self._steps.pop(0) if self._steps else self._then
            await perform(step, line, asked)
            if line.writer.is_closing():
                return
