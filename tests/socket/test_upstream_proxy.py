"""An upstream behind a corporate proxy: every connection is a tunnel through it, and what it refuses is said in words."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.fakes.house import House
from tests.fakes.loop import run
from tests.fakes.origin import Origin, answer
from tests.socket.test_tls import bundle, server


class Corporate:
    """A proxy that tunnels to wherever it is asked, or says ``refusal``; it remembers the heads it was sent."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.refusal = refusal
        self.heads: list[bytes] = []
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Corporate]:
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listening.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.refusal:
            writer.write(self.refusal)
            writer.close()
            return
        host, _, port = head.split(b" ")[1].rpartition(b":")
        there, onward = await asyncio.open_connection(host.decode(), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
        with suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, onward), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()


def through(corporate: Corporate, origin: Origin, login: str = "", **over: Any) -> House:
    proxy = f"http://{login}127.0.0.1:{corporate.port}"
    return House(origin, upstream={"url": origin.url, "proxy": proxy, **over}, retry={"attempts": 2})


def test_calls_go_through_the_proxy_over_kept_tunnels() -> None:
    async def trace() -> None:
        origin = Origin()
        await origin.open()
        async with Corporate().open() as corporate, through(corporate, origin, "us%40er:p%3As@") as house:
            app = await house.app()
            assert [(await app.get()).body for _ in range(3)] == [b"then"] * 3
            [head] = corporate.heads
            lines = head.decode().split("\r\n")
            assert lines[0] == f"CONNECT 127.0.0.1:{origin.port} HTTP/1.1"
            assert f"Host: 127.0.0.1:{origin.port}" in lines
            assert f"Proxy-Authorization: Basic {base64.b64encode(b'us@er:p:s').decode()}" in lines
            assert "proxy-authorization" not in origin.asked[0].names()

    run(trace())


def test_tls_is_spoken_with_the_upstream_and_not_with_the_proxy(tmp_path: Path) -> None:
    async def trace() -> None:
        authority = trustme.CA()
        origin = Origin(tls=server(authority))
        await origin.open()
        tls = {"ca_file": bundle(authority, tmp_path / "ca.pem")}
        async with Corporate().open() as corporate, through(corporate, origin, tls=tls) as house:
            assert (await house.get()).status == 200
            assert corporate.heads[0].startswith(b"CONNECT ")
            assert b"Proxy-Authorization" not in corporate.heads[0]

    run(trace())


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (answer(403), "answered CONNECT with 403"),
        (answer(407), "answered CONNECT with 407, it wants a user and a password in upstream.proxy"),
        (b"HTTP/1.1 200 OK\r\n", "closed the connection instead of answering CONNECT"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "that is no HTTP/1 status line"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "sent bytes behind its answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "has no end"),
    ],
)
def test_a_proxy_that_gives_no_tunnel_is_a_connection_that_failed(refusal: bytes, words: str) -> None:
    """Nothing has been sent to the upstream, so a POST without a key is tried again too."""

    async def trace() -> None:
        origin = Origin()
        await origin.open()
        async with Corporate(refusal).open() as corporate, through(corporate, origin, "u:hunter2@") as house:
            got = await house.post("/", b"x")
            assert (got.status, got.reason, got.attempts) == (502, "connect_failed", 2)
            assert words in got.problem()["detail"]
            assert "hunter2" not in got.body.decode()
            assert "hunter2" not in str(await house.admin("/config"))
            assert origin.asked == []

    run(trace())


def test_a_proxy_that_says_nothing_costs_the_connect_timeout() -> None:
    async def trace() -> None:
        origin = Origin(plays=lambda line: line.until_gone())
        await origin.open()
        silent = Corporate()
        silent.port = origin.port
        house = through(silent, origin)
        house._over["timeouts"] = {"connect": "100ms"}
        async with house:
            got = await house.get()
            assert (got.status, got.reason) == (504, "connect_timeout")

    run(trace())
