"""The application's end: raw bytes out, answers read by nothing but RFC 9112's rules for where they end."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterable
from typing import Any

from tests.fakes.loop import soon


class Answer:
    """An answer as the app received it. ``is_whole`` is false when the connection ended inside the body."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        first, *rest = head[:-4].split(b"\r\n")
        self.start = first
        self.lines = rest
        self.version, self.status = first.split(b" ")[0], int(first.split(b" ")[1])
        self.headers = [
            (name.decode("latin-1"), value.strip(b" \t").decode("latin-1"))
            for name, value in (line.split(b":", 1) for line in rest)
        ]
        self.body = b""
        self.is_whole = False
        self.interim: list[int] = []

    def header(self, name: str) -> str | None:
        """The first value of a header, None without one."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def names(self) -> list[str]:
        """All header names in lower case, in order."""
        return [name.lower() for name, _ in self.headers]

    @property
    def reason(self) -> str | None:
        """Why the sidecar answered by itself; None when the upstream did."""
        return self.header("sidegate-reason")

    @property
    def attempts(self) -> int:
        """How many attempts it took."""
        return int(self.header("sidegate-attempts") or -1)

    def problem(self) -> dict[str, Any]:
        """The problem document of an answer that the sidecar made."""
        assert self.header("content-type") == "application/problem+json"
        return dict(json.loads(self.body))

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.reason} {self.body[:200]!r} whole={self.is_whole}>"


class App:
    """One connection of the app."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int = 0) -> App:
        """Connect to a sidecar on loopback; a small ``receive_buffer`` (bytes) makes a slow reader felt sooner."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        limit = receive_buffer or 1 << 20
        return cls(*await asyncio.open_connection(sock=sock, limit=limit))

    async def send(self, data: bytes) -> None:
        """Send ``data`` as far as the sidecar takes it."""
        self.writer.write(data)
        await self.writer.drain()

    async def ask(
        self, target: str = "/", method: str = "GET", headers: Iterable[str] = (), body: bytes = b""
    ) -> None:
        """Send one request."""
        await self.send(request(target, method, headers, body))

    async def get(self, target: str = "/", *headers: str) -> Answer:
        """Send a GET and read its answer."""
        await self.ask(target, headers=headers)
        return await self.answer()

    async def post(self, target: str, body: bytes, *headers: str) -> Answer:
        """Send a POST and read its answer."""
        await self.ask(target, "POST", headers, body)
        return await self.answer()

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Read the next final answer."""
        return await soon(self._answer(to_head))

    async def head(self) -> Answer:
        """Read the head of the next final answer only."""
        interim = []
        while True:
            found = Answer(await soon(self.reader.readuntil(b"\r\n\r\n")))
            if found.status >= 200:
                found.interim = interim
                return found
            interim.append(found.status)

    async def _answer(self, to_head: bool) -> Answer:
        answer = await self.head()
        try:
            answer.is_whole = await self._body(answer, to_head)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            answer.body += getattr(error, "partial", b"")
        return answer

    async def _body(self, answer: Answer, to_head: bool) -> bool:
        length = answer.header("content-length")
        if to_head or answer.status in (204, 304):
            return True
        if answer.header("transfer-encoding"):
            assert answer.header("transfer-encoding") == "chunked"
            assert length is None, "both lengths at once"
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                answer.body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
            return True
        if length is not None:
            answer.body = await self.reader.readexactly(int(length))
            return True
        answer.body = await self.reader.read()
        return True

    async def rest(self) -> bytes:
        """Everything up to the end of the connection, a reset being one end as good as another."""
        data = b""
        try:
            while more := await soon(self.reader.read(1 << 20)):
                data += more
        except ConnectionError:
            pass
        return data

    def close(self) -> None:
        """Close in peace."""
        self.writer.close()

    def reset(self) -> None:
        """Close with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def request(target: str = "/", method: str = "GET", headers: Iterable[str] = (), body: bytes = b"") -> bytes:
    """A request with a Host, and a Content-Length where there is a body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: app.test", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
