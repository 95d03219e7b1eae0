"""What a pod finds outside: a link to nowhere else, a name server and a fragile origin at its far end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self

from tests.fakes.nameserver import NameServer

NAME = "data.example.test"
"""The upstream's name: known to the link's name server only."""
_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it reached the origin."""

    target: str
    status: int
    host: str | None
    via: str | None
    over: str
    """The origin's own address that it came to."""


class Outside:
    """A context manager. ``join`` puts the other end of the link into a pod.

    The link leads nowhere: its addresses are those for tests of networks and for examples, and the pod gets no default
    route. The origin listens at port 80 of both addresses and fails every ``fails_every``-th request with 500; 0 fails none.
    DNS answers any name with the IPv4 address, and with the IPv6 one as well where ``has_ipv6``.
    """

    def __init__(self, *, fails_every: int = 3, has_ipv6: bool = False) -> None:
        number = next(_NUMBERS)
        self._link, self._peer = f"sg{os.getpid()}h{number}", f"sg{os.getpid()}p{number}"
        net = _free_net()
        self.address, self.pod_address = f"198.18.{net}.1", f"198.18.{net}.2"
        self.address6, self.pod_address6 = f"2001:db8:{net}::1", f"2001:db8:{net}::2"
        self._answers = [self.address, self.address6] if has_ipv6 else [self.address]
        self._fails_every = fails_every
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self.calls: list[Call] = []
        """Every request, in the order of their arrival."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            _ip("link", "add", self._link, "type", "veth", "peer", "name", self._peer)
            stack.callback(
                _ip, "link", "del", self._link, check=False
            )  # gone already where the pod ended first
            _ip("addr", "add", f"{self.address}/24", "dev", self._link)
            _ip("addr", "add", f"{self.address6}/64", "dev", self._link, "nodad")
            _ip("link", "set", self._link, "up")
            stack.enter_context(_answering(self._answers, self.address))
            for host in (self.address, self.address6):
                stack.enter_context(_serving(host, self))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def join(self, pid: int) -> None:
        """Give the network namespace of a process the other end of the link, as eth0."""
        _ip("link", "set", self._peer, "netns", str(pid), "name", "eth0")
        inside = ("nsenter", "--net", "--target", str(pid), "ip")
        _run(*inside, "addr", "add", f"{self.pod_address}/24", "dev", "eth0")
        _run(*inside, "addr", "add", f"{self.pod_address6}/64", "dev", "eth0", "nodad")
        for device in ("lo", "eth0"):
            _run(*inside, "link", "set", device, "up")

    def receive(self, target: str, host: str | None, via: str | None, over: str) -> int:
        """Note a request; return the status it is answered with."""
        with self._lock:
            is_failing = self._fails_every and len(self.calls) % self._fails_every == self._fails_every - 1
            self.calls.append(Call(target, 500 if is_failing else 200, host, via, over))
            return self.calls[-1].status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    outside: Outside

    def do_GET(self) -> None:
        over = str(self.connection.getsockname()[0])
        status = self.outside.receive(self.path, self.headers["Host"], self.headers["Via"], over)
        body = json.dumps({"target": self.path, "status": status}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that the other end reset is nobody's fault here."""


class _Server6(_Server):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def _serving(host: str, outside: Outside) -> Iterator[None]:
    handler = type("Handler", (_Handler,), {"outside": outside})
    server = (_Server6 if ":" in host else _Server)((host, 80), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()  # not server_close, which waits for every connection


@contextlib.contextmanager
def _answering(addresses: list[str], host: str) -> Iterator[None]:
    """A name server at port 53 of ``host``, on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = NameServer(*addresses)
    loop.run_until_complete(server.open(host, 53))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(asyncio.sleep(0))  # the socket closes one turn later
        loop.close()


def _free_net() -> int:
    used = _ip("-o", "-4", "addr")
    return next(net for net in range(1, 255) if f" 198.18.{net}." not in used)


def _ip(*arguments: str, check: bool = True) -> str:
    return _run("ip", *arguments, check=check)


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    if check and done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
