"""What must fit into 256 MiB, the chart's limit: many bodies, many connections, many small pieces at once.

Each load has a sidecar of its own, in a cgroup of its own where root can make one. Outside of one the peak is what
the process says of itself, and the kernel kills nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.app import App, request
from tests.fakes.origin import Line, Origin, answer
from tests.fakes.process import Process
from tests.faults.scene import Scene, configuration

MIB = 1 << 20
LIMIT_BYTES = 256 * MIB
PATIENCE_S = 120.0
_CGROUPS = Path("/sys/fs/cgroup/memory")

ROOMY: Mapping[str, Any] = {
    "timeouts": {"connect": "5s", "response_head": "60s", "body_idle": "60s", "total": "5m"},
    "queue": {"max_wait": "60s", "max_waiting": 4096},
    "limits": {"concurrency": {"mode": "fixed", "limit": 256}},
    "body": {"verify_up_to": "1MiB", "replay_up_to": "1MiB", "held_in_all": "85MiB"},
    "pool": {"max_connections": 256},
    "downstream": {"head_timeout": "60s"},
}
"""The chart's defaults where they matter. ``held_in_all`` is a third of the container's memory, as it is unset in a pod."""

Load = Callable[[Scene], Awaitable[int]]
"""Loads a sidecar; returns how many of its calls ended as they should."""


@dataclass(frozen=True)
class MemoryRow:
    """A load, what serves it, and how many calls must end well."""

    load: str
    due: int
    play: Load
    plays: Callable[[Line], Awaitable[None]]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MemoryResult:
    """How many calls ended well, and the most memory the sidecar held; ``killed`` says that the kernel ended it."""

    row: MemoryRow
    ended: int
    peak_mib: int
    killed: bool

    @property
    def is_right(self) -> bool:
        """Whether all calls ended well within the limit."""
        return self.ended == self.row.due and not self.killed and self.peak_mib <= LIMIT_BYTES // MIB


@contextlib.contextmanager
def cgroup() -> Iterator[Path | None]:
    """A memory cgroup with the chart's limit; None where this user cannot make one."""
    try:
        made = Path(tempfile.mkdtemp(prefix="sidegate-", dir=_CGROUPS))
        (made / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    except OSError:
        yield None
        return
    try:
        yield made
    finally:
        made.rmdir()


async def loaded(row: MemoryRow, folder: Path) -> MemoryResult:
    """Start a sidecar, load it, and look how much it held."""
    origin = Origin(plays=row.plays)
    await origin.open()
    path = configuration(folder, origin.url, {**ROOMY, **row.settings})
    with cgroup() as group:
        async with Process(path, cgroup=group) as sidecar:
            ended = 0
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    ended = await row.play(Scene(sidecar, origin.port))
            killed = sidecar.has_ended
            peak = 0 if killed else sidecar.peak_bytes(group)
    await origin.close()
    return MemoryResult(row, ended, peak // MIB, killed)


def many(number: int, one: Callable[[Scene, int], Awaitable[bool]]) -> Load:
    """So many of these at the same time."""

    async def play(scene: Scene) -> int:
        return sum(await asyncio.gather(*(one(scene, index) for index in range(number))))

    return play


async def slow_reader(scene: Scene, _: int) -> bool:
    """Ask for ten MiB, take nothing for 3 s, then all of it."""
    app = await scene.app(receive_buffer=64 << 10)
    await app.ask("/ten-mib")
    await asyncio.sleep(3)
    return await _reads(app, 10 * MIB)


async def asks_for_a_mib(scene: Scene, _: int) -> bool:
    """Ask for a page that is just small enough to be verified."""
    app = await scene.app()
    await app.ask("/a-mib")
    return await _reads(app, MIB)


async def posts_a_megabyte(scene: Scene, index: int) -> bool:
    """Post a body that is kept, so that it can be sent again."""
    app = await scene.app()
    await app.ask("/post", "POST", [f"Idempotency-Key: {index}"], b"x" * 1_000_000)
    return await _reads(app, 2)


async def pipelines(scene: Scene, _: int) -> bool:
    """Send requests for as long as they are taken, without reading an answer, for 5 s at most."""
    app = await scene.app(receive_buffer=64 << 10)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            for _ in range(100):
                await app.send(request("/a-mib") * 1000)
    return not app.reader.at_eof()


async def idles(scene: Scene, _: int) -> bool:
    """One call, and then nothing for a while."""
    app = await scene.app()
    await app.ask("/small")
    ended = await _reads(app, 2)
    await asyncio.sleep(3)
    return ended


async def _reads(app: App, size: int) -> bool:
    """Whether an answer of ``size`` bytes comes whole. Bytes are counted and not kept: there are many apps."""
    async with asyncio.timeout(PATIENCE_S):
        head = (await app.reader.readuntil(b"\r\n\r\n")).lower()
        got = 0
        while got < size and (data := await app.reader.read(256 << 10)):
            got += len(data)
    return head.startswith(b"http/1.1 200 ") and got == size


def serving(body: bytes, after_s: float = 0.0) -> Callable[[Line], Awaitable[None]]:
    """Answer every request with ``body``."""
    whole = answer(body=body)

    async def plays(line: Line) -> None:
        while True:
            await line.request()
            line.seen.clear()
            await asyncio.sleep(after_s)
            await line.send(whole)

    return plays


async def in_small_chunks(line: Line) -> None:
    """Answer with one MiB in chunks of 16 bytes."""
    while True:
        await line.request()
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(64):
            await line.send(b"10\r\n0123456789abcdef\r\n" * 1024)
            await asyncio.sleep(0)
        await line.send(b"0\r\n\r\n")


MEMORY_ROWS = (
    MemoryRow("200 slow readers of 10 MiB", 200, many(200, slow_reader), serving(b"x" * 10 * MIB)),
    MemoryRow("200 slow readers of 10 MiB over 64 connections", 200, many(200, slow_reader), serving(b"x" * 10 * MIB),
              {"pool": {"max_connections": 64}, "limits": {"concurrency": {"mode": "fixed", "limit": 64}}}),
    MemoryRow("400 callers of verified pages of 1 MiB", 400, many(400, asks_for_a_mib), serving(b"x" * MIB)),
    MemoryRow("330 callers that post 1 MB", 330, many(330, posts_a_megabyte), serving(b"ok", after_s=0.5)),
    MemoryRow("60 answers of 1 MiB in chunks of 16 bytes", 60, many(60, asks_for_a_mib), in_small_chunks),
    MemoryRow("8 endless pipelines that nobody reads", 8, many(8, pipelines), serving(b"x" * MIB)),
    MemoryRow("1,000 idle clients", 1000, many(1000, idles), serving(b"ok")),
)  # fmt: skip


async def all_loaded() -> AsyncIterator[MemoryResult]:
    """Every load, one after the other."""
    for row in MEMORY_ROWS:
        with tempfile.TemporaryDirectory(prefix="sidegate-faults-") as folder:
            yield await loaded(row, Path(folder))
