"""From a name to an open connection: DNS, TCP with happy eyeballs, TLS, each timed."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import aiohappyeyeballs

from proxy.attempt.resolver import AddressInfo, Resolver
from proxy.attempt.tls import TlsFiles
from proxy.attempt.tunnel import ProxyTunnel
from proxy.base.errors import ConnectError
from proxy.base.reasons import Reason

_HAPPY_EYEBALLS_DELAY_S = 0.25  # RFC 8305 §5
_OF_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Of descriptors, memory or ports there are too few here, whatever the upstream does."""
_KEEPALIVE_IDLE_S = 60  # below the idle timeouts of common NATs and load balancers


@dataclass(slots=True)
class Timings:
    """How long each phase of making a connection took, in seconds; 0.0 for a phase there was not."""

    dns_s: float = 0.0
    connect_s: float = 0.0
    tls_s: float = 0.0


class Connector:
    """Opens connections to the upstream. With a ``tunnel`` the ``resolver``'s addresses are those of the proxy in between."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        tls: TlsFiles | None,
        server_name: str,
        monotonic: Callable[[], float],
        tunnel: ProxyTunnel | None = None,
    ) -> None:
        self.resolver = resolver
        self._tunnel = tunnel
        self._tls = tls
        # RFC 6066 §3: without the dot that ends a full name; certificates have none either.
        self._server_name = server_name.removesuffix(".")
        self._monotonic = monotonic

    async def connect(self, protocol: asyncio.Protocol, timeout_s: float) -> Timings:
        """Connect ``protocol``; return how long it took. ConnectError says in which phase it failed."""
        timings = Timings()
        phase = Reason.DNS_FAILED
        addresses: list[AddressInfo] = []
        try:
            async with asyncio.timeout(timeout_s):
                started = self._monotonic()
                addresses = await self.resolver.addresses()
                resolved = self._monotonic()
                timings.dns_s = resolved - started
                phase = Reason.CONNECT_FAILED
                sock = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_S, interleave=1
                )
                try:
                    if sock.getpeername()[:2] != addresses[0][4][:2]:
                        self.resolver.distrust(addresses[0])
                    if self._tunnel is not None:
                        await self._tunnel.open(sock)
                    connected = self._monotonic()
                    timings.connect_s = connected - resolved
                    phase = Reason.TLS_FAILED if self._tls is not None else phase
                    await self._hand_over(sock, protocol, timeout_s)
                except BaseException:
                    sock.close()
                    raise
                if self._tls is not None:
                    timings.tls_s = self._monotonic() - connected
        except TimeoutError as error:
            if addresses and phase is Reason.CONNECT_FAILED:
                self.resolver.distrust(addresses[0])
            raise ConnectError(
                Reason.CONNECT_TIMEOUT, f"no connection within {timeout_s:g} s ({phase.value.split('_')[0]})"
            ) from error
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise ConnectError(Reason.TLS_FAILED, str(error)) from error
        except OSError as error:
            detail = str(error) or type(error).__name__
            raise ConnectError(phase, detail, is_local=error.errno in _OF_OURS) from error
        return timings

    async def _hand_over(self, sock: socket.socket, protocol: asyncio.Protocol, timeout_s: float) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        context = self._tls.context() if self._tls is not None else None
        await asyncio.get_running_loop().create_connection(
            lambda: protocol,
            sock=sock,
            ssl=context,
            server_hostname=self._server_name if context is not None else None,
            ssl_handshake_timeout=timeout_s if context is not None else None,
        )
