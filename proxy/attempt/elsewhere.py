"""Other hosts that an app calls through the sidecar because HTTP_PROXY says so: each has a plain pool of its own.

No limit, no retry and no time-out of ours: such a call is as it would be without a sidecar, but for the way that it takes.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from proxy.attempt.connect import Connector
from proxy.attempt.connection import Ends
from proxy.attempt.pool import Pool
from proxy.attempt.resolver import Resolver
from proxy.attempt.tls import TlsFiles
from proxy.attempt.upstream import Upstream
from proxy.base.deadlines import Deadlines
from proxy.base.destination import Destination

_MOST_HOSTS: Final = 64
_MOST_CONNECTIONS: Final = 10_000
"""As many as the app has calls under way: there is no bound of ours."""
_IDLE_S: Final = 15.0
_MAX_AGE_S: Final = 600.0
_TTL_S: Final = (1.0, 60.0)


class _Unobserved:
    """The metrics of connections are the upstream's."""

    def connection_opened(self, dns_s: float, connect_s: float, tls_s: float) -> None:
        """One was made."""

    def connection_closed(self, side: str, why: str, requests: int) -> None:
        """One is gone."""


class Elsewhere:
    """The other hosts of late, the least recently called first."""

    def __init__(self, deadlines: Deadlines, *, monotonic: Callable[[], float], rng: random.Random) -> None:
        self._deadlines = deadlines
        self._monotonic = monotonic
        self._rng = rng
        self._known: OrderedDict[Destination, Upstream] = OrderedDict()

    def of(self, destination: Destination) -> Upstream:
        """Return the host as calls know it."""
        known = self._known.get(destination)
        if known is None:
            known = self._known[destination] = self._made(destination)
            self._forget_one()
        self._known.move_to_end(destination)
        return known

    def _made(self, destination: Destination) -> Upstream:
        resolver = Resolver(
            destination.host,
            destination.port,
            min_ttl_s=_TTL_S[0],
            max_ttl_s=_TTL_S[1],
            monotonic=self._monotonic,
        )
        connector = Connector(
            resolver,
            tls=TlsFiles() if destination.scheme == "https" else None,
            server_name=destination.host,
            monotonic=self._monotonic,
        )
        pool = Pool(
            connector,
            _Unobserved(),
            self._deadlines,
            monotonic=self._monotonic,
            rng=self._rng,
            max_connections=_MOST_CONNECTIONS,
            idle_s=_IDLE_S,
            max_age_s=_MAX_AGE_S,
        )
        return Upstream(
            pool, authority=destination.authority, preserves_host=False, is_told_of_host=False, via=b""
        )

    def _forget_one(self) -> None:
        if len(self._known) <= _MOST_HOSTS:
            return
        for destination, upstream in self._known.items():
            if upstream.pool.open_count == upstream.pool.idle_count:
                del self._known[destination]
                asyncio.get_running_loop().create_task(upstream.pool.close())
                return

    def has_made(self, ends: Ends) -> bool:
        """Whether a connection is one of these."""
        return any(upstream.pool.has_made(ends) for upstream in self._known.values())

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        for upstream in self._known.values():
            upstream.pool.sweep(now)

    async def close(self) -> None:
        """Close every idle connection."""
        for upstream in self._known.values():
            await upstream.pool.close()

    def __repr__(self) -> str:
        return f"<Elsewhere {len(self._known)} hosts>"
