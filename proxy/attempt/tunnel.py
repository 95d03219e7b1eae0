"""A proxy between the sidecar and its upstream: it is asked for a tunnel before anything else is said (RFC 9110 §9.3.6)."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from proxy.wire.response_head import ResponseHead

_MOST_HEAD_BYTES: Final = 64 << 10
_READ_BYTES: Final = 4096
_HEAD_END: Final = b"\r\n\r\n"


class ProxyTunnel:
    """How a proxy is asked for tunnels to one upstream. ``authorization`` is the value of Proxy-Authorization, or empty."""

    def __init__(self, authority: bytes, authorization: bytes) -> None:
        login = b"Proxy-Authorization: %b\r\n" % authorization if authorization else b""
        self._request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (authority, authority, login)

    async def open(self, sock: socket.socket) -> None:
        """Ask over a connection to the proxy; OSError says why there is no tunnel, in a sentence for people."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, self._request)
        received = b""
        while _HEAD_END not in received:
            data = await loop.sock_recv(sock, _READ_BYTES)
            if not data:
                raise OSError("the proxy closed the connection instead of answering CONNECT")
            received += data
            if len(received) > _MOST_HEAD_BYTES:
                raise OSError("the proxy's answer to CONNECT has no end")
        raw, _, early = received.partition(_HEAD_END)
        head = ResponseHead(raw + b"\r\n", answers_head=True)
        if head.error:
            raise OSError(f"the proxy's answer to CONNECT: {head.error}")
        if not 200 <= head.status < 300:
            hint = ", it wants a user and a password in upstream.proxy" if head.status == 407 else ""
            raise OSError(f"the proxy answered CONNECT with {head.status}{hint}")
        if early:
            raise OSError("the proxy sent bytes behind its answer to CONNECT, before anything was asked")
