"""The fragile upstream on sockets: acts out what a model decides. Run: ``python -m proxy.lab.server``.

An asyncio Protocol and not aiohttp, because it must do what a good server library prevents: stop a body
half-way, and close a connection while a call to it is under way.
"""

import argparse
import asyncio
import json
import re
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlsplit

from proxy.lab.model import Decision, Model, Request
from proxy.lab.models import build_model
from proxy.lab.pages import SIZE_MAX, compact, page_body

LOOPBACK = "127.0.0.1"
HEAD_MAX_BYTES = 16 * 1024
CHUNK_BYTES = 512
PAGE_PATH = re.compile(r"/pages/(\d{1,9})")
PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
}
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Stats:
    """What the upstream saw of the pages' calls; ``/lab/stats`` itself leaves no trace here."""

    attempts: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_why: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    max_in_flight: int = 0
    connections_opened: int = 0
    connections_open: int = 0
    client_gone: int = 0

    def as_json(self) -> dict[str, Any]:
        """The counters by name."""
        names = (
            "attempts",
            "in_flight",
            "max_in_flight",
            "connections_opened",
            "connections_open",
            "client_gone",
        )
        plain: dict[str, Any] = {name: getattr(self, name) for name in names}
        return plain | {"by_status": dict(self.by_status), "by_why": dict(self.by_why)}


@dataclass(slots=True)
class Head:
    """A parsed request head: only what the lab needs of it."""

    method: str
    path: str
    query: dict[str, list[str]]
    keep_alive: bool
    has_body: bool


def parsed_head(block: bytes) -> Head | None:
    """The request head in ``block`` (without the empty line), or None when it is not one."""
    lines = block.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return None
    fields = [line.partition(":") for line in lines[1:]]
    headers = {name.strip().lower(): value.strip().lower() for name, _, value in fields}
    target = urlsplit(parts[1])
    return Head(
        method=parts[0],
        path=target.path,
        query=parse_qs(target.query),
        keep_alive=parts[2] == "HTTP/1.1" and "close" not in headers.get("connection", ""),
        has_body="transfer-encoding" in headers or headers.get("content-length", "0") != "0",
    )


class Upstream:
    """The model, the counters and the clock that all connections of one server share."""

    def __init__(self, model: Model, clock: Callable[[], float]) -> None:
        self.model = model
        self.clock = clock
        self.stats = Stats()

    def arrived(self, page: int, address: int) -> Decision:
        """The model's word on a call that arrives now, counted."""
        decision = self.model.arrive(self.clock(), Request(page, address))
        stats = self.stats
        stats.attempts += 1
        stats.by_why[decision.why] += 1
        stats.in_flight += 1
        stats.max_in_flight = max(stats.max_in_flight, stats.in_flight)
        return decision

    def ended(self, status: str) -> None:
        """A call is over; ``status`` is what its client was told."""
        self.stats.in_flight -= 1
        self.stats.by_status[status] += 1

    def lost(self) -> None:
        """A call reached a connection that was already being closed."""
        self.stats.attempts += 1
        self.stats.by_status["none"] += 1
        self.stats.by_why["idle close"] += 1


class Connection(asyncio.Protocol):
    """One client connection: a request at a time, in order."""

    def __init__(self, upstream: Upstream, address: int) -> None:
        self._upstream = upstream
        self._address = address
        self._buffer = bytearray()
        self._busy = False
        self._closing = False
        self._lost_call = False
        self._asked_for_stats_only = True
        self._idle_timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._upstream.stats.connections_opened += 1
        self._upstream.stats.connections_open += 1
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.stats.connections_open -= 1
        self._stop_idle_timer()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._lost_call = True
            return
        self._buffer += data
        if not self._busy:
            self._next_request()

    def _next_request(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_MAX_BYTES:
                self._refuse(400)
            return
        head = parsed_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self._stop_idle_timer()
        self._busy = True
        if head is None or head.has_body:
            self._refuse(400)
        elif head.method not in ("GET", "HEAD"):
            self._refuse(405)
        else:
            self._route(head)

    def _route(self, head: Head) -> None:
        if head.path == "/lab/stats":
            self._send_stats(head)
            return
        self._asked_for_stats_only = False
        match = PAGE_PATH.fullmatch(head.path)
        size = _size_of(head)
        if match is None or size is None:
            self._answer(404 if match is None else 400, compact({"error": "no such page"}), head)
            return
        page = int(match[1])
        decision = self._upstream.arrived(page, self._address)
        loop = asyncio.get_running_loop()
        loop.call_later(decision.after_s, self._finish, decision, page, size, head)

    def _send_stats(self, head: Head) -> None:
        stats = self._upstream.stats
        told = stats.as_json()
        if self._asked_for_stats_only:
            told["connections_opened"] -= 1
            stats.connections_opened -= 1
            self._asked_for_stats_only = False
        self._answer(200, compact(told), head)

    def _finish(self, decision: Decision, page: int, size: int, head: Head) -> None:
        gone = self._transport.is_closing()
        cut = decision.sent_share < 1.0 and head.method == "GET"
        self._upstream.stats.client_gone += gone
        self._upstream.ended("none" if gone else "cut" if cut else str(decision.status))
        if gone:
            return
        if decision.status != 200:
            self._answer(decision.status, compact({"error": decision.why}), head)
            return
        body = page_body(page, size)
        if cut:
            self._send_cut(body, decision)
        else:
            self._answer(200, body, head, chunked=decision.chunked)

    def _answer(self, status: int, body: bytes, head: Head, *, chunked: bool = False) -> None:
        framed = _chunks(body) + b"0\r\n\r\n" if chunked else body
        keep = head.keep_alive
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        start = _head_bytes(status, framing, keep)
        self._transport.write(start if head.method == "HEAD" else start + framed)
        if not keep:
            self._transport.close()
            return
        self._busy = False
        self._wait_for_request()
        self._next_request()

    def _send_cut(self, body: bytes, decision: Decision) -> None:
        part = body[: int(len(body) * decision.sent_share)]
        framing = "Transfer-Encoding: chunked" if decision.chunked else f"Content-Length: {len(body)}"
        start = _head_bytes(200, framing, keep_alive=True)
        self._transport.write(start + (_chunks(part) if decision.chunked else part))
        self._transport.close()

    def _refuse(self, status: int) -> None:
        body = compact({"error": PHRASES[status]})
        self._transport.write(_head_bytes(status, f"Content-Length: {len(body)}", keep_alive=False) + body)
        self._transport.close()

    def _wait_for_request(self) -> None:
        idle_s = self._upstream.model.idle_close_s()
        if idle_s is not None:
            self._idle_timer = asyncio.get_running_loop().call_later(idle_s, self._start_close)

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _start_close(self) -> None:
        self._closing = True
        asyncio.get_running_loop().call_later(self._upstream.model.closing_s, self._close)

    def _close(self) -> None:
        if self._transport.is_closing():
            return
        if self._lost_call:
            # What a kernel does when a program closes a socket that has unread bytes in it.
            self._upstream.lost()
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE
            )
            self._transport.abort()
        else:
            self._transport.close()


def _size_of(head: Head) -> int | None:
    text = head.query.get("size", ["20"])[0]
    return int(text) if text.isdecimal() and 1 <= int(text[:9]) <= SIZE_MAX else None


def _head_bytes(status: int, framing: str, keep_alive: bool) -> bytes:
    close = "" if keep_alive else "Connection: close\r\n"
    return (
        f"HTTP/1.1 {status} {PHRASES[status]}\r\nServer: sidegate-lab\r\nDate: {formatdate(usegmt=True)}\r\n"
        f"Content-Type: application/json\r\n{framing}\r\n{close}\r\n"
    ).encode("latin-1")


def _chunks(body: bytes) -> bytes:
    pieces = (body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


async def start_servers(upstream: Upstream, port: int = 0, host: str = LOOPBACK) -> list[asyncio.Server]:
    """Servers on 127.0.0.1 and up, one for each of the model's addresses, on one port; 0: a free one.

    Another ``host`` is that one address, for an upstream that pods call; ValueError where the model wants several.
    """
    if host != LOOPBACK and upstream.model.addresses > 1:
        raise ValueError(
            f"this model has {upstream.model.addresses} addresses of loopback; leave --host away"
        )
    loop = asyncio.get_running_loop()
    for tries_left in reversed(range(8)):
        servers: list[asyncio.Server] = []
        bound = port
        try:
            for address in range(upstream.model.addresses):
                server = await loop.create_server(
                    lambda address=address: Connection(upstream, address),  # type: ignore[misc]
                    f"127.0.0.{address + 1}" if host == LOOPBACK else host,
                    bound,
                    backlog=1024,
                )
                servers.append(server)
                bound = bound or server.sockets[0].getsockname()[1]
        except OSError:
            for server in servers:
                server.close()
            if port or not tries_left:
                raise
        else:
            return servers
    raise AssertionError("unreachable")


async def serve(upstream: Upstream, port: int, host: str = LOOPBACK) -> None:
    """Serve until SIGTERM or SIGINT; prints the ready line."""
    servers = await start_servers(upstream, port, host)
    listen = ["{}:{}".format(*server.sockets[0].getsockname()) for server in servers]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(json.dumps({"event": "ready", "listen": listen[0], "addresses": listen}), flush=True)
    await stop.wait()
    for server in servers:
        server.close()


def main(argv: list[str] | None = None) -> int:
    """Entry point of the upstream's process."""
    parser = argparse.ArgumentParser(prog="python -m proxy.lab.server")
    parser.add_argument("--model", default="healthy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="the model's parameters as a JSON object"
    )
    args = parser.parse_args(argv)
    model = build_model(args.model, seed=args.seed, settings=args.settings)
    started = time.monotonic()
    asyncio.run(serve(Upstream(model, lambda: time.monotonic() - started), args.port, args.host))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
