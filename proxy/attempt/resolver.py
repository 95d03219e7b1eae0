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

_RESOLUTION_DELAY_S = 0.05  # RFC 8305 §8
_PATIENCE_S = 0.25
"""How long a new answer is waited for where an old one is known."""
_DISTRUST_S = 60.0

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

    Each call of ``addresses`` begins one address further, so that connections spread over all of them; ``turn`` is where the
    first call begins. A query is never made
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
        turn: int = 0,
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
        self._answered: asyncio.Future[None] | None = None
        self._turn = turn
        self._distrusted_until: dict[tuple[Any, ...], float] = {}
        self.failures = 0
        self.last_error = ""
        fixed = _literal(host, port)
        self._answer: list[AddressInfo] = fixed or []
        self._good_until = float("inf") if fixed else float("-inf")

    async def addresses(self) -> list[AddressInfo]:
        """Return the addresses, the one whose turn it is first and distrusted ones last.

        ConnectError(dns_failed) when there never were any. Where the known answer is old, it is asked anew, and the known one
        used if that takes long (RFC 8767).
        """
        if self._monotonic() >= self._good_until:
            if self._query is None:
                self._query = asyncio.get_running_loop().create_task(self._ask())
                self._query.add_done_callback(_look_at)  # its callers may all have left by then
            await self._until_answered(self._query)
        answer = self._answer
        turn = self._turn % len(answer)
        self._turn += 1
        turned = answer[turn:] + answer[:turn]
        if self._distrusted_until:
            now = self._monotonic()
            turned.sort(key=lambda info: self._distrusted_until.get(info[4], 0.0) > now)
        return turned

    def distrust(self, info: AddressInfo) -> None:
        """An address did not take a connection: others come first for a while."""
        if len(self._answer) > 1:
            now = self._monotonic()
            still = {known: until for known, until in self._distrusted_until.items() if until > now}
            self._distrusted_until = {**still, info[4]: now + _DISTRUST_S}

    async def _until_answered(self, query: asyncio.Task[None]) -> None:
        # Shielded: a caller that leaves must not take the answer away from the others.
        if self._answer:
            await asyncio.wait(
                [query, self._is_answered()], timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
            )
            return
        await asyncio.wait([query, self._is_answered()], return_when=asyncio.FIRST_COMPLETED)
        if not self._answer:
            await asyncio.shield(query)

    def _is_answered(self) -> asyncio.Future[None]:
        if self._answered is None:
            self._answered = asyncio.get_running_loop().create_future()
        return self._answered

    async def _ask(self) -> None:
        # A channel per query: c-ares keeps answers in a cache of its own for up to an hour, which cannot be switched off from
        # here and would outlive our max_ttl. A new one also reads /etc/resolv.conf afresh.
        dns = aiodns.DNSResolver(self._nameservers, **self._channel_options)
        nodes: list[Any] = []
        failure: aiodns.error.DNSError | None = None
        pending: set[asyncio.Future[Any]] = {
            asyncio.ensure_future(
                dns.getaddrinfo(self._host, family=family, port=self._port, type=socket.SOCK_STREAM)
            )
            for family in (socket.AF_INET6, socket.AF_INET)
        }
        try:
            while pending:
                done, pending = await asyncio.wait(
                    pending,
                    timeout=_RESOLUTION_DELAY_S if nodes else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:  # RFC 8305 §3: one family's answer does not wait for the other's
                    self._take(nodes)
                    done, pending = await asyncio.wait(pending)
                for query in done:
                    try:
                        nodes += query.result().nodes
                    except aiodns.error.DNSError as error:
                        failure = error
            if nodes:
                self.last_error = ""
                self._take(nodes)
                return
            self.failures += 1
            detail = failure.args[1] if failure and len(failure.args) > 1 else "the answer holds no address"
            self.last_error = f"asking for {self._host} failed: {detail}"
            if not self._answer:
                raise ConnectError(Reason.DNS_FAILED, f"{self._host}: {detail}") from failure
            self._good_until = self._monotonic() + self._min_ttl_s
        finally:
            for query in pending:
                query.cancel()
            self._query = None
            if self._answered is not None and not self._answered.done():
                self._answered.set_result(None)
            self._answered = None
            await dns.close()

    def _take(self, nodes: list[Any]) -> None:
        """Put an answer in force, IPv6 first."""
        self._answer = [
            (int(node.family), socket.SOCK_STREAM, socket.IPPROTO_TCP, "", _sockaddr(node.addr))
            for node in sorted(nodes, key=lambda node: int(node.family != socket.AF_INET6))
        ]
        ttl_s = min(node.ttl for node in nodes)
        self._good_until = self._monotonic() + min(max(ttl_s, self._min_ttl_s), self._max_ttl_s)
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

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
