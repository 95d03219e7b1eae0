"""Strangers at the ops and admin ports: bounded, timed, refused, and quiet in the log."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from proxy.base.listening import listen_on, name_of
from proxy.control import port as module
from proxy.control.admin import is_own_host
from proxy.control.port import Port
from tests.fakes.app import App, request
from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Origin
from tests.fakes.process import Process


@asynccontextmanager
async def opened(most: int, release: asyncio.Event | None = None) -> AsyncIterator[tuple[Port, int]]:
    """A port whose /slow waits for ``release``."""

    async def quick(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def slow(request: web.Request) -> web.Response:
        assert release is not None
        await release.wait()
        return web.Response(text="ok")

    app = web.Application()
    app.add_routes([web.get("/", quick), web.get("/slow", slow)])
    port = Port(app, most=most)
    sockets = listen_on("127.0.0.1", 0)
    number = name_of(sockets[0])[1]
    await port.open(sockets)
    try:
        yield port, number
    finally:
        await port.close()


def test_one_more_takes_the_place_of_the_one_that_is_idle_longest() -> None:
    async def trace() -> None:
        async with opened(3) as (port, number):
            apps = [await App.connect(number) for _ in range(9)]
            await until(lambda: port.refused == 6, "all have come")
            assert len(port._connections) == 3
            assert (await apps[-1].get()).status == 200
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await soon(apps[0].reader.readexactly(1))
            for app in apps:
                app.close()

    run(trace())


def test_whoever_is_being_answered_keeps_the_place_and_the_newcomer_is_told() -> None:
    async def trace() -> None:
        release = asyncio.Event()
        async with opened(2, release) as (port, number):
            apps = [await App.connect(number) for _ in range(2)]
            for app in apps:
                await app.ask("/slow")
            await until(
                lambda: [each.is_busy for each in port._connections.values()] == [True] * 2, "both are busy"
            )
            late = await App.connect(number)
            assert (await late.answer()).status == 503
            release.set()
            assert [(await app.answer()).status for app in apps] == [200, 200]
            for app in (*apps, late):
                app.close()

    run(trace())


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_a_connection_that_does_not_ask_ends(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_REQUEST_S", 0.05)

    async def trace() -> None:
        async with opened(3) as (port, number):
            app = await App.connect(number)
            await app.send(sent)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await soon(app.reader.readexactly(1))
            await until(lambda: not port._connections, "its place is free")
            app.close()

    run(trace())


def test_a_kept_connection_ends_when_it_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.05)

    async def trace() -> None:
        async with opened(3) as (_, number):
            app = await App.connect(number)
            assert (await app.get()).status == 200
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await soon(app.reader.readexactly(1))
            app.close()

    run(trace())


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1:8882", True), ("localhost", True), ("LOCALHOST.:1", True), ("a.localhost:8882", True), ("[::1]:8882", True),
        ("10.0.0.7", True), ("", True), ("app.test", True),
        ("evil.example", False), ("evil.example:8882", False), ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1@evil.example", False), ("localhost:8882:1", False), ("[::1", False), ("127.1.evil", False), (" ", False),
    ],
)  # fmt: skip
def test_a_name_that_a_strangers_dns_may_point_here_is_not_our_own(host: str, is_own: bool) -> None:
    assert is_own_host(host) is is_own


def asking(target: str, host: str, method: str = "GET", body: bytes = b"") -> bytes:
    return request(target, method, (), body).replace(b"Host: app.test", f"Host: {host}".encode())


def test_a_page_of_another_name_reads_and_changes_nothing() -> None:
    """A name that comes to mean 127.0.0.1 makes a web page the port's own, but for its Host."""

    async def trace() -> None:
        async with House(Origin()) as house:
            app = await App.connect(house._admin_port)
            house.apps.append(app)
            for target in ("/", "/config", "/limits", "/queue", "/decisions", "/fleet", "/log-level"):
                await app.send(asking(target, "evil.example"))
                assert (await app.answer()).status == 403
                await app.send(asking(target, f"localhost:{house._admin_port}"))
                assert (await app.answer()).status == 200
            await app.send(asking("/limits", "evil.example", "PATCH", b'{"rate": 1}'))
            assert (await app.answer()).status == 403
            assert (await house.admin("/limits"))["default"]["rate"] is None

    run(trace())


def test_drain_and_shutdown_ask_for_leave() -> None:
    async def trace() -> None:
        async with House(Origin()) as house:
            app = await App.connect(house._admin_port)
            house.apps.append(app)
            for target, setting in (("/drain", "allow_drain"), ("/shutdown", "allow_shutdown")):
                got = await app.post(target, b"")
                assert got.status == 403
                assert setting in got.body.decode()
            assert (await house.get()).status == 200

    run(trace())


def test_a_drain_that_is_allowed_begins() -> None:
    async def trace() -> None:
        async with House(Origin(), allow_drain=True) as house:
            app = await App.connect(house._admin_port)
            house.apps.append(app)
            assert (await app.post("/drain", b"")).status == 202
            await soon(house.sidecar.lifecycle.until_told())

    run(trace())


def test_where_there_is_no_limit_there_is_no_sample() -> None:
    """JSON has no +Inf: a scraper that keeps samples as JSON drops all of a batch for one."""

    async def trace() -> None:
        async with House(Origin()) as house:
            assert (await house.get()).status == 200
            lines = [line for line in (await house.metrics()).splitlines() if line[:1] != "#"]
            assert not [line for line in lines if line.endswith(("+Inf", "-Inf", "NaN"))]
            for name in ("rate_limit", "tokens", "concurrency_limit", "fleet_rate"):
                assert not [line for line in lines if line.startswith(f"sidegate_{name} ")]
        async with House(Origin(), limits={"rate": 5, "concurrency": {"mode": "fixed", "limit": 3}}) as house:
            lines = (await house.metrics()).splitlines()
            assert "sidegate_rate_limit 5.0" in lines
            assert "sidegate_concurrency_limit 3.0" in lines

    run(trace())


BAD = [
    request("/" + "p" * 20_000),
    b"GARBAGE\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: a.test\r\nAccept: application/openmetrics-text;version=x;;=,q=\r\n\r\n",
    b"GET /metrics?name[]=\xff HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.test\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: x\r\n\r\n",
    b"POST /log-level HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    request("/log-level", "POST", ["Content-Type: application/json; charset=nonsense"], b"{}"),
    request("/log-level", "POST", ["Content-Encoding: gzip"], b"no gzip"),
    request("/log-level", "POST", (), b"[" * 60_000),
    request("/log-level", "POST", (), b"\xff\xfe{}"),
    request("/log-level", "POST", (), b"x" * 100_000),
    request("/limits", "PATCH", (), b'{"rate": NaN, "burst": 1e999, "concurrency": 5}'),
    request("/limits", "PATCH", (), b'{"rate": ' + b"9" * 5000 + b"}"),
    request("/limits", "PATCH", (), b'{"route": {}, "\xe2\x80\xa8": []}'),
    request("/limits", "PATCH", (), b'{"concurrency": {"limit": "\\ud800"}}'),
    request("/fleet/record?awake", "GET", ["Sidegate-Fleet: \xff"]),
    request("/config", "BREW"),
    request("/shutdown", "POST", ["Expect: 200-nonsense"], b"{}"),
]


@pytest.mark.slow
def test_bad_requests_leave_no_traceback_in_the_log_and_no_500(tmp_path: Path) -> None:
    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        ports = "listen: 127.0.0.1:0\nops: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndrain: {quiet: 0s}\n"
        async with Origin() as origin:
            file.write_text(f"upstream: {{url: '{origin.url}'}}\n{ports}")
            async with Process(file) as sidecar:
                for name in ("ops", "admin"):
                    for raw in BAD:
                        app = await sidecar.app(name)
                        await app.send(raw)
                        app.writer.write_eof()
                        got = await soon(app.reader.read())
                        assert b" 500 " not in got[:20], (name, raw[:100])
                        app.close()
                assert (await sidecar.get("/livez", "ops")).status == 200
                assert json.loads((await sidecar.get("/limits", "admin")).body)["default"]["rate"] is None
                sidecar.signal(signal.SIGTERM)
                log = await sidecar.whole_log()
                assert "Traceback" not in log, log[-2000:]

    run(trace())
