"""How many descriptors this process may have, and who of those that connect to it may take how many."""

from __future__ import annotations

import resource
from dataclasses import dataclass

_ENOUGH = 1 << 20
"""More are never asked for: some machines allow a billion, which costs whoever walks over them."""

_OWN = 24
"""Standard streams, event loop, listening sockets, name servers, the configuration file: some 15 are open."""


@dataclass(slots=True, frozen=True)
class Places:
    """Connections that each side may hold, so that no side can take all descriptors."""

    app: int
    ops: int
    admin: int


def raise_limit() -> int:
    """Raise the soft limit of descriptors to the hard one; return how many there may be.

    The usual soft limit of 1,024 is for programs that call select(), of which this is none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a sandbox may forbid it
        return soft
    return wanted


def places(descriptors: int, *, app: int, upstream: int) -> Places:
    """Return who may hold how many of ``descriptors``; ``app`` and ``upstream`` are the settings' bounds."""
    ops = max(4, min(256, descriptors // 8))
    admin = max(2, min(32, descriptors // 16))
    left = descriptors - _OWN - ops - admin - upstream
    return Places(app=max(1, min(app, max(left, descriptors // 4))), ops=ops, admin=admin)
