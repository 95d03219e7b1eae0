"""Calls for other hosts, tunnels and switched protocols: as they would be without a sidecar, but for the way that they take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.fakes.app import App
from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Asked, Line, Origin, answer, chunked


@asynccontextmanager
async def two(
    other: Origin, upstream: Origin | None = None, **over: Any
) -> AsyncIterator[tuple[House, Origin]]:
    """A sidecar before ``upstream``, and another host."""
    await other.open()
    try:
        async with House(upstream or Origin(), **over) as house:
            yield house, other
    finally:
        await other.close()


async def echo(line: Line, _: Asked | None = None) -> None:
    while data := await line.reader.read(1 << 16):
        await line.send(data.upper())
    line.close()


async def tunnel(house: House, port: int) -> App:
    app = await house.app()
    await app.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (port, port))
    return app


@asynccontextmanager
async def server(serve: Any) -> AsyncIterator[int]:
    """A raw server; yields its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                await serve(reader, writer)
        finally:
            writer.close()

    made = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield made.sockets[0].getsockname()[1]
    finally:
        made.close()
        await made.wait_closed()


def test_an_absolute_target_of_another_host_is_carried_there_as_it_is() -> None:
    """Its answer carries no line of ours, and nothing of it is the upstream's."""

    async def trace() -> None:
        said = answer(200, b"other", ["X-A: b", "Set-Cookie: a"])
        async with two(Origin(said, answer(500, b"no", ["Retry-After: 60"]))) as (house, other):
            app = await house.app()
            got = await app.get(
                f"http://127.0.0.1:{other.port}/a?b=%2F", "X-Of: app", "Connection: keep-alive"
            )
            assert (got.status, got.body) == (200, b"other")
            assert got.names() == ["x-a", "set-cookie", "content-length"]
            (asked,) = other.asked
            assert (asked.target, asked.header("host")) == ("/a?b=%2F", f"127.0.0.1:{other.port}")
            assert asked.names() == ["host", "x-of"]
            failed = await app.get(f"http://127.0.0.1:{other.port}/b")
            assert (failed.status, failed.body) == (500, b"no")
            assert (await app.get(f"http://127.0.0.1:{other.port}/c")).status == 200, (
                "no Retry-After of theirs holds"
            )
            assert [each.route for each in house.witness.calls] == ["passthrough"] * 3
            assert (await app.get("/upstream")).status == 200
            assert len(house.origin.asked) == 1
            assert house.limiter.successes == 1

    run(trace())


def test_bodies_go_both_ways_as_they_come() -> None:
    async def trace() -> None:
        async def play(line: Line, asked: Asked) -> None:
            await line.send(answer(200, asked.body))

        async with two(Origin(then=play)) as (house, other):
            app = await house.app()
            body = b"0123456789" * 500_000
            got = await app.post(f"http://127.0.0.1:{other.port}/", body)
            assert got.body == body
            await app.send(
                b"PUT http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                % other.port
                + b"3\r\nabc\r\n0\r\n\r\n"
            )
            assert (await app.answer()).body == b"abc"

    run(trace())


@pytest.mark.parametrize("says", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
def test_a_host_is_asked_itself_whether_it_takes_a_body(says: bytes) -> None:
    """Of a body in chunks it did not hear Expect, and the app got the sidecar's word for it."""

    async def trace() -> None:
        async with two(Origin(plays=_refuses)) as (house, other):
            app = await house.app()
            head = b"PUT http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n%b\r\nExpect: 100-continue\r\n\r\n"
            await app.send(head % (other.port, says))
            got = await app.answer()
            assert (got.status, got.interim, got.body) == (403, [], b"no")
            assert says in other.seen
            assert b"\r\nExpect: 100-continue\r\n" in other.seen

    async def _refuses(line: Line) -> None:
        await line.head()
        await line.send(answer(403, b"no"))
        await line.until_gone()

    run(trace())


def test_an_app_that_waits_for_no_100_is_not_kept_waiting_for_one() -> None:
    """The host hears that it expects one, and says nothing before it has the body."""

    async def trace() -> None:
        async with two(Origin(answer(200, b"taken"))) as (house, other):
            app = await house.app()
            head = b"PUT http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
            await app.send(head % other.port + b"abc")
            got = await app.answer()
            assert (got.body, got.interim) == (b"taken", [])
            assert other.asked[0].header("expect") == "100-continue"

    run(trace())


def test_an_empty_body_in_chunks_stays_one() -> None:
    async def trace() -> None:
        async with two(Origin()) as (house, other):
            app = await house.app()
            head = (
                b"PUT http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            )
            await app.send(head % other.port)
            assert (await app.answer()).status == 200
            assert other.asked[0].names() == ["host", "transfer-encoding"]

    run(trace())


def test_a_get_with_a_body_takes_no_connection_that_may_be_stale() -> None:
    """It streams and cannot be sent again, so a close that crosses it was a 502."""

    async def trace() -> None:
        async with two(Origin()) as (house, other):
            app = await house.app()
            url = f"http://127.0.0.1:{other.port}/_search"
            assert (await app.get(url)).status == 200
            await app.ask(url, body=b"{}")
            assert (await app.answer()).status == 200
            assert [asked.line.number for asked in other.asked] == [0, 1]

    run(trace())


@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_an_answer_in_chunks_stays_one(size: int) -> None:
    """It became one with a length where all of it had come in one piece, so an app got one or the other by chance."""

    async def trace() -> None:
        async with two(Origin(chunked(*[b"x" * size] if size else []), answer(200, b"next"))) as (
            house,
            other,
        ):
            app = await house.app()
            got = await app.get(f"http://127.0.0.1:{other.port}/")
            assert (got.body, got.names()) == (b"x" * size, ["transfer-encoding"])
            assert (await app.get(f"http://127.0.0.1:{other.port}/")).body == b"next"

    run(trace())


def test_a_host_that_takes_no_connection_is_502() -> None:
    async def trace() -> None:
        async with two(Origin()) as (house, other):
            other.hang_up()
            app = await house.app()
            got = await app.get(f"http://127.0.0.1:{other.port}/")
            assert (got.status, got.reason) == (502, "connect_failed")
            app = await tunnel(house, other.port)
            assert (await app.answer()).reason == "connect_failed"

    run(trace())


def test_connect_opens_a_tunnel_both_ways() -> None:
    """Bytes that came with the head go on first; what one end has said all of, the other may still answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data.upper())
            await writer.drain()
        writer.write(b"END")

    async def trace() -> None:
        async with server(serve) as port, House(Origin()) as house:
            app = await house.app()
            await app.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\nfirst" % port)
            assert (await soon(app.reader.readuntil(b"\r\n\r\n"))).startswith(b"HTTP/1.1 200 ")
            assert await soon(app.reader.readexactly(5)) == b"FIRST"
            large = b"x" * 3_000_000
            sending = asyncio.ensure_future(app.send(large))
            assert await soon(app.reader.readexactly(len(large))) == b"X" * len(large)
            await sending
            app.writer.write_eof()
            assert await app.rest() == b"END"
            await until(lambda: house.witness.calls, "it has ended")
            (call,) = house.witness.calls
            assert (call.route, call.status, str(call.reason)) == ("passthrough", 200, "ok")
            assert (call.bytes_out, call.bytes_in) == (len(large) + 5, len(large) + 8)
            assert house.sidecar.elsewhere.of(next(iter(house.sidecar.elsewhere._known))).pool.open_count == 0

    run(trace())


def test_a_server_that_speaks_first_is_heard() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        await reader.read()

    async def trace() -> None:
        async with server(serve) as port, House(Origin()) as house:
            app = await tunnel(house, port)
            await soon(app.reader.readuntil(b"\r\n\r\n"))
            assert await soon(app.reader.readexactly(11)) == b"220 ready\r\n"
            app.reset()
            await until(lambda: house.witness.calls, "it has ended")

    run(trace())


def test_what_an_app_said_before_it_left_goes_on() -> None:
    """It sends and closes at once; the server is slow, and has nothing to say."""
    body = b"z" * 4_000_000
    got = bytearray()

    async def trace() -> None:
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(64 << 10):
                got.extend(data)
                await asyncio.sleep(0.001)
            done.set()

        async with server(serve) as port, House(Origin()) as house:
            app = await tunnel(house, port)
            await soon(app.reader.readuntil(b"\r\n\r\n"))
            await app.send(body)
            app.writer.write_eof()
            app.close()
            await soon(done.wait())
            assert len(got) == len(body)

    run(trace())


@pytest.mark.parametrize("slow", ["app", "server"])
def test_a_tunnel_holds_back_whoever_sends_faster_than_the_other_takes(slow: str) -> None:
    """In memory there is what a buffer holds, not what a sender has."""
    pieces, piece = 400, b"y" * (256 << 10)
    taken = asyncio.Event

    async def trace() -> None:
        go_on = taken()
        sent = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            if slow == "server":
                await go_on.wait()
                while await reader.read(1 << 20):
                    pass
                return
            for _ in range(pieces):
                writer.write(piece)
                await writer.drain()
                sent += len(piece)

        async with server(serve) as port, House(Origin()) as house:
            app = await house.app(receive_buffer=64 << 10)
            await app.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % port)
            await soon(app.reader.readuntil(b"\r\n\r\n"))
            if slow == "server":
                for _ in range(pieces):
                    app.writer.write(piece)
                    sent += len(piece)
                    try:
                        await asyncio.wait_for(app.writer.drain(), 0.3)
                    except TimeoutError:
                        break
            else:
                await asyncio.sleep(0.5)
            assert sent < pieces * len(piece) / 2
            go_on.set()
            app.reset()
            await until(lambda: house.witness.calls, "it has ended")

    run(trace())


def test_a_websocket_to_the_upstream_costs_its_slot_until_the_101() -> None:
    """Then the tunnel stands beside the limit: with one slot, a page still passes."""

    async def play(line: Line, asked: Asked) -> None:
        assert asked.header("upgrade") == "websocket"
        assert asked.header("connection") == "Upgrade"
        await line.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhi"
        )
        await echo(line)

    async def trace() -> None:
        limits = {"concurrency": {"mode": "fixed", "limit": 1}}
        async with House(Origin(play), limits=limits) as house:
            app = await house.app()
            await app.ask(
                "/ws", headers=["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: y"]
            )
            head = await soon(app.reader.readuntil(b"\r\n\r\n"))
            assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
            assert b"\r\nUpgrade: websocket\r\n" in head
            assert b"\r\nSec-WebSocket-Accept: x\r\n" in head
            assert await soon(app.reader.readexactly(2)) == b"hi"
            assert house.limiter.inflight == 0
            assert (await house.get("/page")).status == 200
            await app.send(b"abc")
            assert await soon(app.reader.readexactly(3)) == b"ABC"
            app.close()
            await until(lambda: len(house.witness.calls) == 2, "it has ended")
            assert house.sidecar.pool.open_count == 1, "the page's"

    run(trace())


def test_an_upgrade_that_the_upstream_declines_is_a_plain_answer() -> None:
    async def trace() -> None:
        async with House(Origin(answer(426, b"no", ["Upgrade: h3"]), answer(200, b"next"))) as house:
            app = await house.app()
            got = await app.get("/ws", "Connection: Upgrade", "Upgrade: websocket")
            assert (got.status, got.body) == (426, b"no")
            assert (await app.get("/")).body == b"next"

    run(trace())


def test_only_hosts_that_are_allowed_are_reached_where_there_is_a_list() -> None:
    async def trace() -> None:
        other, third = Origin(), Origin()
        await third.open()
        await other.open()
        over = {"forward_proxy": {"mode": "allow", "allow": [f"127.0.0.1:{other.port}"]}}
        async with House(Origin(), **over) as house:
            app = await house.app()
            assert (await app.get(f"http://127.0.0.1:{other.port}/")).status == 200
            assert (await app.get(f"http://127.0.0.1:{third.port}/")).status == 421
            refused = await (await tunnel(house, third.port)).answer()
            assert (refused.status, refused.header("connection")) == (421, "close")
            assert not third.asked
        await other.close()
        await third.close()

    run(trace())
