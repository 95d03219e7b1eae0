"""Ports that nobody else is given while the test runs."""

from __future__ import annotations

import socket

_held: list[socket.socket] = []


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of ``host`` that refuses connections until a server of the test's listens on it.

    A bound socket holds it until this process ends. Otherwise the kernel could give the port to the next socket that
    asks for any. A server that sets SO_REUSEADDR, as nearly all do, can still listen there.
    """
    holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((host, 0))
    _held.append(holder)
    return int(holder.getsockname()[1])
