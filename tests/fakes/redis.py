"""Real Redis and Valkey servers of a test's own, on loopback, without anything on disk that stays."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.fakes.loop import PATIENCE_S
from tests.fakes.ports import free_port
from tests.parts import require

KINDS = {"redis": "redis-server", "valkey": "valkey-server"}


class Server:
    """One server process. ``command`` is redis-server or valkey-server."""

    def __init__(self, command: str, directory: Path, *options: str, port: int | None = None) -> None:
        self._command = command
        self._directory = directory
        self._options = options
        self.port = free_port() if port is None else port
        self._popen: asyncio.subprocess.Process

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Return when it takes connections."""
        self._popen = await asyncio.create_subprocess_exec(
            self._command, *self._arguments(), cwd=self._directory,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            assert self._popen.returncode is None, f"{self._command} ended with {self._popen.returncode}"
            assert asyncio.get_running_loop().time() < end, f"{self._command} takes no connections"
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.01)

    def _arguments(self) -> Sequence[str]:
        return (
            "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--dir", str(self._directory), "--repl-diskless-sync-delay", "0", *self._options,
        )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    async def stop(self) -> None:
        """Kill it; no word to anybody."""
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._popen.send_signal(signal.SIGCONT)
                self._popen.kill()
        await self._popen.wait()

    async def ask(self, *words: Any, password: str | None = None) -> Any:
        """Return the answer to one command."""
        client = Redis(port=self.port, password=password, decode_responses=True)
        try:
            return await client.execute_command(*words)
        finally:
            await client.aclose()


class SentinelServer(Server):
    """A sentinel that watches ``primary`` under the name of ``board``."""

    def __init__(self, command: str, directory: Path, primary: Server) -> None:
        super().__init__(command, directory)
        self._file = directory / f"sentinel-{self.port}.conf"
        self._file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {directory}\nsentinel monitor board 127.0.0.1 {primary.port} 2\n"
            "sentinel down-after-milliseconds board 500\nsentinel failover-timeout board 2000\n"
        )

    def _arguments(self) -> Sequence[str]:
        return (str(self._file), "--sentinel")


class ClusterServer(Server):
    """A node of a cluster; ``join_up`` makes the cluster."""

    def __init__(self, command: str, directory: Path) -> None:
        self.bus = free_port()
        port = free_port()
        own = ("--cluster-enabled", "yes", "--cluster-node-timeout", "500", "--cluster-port", str(self.bus))
        super().__init__(command, directory, *own, "--cluster-config-file", f"nodes-{port}.conf", port=port)


async def join_up(primaries: Sequence[ClusterServer], replica: ClusterServer, key: str) -> ClusterServer:
    """Make a cluster of them; return the primary that has ``key``, which the replica follows."""
    each = 16384 // len(primaries)
    for number, node in enumerate(primaries):
        last = 16383 if node is primaries[-1] else (number + 1) * each - 1
        await node.ask("CLUSTER", "ADDSLOTSRANGE", number * each, last)
        await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    first = primaries[0]
    for node in (*primaries[1:], replica):
        await node.ask("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus)
    owner = primaries[min(int(await first.ask("CLUSTER", "KEYSLOT", key)) // each, len(primaries) - 1)]
    owner_id = await owner.ask("CLUSTER", "MYID")
    await _until(lambda: replica.ask("CLUSTER", "REPLICATE", owner_id))
    for node in (*primaries, replica):
        await _until(lambda node=node: _is_ok(node))  # type: ignore[misc]
    return owner


async def _is_ok(node: Server) -> None:
    info = str(await node.ask("CLUSTER", "INFO"))
    shards = await node.ask("CLUSTER", "NODES")
    assert "cluster_state:ok" in info
    assert "cluster_known_nodes:4" in info
    assert "slave" in str(shards)
    assert "handshake" not in str(shards)


async def _until(works: Callable[[], Awaitable[Any]]) -> None:
    """Call until it no longer fails."""
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            await works()
        except (RedisError, AssertionError):
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(0.02)
        else:
            return


async def watched(sentinel: Server) -> None:
    """Return when the sentinel knows a replica and two other sentinels."""

    async def ask() -> None:
        its = await sentinel.ask("SENTINEL", "MASTER", "board")
        assert (int(its["num-slaves"]), int(its["num-other-sentinels"])) == (1, 2)

    await _until(ask)


@contextlib.asynccontextmanager
async def running(*servers: Server) -> AsyncIterator[None]:
    """Start servers, and stop them in the end."""
    started: list[Server] = []
    try:
        for server in servers:
            started.append(server)
            await server.start()
        yield
    finally:
        for server in started:
            if hasattr(server, "_popen"):
                await server.stop()


@contextlib.asynccontextmanager
async def server(kind: str, directory: Path, *options: str) -> AsyncIterator[Server]:
    """One server of a kind, started; the test is skipped where it is not installed."""
    made = Server(require(KINDS[kind]), directory, *options)
    async with running(made):
        yield made


async def pass_time(
    server: Server, keys: Sequence[str], passed_s: float, password: str | None = None
) -> None:
    """Make everything on a fleet's board older by so much, as if time had passed there."""
    client = Redis(port=server.port, password=password)
    try:
        await client.eval(_PASS, len(keys), *keys, int(1000 * passed_s))
    finally:
        await client.aclose()


_PASS = """
local left = redis.call('PTTL', KEYS[1]) - ARGV[1]
if left > 0 then redis.call('PEXPIRE', KEYS[1], left) else redis.call('DEL', KEYS[1]) end
for _, pod in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('ZINCRBY', KEYS[2], -ARGV[1], pod) end
local at = redis.call('HGET', KEYS[4], 'at')
if at then redis.call('HSET', KEYS[4], 'at', string.format('%.0f', at - ARGV[1])) end
"""
