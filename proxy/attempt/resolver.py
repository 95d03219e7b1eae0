"""The upstream's addresses: asked anew when their TTL ends, the last good answer kept when asking fails."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any

import aiodns

from proxy.base.errors import ConnectError
from proxy.base.reasons import Reason

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""As ``socket.getaddrinfo`` returns them: family, type, protocol, canonical name, socket address."""


def _literal(host: str, port: int) -> list[AddressInfo] | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 6:
        return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port, 0, 0))]
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port))]


class Resolver:
    """Answers for one host and port. Reads /etc/hosts (unless told not to) and the search list as the system would, by c-ares.

    Each call of ``addresses`` begins one address further, so that connections spread over all of them. A query is never made
    twice at a time, and never on the event loop's threads.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        min_ttl_s: float,
        max_ttl_s: float,
        monotonic: Callable[[], float],
        nameservers: Sequence[str] | None = None,
        is_hosts_file_read: bool = True,
        **channel_options: Any,
    ) -> None:
        self._host = host
        self._port = port
        self._min_ttl_s = min_ttl_s
        self._max_ttl_s = max_ttl_s
        self._monotonic = monotonic
        self._nameservers = nameservers
        self._channel_options = channel_options if is_hosts_file_read else {**channel_options, "lookups": "b"}
        self._query: asyncio.Task[None] | None = None
        self._turn = 0
        self.failures = 0
        fixed = _literal(host, port)
        self._answer: list[AddressInfo] = fixed or []
        self._good_until = float("inf") if fixed else float("-inf")

    async def addresses(self) -> list[AddressInfo]:
        """Return the addresses, the one whose turn it is first; ConnectError(dns_failed) when there never were any."""
        if self._monotonic() >= self._good_until:
            if self._query is None:
                self._query = asyncio.get_running_loop().create_task(self._ask())
                self._query.add_done_callback(_look_at)  # its callers may all have left by then
            # Shielded: a caller that leaves must not take the answer away from the others.
            await asyncio.shield(self._query)
        answer = self._answer
        turn = self._turn % len(answer)
        self._turn += 1
        return answer[turn:] + answer[:turn]

    async def _ask(self) -> None:
        # A channel per query: c-ares keeps answers in a cache of its own for up to an hour, which cannot be switched off from
        # here and would outlive our max_ttl. A new one also reads /etc/resolv.conf afresh.
        dns = aiodns.DNSResolver(self._nameservers, **self._channel_options)
        try:
            result = await dns.getaddrinfo(
                self._host, family=socket.AF_UNSPEC, port=self._port, type=socket.SOCK_STREAM
            )
            if not result.nodes:
                raise aiodns.error.DNSError(1, "the answer holds no address")
        except aiodns.error.DNSError as error:
            self.failures += 1
            if not self._answer:
                detail = error.args[1] if len(error.args) > 1 else str(error)
                raise ConnectError(Reason.DNS_FAILED, f"{self._host}: {detail}") from error
            self._good_until = self._monotonic() + self._min_ttl_s
        else:
            self._answer = [
                (int(node.family), socket.SOCK_STREAM, socket.IPPROTO_TCP, "", _sockaddr(node.addr))
                for node in result.nodes
            ]
            ttl_s = min(node.ttl for node in result.nodes)
            self._good_until = self._monotonic() + min(max(ttl_s, self._min_ttl_s), self._max_ttl_s)
        finally:
            self._query = None
            await dns.close()

    async def close(self) -> None:
        """Stop asking."""
        if self._query is not None:
            self._query.cancel()
            await asyncio.gather(self._query, return_exceptions=True)

    def __repr__(self) -> str:
        return f"<Resolver {self._host}:{self._port} {len(self._answer)} addresses>"


def _look_at(query: asyncio.Task[None]) -> None:
    if not query.cancelled():
        query.exception()


def _sockaddr(address: tuple[Any, ...]) -> tuple[Any, ...]:
    host = address[0].decode() if isinstance(address[0], bytes) else address[0]
    return (host, *address[1:])
