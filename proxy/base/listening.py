"""Sockets that listen where a HOST:PORT says, on one family or on both."""

from __future__ import annotations

import errno
import socket
from typing import Any

_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
"""What a machine without IPv6 says, or one whose name still has an address of it."""

BACKLOG = 1024
"""Connections that may wait to be accepted; the kernel bounds it by net.core.somaxconn."""

_OTHER_FAMILY = {"127.0.0.1": "::1", "0.0.0.0": "::"}
"""What the same address is called in IPv6."""


def listen_on(host: str, port: int, *, on_both: bool = False) -> list[socket.socket]:
    """Return listening sockets, all at one port. OSError when it is taken.

    ``[::]`` takes both families, as its name says "any". ``on_both`` adds to an IPv4 address the one of IPv6 that means the same,
    where the machine has IPv6. A name gets a socket for each of its addresses; port 0 is one free port for all.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    if on_both and host in _OTHER_FAMILY:
        places.append((socket.AF_INET6, (_OTHER_FAMILY[host], port, 0, 0)))
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in places:
            try:
                sockets.append(_listening(family, (address[0], port, *address[2:]), takes_both=host == "::"))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                missing = missing or error
                continue
            port = sockets[0].getsockname()[1]
        if not sockets:
            raise missing or OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening(family: int, address: tuple[Any, ...], *, takes_both: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not takes_both)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def name_of(sock: socket.socket) -> tuple[str, int]:
    """Return the address a socket is bound to."""
    address = sock.getsockname()
    return str(address[0]), int(address[1])


def joined(host: str, port: int) -> str:
    """Return HOST:PORT, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
