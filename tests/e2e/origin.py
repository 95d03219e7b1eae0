"""An origin that keeps what it received, byte for byte, and answers with bytes known beforehand.

===============  =====================================================
``/echo``        the request's body
``/bytes/N``     ``pattern(N)``, with Content-Length
``/chunked/N``   the same bytes as chunks, without a length
``/status/N``    the status N, with a short body
``/moved/PATH``  302, and a Location that names this host and ``/PATH``
===============  =====================================================

Every answer carries ``X-Origin: kept`` and two ``Set-Cookie`` lines, which must come through as they are.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
from dataclasses import dataclass
from functools import cache
from typing import IO, Self

COOKIES = ("a=1; Path=/", "b=2; Path=/")
_CHUNK_BYTES = 16_000


@cache
def pattern(size: int) -> bytes:
    """The same bytes for the same size, always, with every byte value in them."""
    return random.Random(size).randbytes(size)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it reached the origin."""

    connection: int
    raw_head: bytes
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Origin:
    """Listens on a free loopback port, with TLS or without; one thread for each connection. A context manager."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.received: list[Received] = []
        self.connections = 0
        self.errors: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            _hang_up(one)

    def forget(self) -> None:
        self.received.clear()
        self.errors.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(client)
            threading.Thread(target=self._serve, args=(client, self.connections), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._tls is not None:
                plain, client = client, self._tls.wrap_socket(client, server_side=True)
                self._open.discard(plain)
                self._open.add(client)
            with client.makefile("rb") as stream:
                while (request := self._read(client, stream, number)) is not None:
                    self.received.append(request)
                    _answer(client, request, self.url.partition(":")[0])
        except (OSError, ValueError) as error:
            self.errors.append(f"connection {number}: {error!r}")
        finally:
            self._open.discard(client)
            _hang_up(client)

    def _read(self, client: socket.socket, stream: IO[bytes], number: int) -> Received | None:
        lines = [line := stream.readline()]
        if not line:
            return None
        while line not in (b"\r\n", b""):
            lines.append(line := stream.readline())
        method, target, _ = lines[0].decode("latin-1").split(" ", 2)
        pairs = (line.decode("latin-1").partition(":") for line in lines[1:-1])
        headers = [(name, value.strip()) for name, _, value in pairs]
        by_name = {name.lower(): value for name, value in headers}
        if by_name.get("expect", "").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _read_body(stream, by_name)
        return Received(number, b"".join(lines), method, target, headers, body)


def _read_body(stream: IO[bytes], headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = bytearray()
        while size := int(stream.readline().strip(), 16):
            body += _exactly(stream, size)
            if stream.readline() != b"\r\n":
                raise ValueError("a chunk is longer than its size")
        while stream.readline() != b"\r\n":
            pass  # trailers
        return bytes(body)
    return _exactly(stream, int(headers.get("content-length", "0")))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    body = stream.read(size)
    if len(body) != size:
        raise ValueError(f"the body ended after {len(body)} of {size} bytes")
    return body


def _answer(client: socket.socket, request: Received, scheme: str) -> None:
    kind, _, rest = request.target.partition("?")[0].strip("/").partition("/")
    start, more, body = "200 OK", [], request.body
    if kind in ("bytes", "chunked"):
        body = pattern(int(rest))
    elif kind == "status":
        start, body = f"{rest} As Asked", pattern(20)
    elif kind == "moved":
        start, more, body = "302 Found", [f"Location: {scheme}://{request.header('host')[0]}/{rest}"], b""
    head = [f"HTTP/1.1 {start}", "Content-Type: application/octet-stream", "X-Origin: kept", *more]
    head += [f"Set-Cookie: {cookie}" for cookie in COOKIES]
    head.append("Transfer-Encoding: chunked" if kind == "chunked" else f"Content-Length: {len(body)}")
    client.sendall("\r\n".join([*head, "", ""]).encode())
    if request.method == "HEAD":
        return
    if kind == "chunked":
        for start_at in range(0, len(body), _CHUNK_BYTES):
            piece = body[start_at : start_at + _CHUNK_BYTES]
            client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        body = b"0\r\n\r\n"
    client.sendall(body)


def _hang_up(one: socket.socket) -> None:
    """Wakes the thread that waits in accept or recv, which close alone does not."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
