"""A wire tap: relays TCP as it is and keeps what each connection carried in either direction.

It tells how many connections a client really opened, and is the evidence when something looks wrong.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class Carried:
    """One connection: what the client said, and what it heard."""

    said: bytearray = field(default_factory=bytearray)
    heard: bytearray = field(default_factory=bytearray)


class Tap:
    """Listens on ``port`` of a loopback address and relays each connection to ``target_port``. A context manager."""

    def __init__(self, target_port: int, host: str = "127.0.0.1") -> None:
        self.connections: list[Carried] = []
        self._target_port = target_port
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((host, 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.authority = f"{host}:{self.port}"
        self.url = f"http://{self.authority}"
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The clients have left by now; every relay ends with them."""
        _shut(self._listener, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            carried = Carried()
            self.connections.append(carried)
            self._start(self._carry, client, carried)

    def _carry(self, client: socket.socket, carried: Carried) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target_port)) as server:
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upward = self._start(_relay, client, server, carried.said)
            _relay(server, client, carried.heard)
            # The server said all it will say: a client that still sends has nobody to hear it.
            _shut(client, socket.SHUT_RD)
            upward.join()


def _relay(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            kept += data
            sink.sendall(data)
    _shut(sink, socket.SHUT_WR)


def _shut(one: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(how)
