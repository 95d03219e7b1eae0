"""A whole sidecar between an app and an origin that are objects of the test: no socket, so its time can be virtual."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, cast

from proxy.accept.downstream import Downstream
from proxy.attempt.connect import Timings
from proxy.main import Sidecar
from tests.fakes.house import House, Witness, settings_for
from tests.fakes.loop import until
from tests.fakes.virtual import now

BUFFER = 64 << 10
"""What a connection holds of what its far end has not taken, before it asks its writer to pause."""
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


class Line(asyncio.Transport):
    """The sidecar's end of a connection. The far end takes what was ``written`` and gives bytes, as the test says."""

    def __init__(self, protocol: asyncio.Protocol, *, takes: bool) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self.written = bytearray()
        self.takes = takes
        """Whether the far end takes bytes as they come."""
        self.is_closed = False
        self.is_reading = True
        self.is_held_up = False
        """Whether the writer was asked to pause."""
        self.changed = asyncio.Event()
        self._untaken_bytes = 0
        self._unread: list[bytes] = []

    # the sidecar's side

    def write(self, data: Any) -> None:
        if self.is_closed:
            return
        self.written += data
        self.changed.set()
        if not self.takes:
            self._untaken_bytes += len(data)
            if self._untaken_bytes > BUFFER and not self.is_held_up:
                self.is_held_up = True
                self._protocol.pause_writing()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True
        unread, self._unread = self._unread, []
        for data in unread:
            self.give(data)
        self.changed.set()

    def get_write_buffer_size(self) -> int:
        return self._untaken_bytes

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def can_write_eof(self) -> bool:
        return False

    def abort(self) -> None:
        self.end()

    close = abort

    # the far end

    def give(self, data: bytes) -> None:
        """Send ``data`` to the sidecar."""
        self._loop.call_soon(self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self.is_closed:
            return
        if self.is_reading:
            self._protocol.data_received(data)
        else:
            self._unread.append(data)

    def take_all(self) -> None:
        """Take what was written, and from now on what comes."""
        self.takes = True
        self._untaken_bytes = 0
        if self.is_held_up:
            self.is_held_up = False
            self._protocol.resume_writing()

    def end(self, error: Exception | None = None) -> None:
        """Close, or reset by ``error``."""
        if not self.is_closed:
            self.is_closed = True
            self.changed.set()
            self._loop.call_soon(self._protocol.connection_lost, error)

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait until ``is_so``, asking at each change of this end."""
        while not is_so():
            self.changed.clear()
            await self.changed.wait()


Play = Callable[[Line, bytes], Awaitable[None]]


class IndoorOrigin:
    """Stands where the sidecar's connector stands; ``play`` answers each request, given its target."""

    port = 80
    url = "http://127.0.0.1:80"

    def __init__(self, play: Play, *, refuses: Exception | None = None) -> None:
        self.play = play
        self.refuses = refuses
        self.lines: list[Line] = []
        self.asked: list[bytes] = []
        self.resolver = self
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, protocol: asyncio.Protocol, timeout_s: float) -> Timings:
        """Open a connection, as ``Connector.connect`` does."""
        await asyncio.sleep(0)
        if self.refuses is not None:
            raise self.refuses
        line = Line(protocol, takes=True)
        protocol.connection_made(line)
        self.lines.append(line)
        self._tasks.append(asyncio.ensure_future(self._serve(line)))
        return Timings()

    async def _serve(self, line: Line) -> None:
        while True:
            await line.until(lambda: line.is_closed or b"\r\n\r\n" in line.written)
            if line.is_closed:
                return
            head, _, rest = bytes(line.written).partition(b"\r\n\r\n")
            line.written[:] = rest
            target = head.split(b" ")[1]
            self.asked.append(target)
            await self.play(line, target)

    async def close(self) -> None:
        """Close every connection."""
        for line in self.lines:
            line.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Clock:
    monotonic = staticmethod(now)
    wall = staticmethod(now)


class IndoorHouse(House):
    """``async with IndoorHouse(IndoorOrigin(play), limits=…) as house``: what ``House`` is, in virtual time."""

    def __init__(self, origin: IndoorOrigin, **over: Any) -> None:
        super().__init__(cast(Any, origin), **over)

    async def _open(self) -> None:
        settings = settings_for(self.origin.url, **self._over)
        loop = asyncio.get_running_loop()
        self.sidecar = Sidecar(settings, loop, clock=_Clock(), rng=random.Random(7))
        self.sidecar.pool._connector = cast(Any, self.origin)
        self.witness = Witness(self.sidecar.observer)
        self.sidecar.exchange._observer = self.sidecar.exchange.pauses._observer = self.witness

    def ask(self, target: bytes = b"/", *, takes: bool = True) -> Line:
        """Send a GET on a connection of its own, whose far end is the app."""
        protocol = Downstream(self.sidecar.listener, asyncio.get_running_loop())
        line = Line(protocol, takes=takes)
        protocol.connection_made(line)
        self.apps.append(cast(Any, line))
        line.give(GET % target)
        return line


async def head_on(line: Line) -> None:
    """Wait for an answer's head on the app's end."""
    await until(lambda: b"\r\n\r\n" in line.written, "the app has its head")
