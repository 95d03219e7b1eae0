"""Names: asked when their time is up, by TTL within bounds; the last good answer outlives a name server that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dnslib import RCODE

from proxy.attempt.connect import Connector
from proxy.attempt.resolver import Resolver
from proxy.base.errors import ConnectError
from proxy.base.reasons import Reason
from tests.fakes.loop import run, soon, until
from tests.fakes.nameserver import NameServer
from tests.fakes.origin import Origin

NAME = "upstream.sidegate.test."


class HandClock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def asking(server: NameServer, clock: HandClock, **over: Any) -> AsyncIterator[Resolver]:
    port = await server.open()
    resolver = Resolver(
        over.pop("host", NAME),
        80,
        monotonic=clock,
        nameservers=["127.0.0.1"],
        udp_port=port,
        tcp_port=port,
        timeout=over.pop("timeout", 0.3),
        tries=1,
        **{"min_ttl_s": 5.0, "max_ttl_s": 300.0, **over},
    )
    try:
        yield resolver
    finally:
        await resolver.close()
        server.close()
        await asyncio.sleep(0)


async def hosts(resolver: Resolver) -> list[str]:
    found: list[Any] = await soon(resolver.addresses())
    return [str(info[4][0]) for info in found]


def test_each_connection_begins_one_address_further() -> None:
    async def trace() -> None:
        server = NameServer("127.0.0.1", "127.0.0.2", "127.0.0.3")
        async with asking(server, HandClock()) as resolver:
            first = [(await hosts(resolver))[0] for _ in range(6)]
            assert sorted(first[:3]) == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
            assert first[3:] == first[:3]
            assert len(await hosts(resolver)) == 3

    run(trace())


@pytest.mark.parametrize(("ttl_s", "kept_s"), [(0, 5), (60, 60), (86_400, 300)])
def test_an_answer_is_kept_for_its_ttl_within_bounds(ttl_s: int, kept_s: int) -> None:
    async def trace() -> None:
        clock = HandClock()
        server = NameServer("127.0.0.1", ttl_s=ttl_s)
        async with asking(server, clock) as resolver:
            await hosts(resolver)
            asked = len(server.asked)
            clock.now += kept_s - 0.1
            await hosts(resolver)
            assert len(server.asked) == asked
            server.answers = ["127.0.0.9"]
            clock.now += 0.2
            assert await hosts(resolver) == ["127.0.0.9"]

    run(trace())


def test_many_callers_ask_once() -> None:
    async def trace() -> None:
        server = NameServer("127.0.0.1")
        async with asking(server, HandClock()) as resolver:
            await asyncio.gather(*(hosts(resolver) for _ in range(20)))
            assert len(server.asked) <= 2, "one question for IPv4, one for IPv6"

    run(trace())


@pytest.mark.parametrize(
    "trouble", [RCODE.SERVFAIL, RCODE.NXDOMAIN, RCODE.REFUSED, "no answer", "no address"]
)
def test_the_last_good_answer_outlives_a_failing_name_server(trouble: Any) -> None:
    async def trace() -> None:
        clock = HandClock()
        server = NameServer("127.0.0.1", ttl_s=10)
        async with asking(server, clock) as resolver:
            await hosts(resolver)
            if trouble == "no answer":
                server.deaf = True
            elif trouble == "no address":
                server.answers = []
            else:
                server.code = trouble
            clock.now += 11
            assert await hosts(resolver) == ["127.0.0.1"], "a silent name server stalls nobody (RFC 8767)"
            await until(lambda: resolver.failures == 1, "it has failed")
            assert resolver.last_error.startswith("asking for ")
            server.deaf, server.code, server.answers = False, RCODE.NOERROR, ["127.0.0.2"]
            assert await hosts(resolver) == ["127.0.0.1"], "asked again only after min_ttl"
            clock.now += 6
            assert await hosts(resolver) == ["127.0.0.2"]
            assert resolver.last_error == ""

    run(trace())


@pytest.mark.parametrize(("kind", "found"), [("AAAA", "127.0.0.1"), ("A", "::1")])
def test_one_familys_answer_does_not_wait_for_the_others(kind: str, found: str) -> None:
    """RFC 8305 §3: it used to wait for a resolver's time-out, five seconds by default."""

    async def trace() -> None:
        server = NameServer("127.0.0.1", "::1")
        server.deaf_to = kind
        async with asking(server, HandClock(), timeout=60) as resolver:
            assert await hosts(resolver) == [found]
            assert len(server.asked) == 2

    run(trace())


def test_both_families_are_used_where_both_answer() -> None:
    async def trace() -> None:
        async with asking(NameServer("127.0.0.1", "::1"), HandClock()) as resolver:
            assert await hosts(resolver) == ["::1", "127.0.0.1"]
            assert await hosts(resolver) == ["127.0.0.1", "::1"]

    run(trace())


def test_an_address_that_took_no_connection_comes_last_for_a_while() -> None:
    async def trace() -> None:
        clock = HandClock()
        async with asking(NameServer("127.0.0.1", "127.0.0.2", ttl_s=300), clock) as resolver:
            bad = (await resolver.addresses())[0]
            resolver.distrust(bad)
            for _ in range(4):
                assert (await resolver.addresses())[0] != bad
            clock.now += 61
            firsts = [(await resolver.addresses())[0] for _ in range(2)]
            assert bad in firsts

    run(trace())


def test_each_process_begins_at_another_address() -> None:
    """Eight pods that begin at once would all begin with the first address."""

    async def trace() -> None:
        server = NameServer("127.0.0.1", "127.0.0.2", "127.0.0.3")
        async with asking(server, HandClock()) as first:
            at_0 = await hosts(first)
        server = NameServer("127.0.0.1", "127.0.0.2", "127.0.0.3")
        async with asking(server, HandClock(), turn=4) as other:
            assert await hosts(other) == at_0[1:] + at_0[:1]

    run(trace())


def test_a_name_that_never_resolved_is_dns_failed_and_asked_again() -> None:
    async def trace() -> None:
        server = NameServer("127.0.0.1")
        server.code = RCODE.NXDOMAIN
        async with asking(server, HandClock()) as resolver:
            with pytest.raises(ConnectError) as caught:
                await hosts(resolver)
            assert caught.value.reason is Reason.DNS_FAILED
            assert NAME in caught.value.detail
            server.code = RCODE.NOERROR
            assert await hosts(resolver) == ["127.0.0.1"]

    run(trace())


def test_a_caller_that_leaves_does_not_take_the_answer_from_the_others() -> None:
    async def trace() -> None:
        server = NameServer("127.0.0.1")
        async with asking(server, HandClock()) as resolver:
            leaver = asyncio.ensure_future(resolver.addresses())
            stayer = asyncio.ensure_future(hosts(resolver))
            await asyncio.sleep(0)
            leaver.cancel()
            assert await soon(stayer) == ["127.0.0.1"]

    run(trace())


def test_an_address_is_asked_of_nobody() -> None:
    async def trace() -> None:
        for literal, family in (("127.0.0.1", 4), ("::1", 6)):
            resolver = Resolver(
                literal, 80, min_ttl_s=1, max_ttl_s=1, monotonic=HandClock(), nameservers=["127.0.0.1"]
            )
            (info,) = await resolver.addresses()
            assert info[4][0] == literal, family
            await resolver.close()

    run(trace())


def test_an_address_that_refuses_is_passed_over() -> None:
    """RFC 8305: the next address is tried, within one attempt."""

    async def trace() -> None:
        async with Origin() as origin:
            server = NameServer("127.0.0.2", "127.0.0.1")
            dns_port = await server.open()
            clock = HandClock()
            resolver = Resolver(
                NAME,
                origin.port,
                min_ttl_s=5,
                max_ttl_s=300,
                monotonic=clock,
                nameservers=["127.0.0.1"],
                udp_port=dns_port,
            )
            connector = Connector(resolver, tls=None, server_name=NAME, monotonic=clock)
            for _ in range(4):
                made: list[asyncio.BaseTransport] = []

                class Note(asyncio.Protocol):
                    def connection_made(self, transport: asyncio.BaseTransport) -> None:
                        made.append(transport)  # noqa: B023 - used before the next turn

                await soon(connector.connect(Note(), 2.0))
                assert made[0].get_extra_info("peername")[0] == "127.0.0.1"
                made[0].close()
            await resolver.close()
            server.close()
            await asyncio.sleep(0)

    run(trace())


def test_a_name_server_that_is_silent_ends_in_connect_timeout() -> None:
    async def trace() -> None:
        server = NameServer("127.0.0.1")
        server.deaf = True
        clock = HandClock()
        async with asking(server, clock) as resolver:
            connector = Connector(resolver, tls=None, server_name=NAME, monotonic=clock)
            with pytest.raises(ConnectError) as caught:
                await connector.connect(asyncio.Protocol(), 0.05)
            assert caught.value.reason is Reason.CONNECT_TIMEOUT
            assert "dns" in caught.value.detail
            await asyncio.sleep(0.4)

    run(trace())


@pytest.mark.parametrize("is_read", [True, False])
def test_the_hosts_file_is_passed_by_when_it_is_not_to_be_read(is_read: bool) -> None:
    """Capture by hostAliases writes the upstream's name into it, with this sidecar's address."""
    address, name = _line_of_hosts()

    async def trace() -> None:
        over = {"host": name, "is_hosts_file_read": is_read}
        async with asking(NameServer("127.0.0.2"), HandClock(), **over) as resolver:
            assert (address in await hosts(resolver)) is is_read

    run(trace())


def _line_of_hosts() -> tuple[str, str]:
    """An address and a name from this machine's own file; c-ares answers localhost without it."""
    for line in Path("/etc/hosts").read_text().splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        for name in names:
            if "localhost" not in name and address.count(".") == 3:
                return address, name
    pytest.fail("/etc/hosts holds no name but localhost: add this machine's own")
