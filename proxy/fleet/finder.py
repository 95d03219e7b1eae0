"""The addresses behind a list of HOST:PORT: a name stands for all its addresses, asked again as often as their TTL says."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any

import aiodns

_LEAST_TTL_S = 1.0
"""Also how long a name rests that could not be resolved: a turn is half a second, and each look-up walks the search list."""
_LONGEST_TTL_S = 5.0
"""Kubernetes names pods for 30 s; a pod that starts meanwhile should not wait so long."""
_FIRST_WAIT_S = 2.0
_WAIT_S = 0.4
"""Longest wait for a name server: by itself c-ares waits for many seconds, in which the pilot would decide nothing."""


class Finder:
    """Resolves names; keeps the last good answer when asking fails. ``channel`` is for aiodns, in tests."""

    def __init__(self, places: Sequence[str], *, monotonic: Callable[[], float], **channel: Any) -> None:
        self._places = [place.rpartition(":") for place in places]
        self._monotonic = monotonic
        self._channel = channel
        self._known: dict[str, list[str]] = {}
        self._good_until: dict[str, float] = {}

    async def addresses(self) -> Sequence[tuple[str, int]]:
        """Return all addresses, in the order of the list. OSError when there is none: no name was ever resolved."""
        hosts = [host.strip("[]") for host, _, _ in self._places]
        found = await asyncio.gather(*(self._of(host) for host in hosts))
        ports = [int(port) for _, _, port in self._places]
        out = [(address, port) for each, port in zip(found, ports, strict=True) for address in each]
        if not out:
            raise OSError(f"{', '.join(hosts)}: no address")
        return out

    async def _of(self, host: str) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        if self._monotonic() >= self._good_until.get(host, 0.0):
            ttl_s = await self._ask(host)
            self._good_until[host] = self._monotonic() + min(max(ttl_s, _LEAST_TTL_S), _LONGEST_TTL_S)
        return self._known.get(host, [])

    async def _ask(self, host: str) -> float:
        """Ask for a name once; return how long the answer is good for."""
        dns = aiodns.DNSResolver(**self._channel)
        try:
            async with asyncio.timeout(_WAIT_S if self._known.get(host) else _FIRST_WAIT_S):
                result = await dns.getaddrinfo(host, family=socket.AF_UNSPEC)
        except (aiodns.error.DNSError, TimeoutError):
            return _LEAST_TTL_S
        finally:
            await dns.close()
        if result.nodes:
            self._known[host] = [_text(node.addr[0]) for node in result.nodes]
        return float(min((node.ttl for node in result.nodes), default=_LEAST_TTL_S))


def _text(address: bytes | str) -> str:
    return address.decode() if isinstance(address, bytes) else address
