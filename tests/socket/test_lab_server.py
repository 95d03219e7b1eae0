"""The fragile upstream on real sockets: what it serves is whole, and what it breaks is really broken."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.lab.models import build_model
from proxy.lab.pages import page_fault
from proxy.lab.server import Upstream, start_servers
from tests.fakes.loop import soon


@asynccontextmanager
async def serving(name: str, **settings: object) -> AsyncIterator[int]:
    """A server of that model on a free port; waits until its connections are gone."""
    quick = {"service_s": 0.001, "service_cv": 0} | settings
    model = build_model(name, seed=1, settings={key: str(value) for key, value in quick.items()})
    upstream = Upstream(model, time.monotonic)
    servers = await start_servers(upstream)
    try:
        yield servers[0].sockets[0].getsockname()[1]
    finally:
        for server in servers:
            server.close()
        while upstream.stats.connections_open:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Wire:
    """A raw client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, target: str, *, method: str = "GET", more: str = "") -> None:
        self.writer.write(f"{method} {target} HTTP/1.1\r\nHost: lab\r\n{more}\r\n".encode())

    async def head(self) -> tuple[int, dict[str, str]]:
        block = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        lines = block.split("\r\n")
        return int(lines[0].split(" ")[1]), dict(line.split(": ") for line in lines[1:] if line)

    async def answer(self) -> tuple[int, bytes]:
        status, headers = await self.head()
        return status, await self.reader.readexactly(int(headers["Content-Length"]))


@asynccontextmanager
async def connected(port: int, address: str = "127.0.0.1") -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


async def stats(port: int) -> dict[str, Any]:
    async with connected(port) as wire:
        wire.send("/lab/stats", more="Connection: close\r\n")
        told: dict[str, Any] = json.loads((await wire.answer())[1])
        return told


def test_page_is_whole_and_connection_is_kept() -> None:
    async def scenario() -> None:
        async with serving("healthy") as port, connected(port) as wire:
            for page in (0, 1, 7):
                wire.send(f"/pages/{page}?size=5")
                status, body = await wire.answer()
                assert (status, page_fault(body, page, 5)) == (200, None)
            told = await stats(port)
            assert (told["attempts"], told["connections_opened"], told["by_status"]) == (3, 1, {"200": 3})

    asyncio.run(scenario())


def test_request_may_arrive_byte_by_byte_and_in_a_row() -> None:
    """Framing does not depend on how bytes are grouped; pipelined requests are answered in order."""

    async def scenario() -> None:
        async with serving("healthy") as port, connected(port) as wire:
            for byte in b"GET /pages/1?size=2 HTTP/1.1\r\nHost: lab\r\n\r\n":
                wire.writer.write(bytes([byte]))
                await asyncio.sleep(0)
            assert page_fault((await wire.answer())[1], 1, 2) is None
            for page in (2, 3):
                wire.send(f"/pages/{page}?size=2")
            for page in (2, 3):
                assert page_fault((await wire.answer())[1], page, 2) is None

    asyncio.run(scenario())


def test_head_is_get_without_the_body() -> None:
    async def scenario() -> None:
        async with serving("healthy") as port, connected(port) as wire:
            wire.send("/pages/1?size=2", method="HEAD")
            status, headers = await wire.head()
            wire.send("/pages/1?size=2")
            assert (status, int(headers["Content-Length"])) == (200, len((await wire.answer())[1]))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"GET /pages/x HTTP/1.1\r\n\r\n", 404),
        (b"GET /pages/1?size=0 HTTP/1.1\r\n\r\n", 400),
        (b"GET /pages/1?size=999999999999 HTTP/1.1\r\n\r\n", 400),
        (b"POST /pages/1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /pages/1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"x" * 17_000, 400),
    ],
)
def test_other_requests_are_refused_and_not_counted(request_bytes: bytes, status: int) -> None:
    async def scenario() -> None:
        async with serving("healthy") as port:
            async with connected(port) as wire:
                wire.writer.write(request_bytes)
                assert (await wire.head())[0] == status
            assert (await stats(port))["attempts"] == 0

    asyncio.run(scenario())


def test_overflow_is_a_fast_500_with_its_cause() -> None:
    async def scenario() -> None:
        async with serving("pool", workers=1, queue=0, service_s=0.2) as port:
            async with connected(port) as first, connected(port) as second:
                first.send("/pages/1")
                await asyncio.sleep(0.02)
                second.send("/pages/2")
                assert await second.answer() == (500, b'{"error":"overflow"}')
                assert (await first.answer())[0] == 200
            told = await stats(port)
            assert told["by_status"] == {"500": 1, "200": 1}
            assert (told["max_in_flight"], told["in_flight"], told["connections_opened"]) == (2, 0, 2)

    asyncio.run(scenario())


def test_cut_body_with_content_length_ends_early() -> None:
    """The head promises more bytes than come before the connection ends."""

    async def scenario() -> None:
        async with serving("truncated", p=1, chunked=0) as port:
            async with connected(port) as wire:
                wire.send("/pages/1")
                status, headers = await wire.head()
                body = await wire.reader.read()
                assert status == 200
                assert len(body) < int(headers["Content-Length"])
            assert (await stats(port))["by_status"] == {"cut": 1}

    asyncio.run(scenario())


def test_cut_chunked_body_has_no_last_chunk() -> None:
    async def scenario() -> None:
        async with serving("truncated", p=1, chunked=1) as port, connected(port) as wire:
            wire.send("/pages/1")
            _, headers = await wire.head()
            body = await wire.reader.read()
            assert headers["Transfer-Encoding"] == "chunked"
            assert not body.endswith(b"0\r\n\r\n")

    asyncio.run(scenario())


def test_whole_chunked_body_is_the_page() -> None:
    async def scenario() -> None:
        async with serving("truncated", p=0, chunked=1) as port, connected(port) as wire:
            wire.send("/pages/1?size=50")
            await wire.head()
            body = b""
            while length := int(await wire.reader.readline(), 16):
                body += (await wire.reader.readexactly(length + 2))[:-2]
            assert page_fault(body, 1, 50) is None

    asyncio.run(scenario())


def test_head_request_is_never_cut() -> None:
    async def scenario() -> None:
        async with serving("truncated", p=1, chunked=0) as port, connected(port) as wire:
            wire.send("/pages/1", method="HEAD")
            assert (await wire.head())[0] == 200
            wire.send("/pages/1", method="HEAD")
            assert (await wire.head())[0] == 200

    asyncio.run(scenario())


def test_idle_connection_is_closed() -> None:
    """After an answer and before any, an idle connection ends without a byte."""

    async def scenario() -> None:
        idle = serving("idle-closing", idle_s=0.05, jitter_s=0, race_s=0.01)
        async with idle as port, connected(port) as used, connected(port) as unused:
            used.send("/pages/1")
            assert (await used.answer())[0] == 200
            assert await soon(used.reader.read()) == b""
            assert await soon(unused.reader.read()) == b""

    asyncio.run(scenario())


def test_busy_connection_is_not_idle() -> None:
    async def scenario() -> None:
        idle = serving("idle-closing", service_s=0.1, idle_s=0.03, jitter_s=0, race_s=0)
        async with idle as port, connected(port) as wire:
            for page in range(3):
                wire.send(f"/pages/{page}")
                assert (await wire.answer())[0] == 200

    asyncio.run(scenario())


def test_call_that_races_the_close_is_reset_without_an_answer() -> None:
    """Sent after the server made up its mind, before the client could know: the call is lost, and counted."""

    async def scenario() -> None:
        async with serving("idle-closing", idle_s=0.03, jitter_s=0, race_s=0.1) as port:
            async with connected(port) as wire:
                await asyncio.sleep(0.07)
                wire.send("/pages/1")
                with pytest.raises(ConnectionResetError):
                    await wire.reader.read()
            assert (await stats(port))["by_why"] == {"idle close": 1}

    asyncio.run(scenario())


def test_one_of_four_addresses_fails() -> None:
    """All four are bound on one port; only the third of them answers 500."""

    async def scenario() -> None:
        async with serving("bad-address", p=1, bad=3) as port:
            statuses = []
            for last in (1, 2, 3, 4):
                async with connected(port, f"127.0.0.{last}") as wire:
                    wire.send("/pages/1")
                    statuses.append((await wire.answer())[0])
            assert statuses == [200, 200, 500, 200]

    asyncio.run(scenario())


def test_client_that_leaves_is_counted_and_its_work_goes_on() -> None:
    """A server does not notice: the worker stays busy to the end."""

    async def scenario() -> None:
        async with serving("pool", workers=1, queue=0, service_s=0.15) as port:
            async with connected(port) as wire:
                wire.send("/pages/1")
                await asyncio.sleep(0.02)
            async with connected(port) as second:
                second.send("/pages/2")
                assert (await second.answer())[0] == 500
            await asyncio.sleep(0.2)
            told = await stats(port)
            assert (told["client_gone"], told["in_flight"], told["by_status"]) == (
                1,
                0,
                {"500": 1, "none": 1},
            )

    asyncio.run(scenario())
