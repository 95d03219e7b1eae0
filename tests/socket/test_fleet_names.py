"""Names of a fleet's pods: asked by their TTL, and a name server that fails or says nothing holds nobody up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from dnslib import RCODE

from proxy.fleet.finder import Finder
from tests.fakes.loop import run, soon
from tests.fakes.nameserver import NameServer

NAME = "pods.sidegate.test."


class HandClock:
    """Time that moves when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def asking(server: NameServer, clock: HandClock, *places: str) -> AsyncIterator[Finder]:
    port = await server.open()
    yield Finder(places, monotonic=clock, nameservers=["127.0.0.1"], udp_port=port, tcp_port=port)
    server.close()
    await asyncio.sleep(0)


def test_name_stands_for_all_its_addresses_and_numbers_for_themselves() -> None:
    async def main() -> None:
        server = NameServer("127.0.0.2", "127.0.0.3")
        async with asking(server, HandClock(), "127.0.0.1:1", f"{NAME}:8881", "[::1]:2") as finder:
            found = await soon(finder.addresses())
            assert sorted(found) == [("127.0.0.1", 1), ("127.0.0.2", 8881), ("127.0.0.3", 8881), ("::1", 2)]

    run(main())


def test_answer_is_kept_for_five_seconds_at_most_and_when_asking_fails() -> None:
    async def main() -> None:
        server, clock = NameServer("127.0.0.2", ttl_s=60), HandClock()
        async with asking(server, clock, f"{NAME}:1") as finder:
            await soon(finder.addresses())
            asked = len(server.asked)
            clock.now += 4.9
            await soon(finder.addresses())
            assert len(server.asked) == asked
            clock.now += 0.2
            server.code = RCODE.SERVFAIL
            assert await soon(finder.addresses()) == [("127.0.0.2", 1)]
            assert len(server.asked) > asked

    run(main())


def test_name_without_an_address_is_not_asked_again_at_once() -> None:
    """A turn is half a second; each of them asked for a namespace without pods, six questions a time."""

    async def main() -> None:
        server, clock = NameServer(), HandClock()
        server.code = RCODE.NXDOMAIN
        async with asking(server, clock, f"{NAME}:1") as finder:
            with pytest.raises(OSError, match=r"pods\.sidegate\.test\.: no address"):
                await soon(finder.addresses())
            asked = len(server.asked)
            clock.now += 0.5
            with pytest.raises(OSError, match="no address"):
                await soon(finder.addresses())
            assert len(server.asked) == asked
            clock.now += 1.0
            server.code, server.answers = RCODE.NOERROR, ["127.0.0.2"]
            assert await soon(finder.addresses()) == [("127.0.0.2", 1)]

    run(main())


@pytest.mark.slow
def test_name_server_that_says_nothing_holds_nobody_up() -> None:
    """The pilot waited for it for many seconds, and decided nothing meanwhile."""

    async def main() -> None:
        server, clock = NameServer("127.0.0.2"), HandClock()
        async with asking(server, clock, f"{NAME}:1") as finder:
            await soon(finder.addresses())
            server.deaf = True
            clock.now += 10.0
            started = time.monotonic()
            assert await soon(finder.addresses()) == [("127.0.0.2", 1)]
            assert time.monotonic() - started < 1.5

    run(main())
