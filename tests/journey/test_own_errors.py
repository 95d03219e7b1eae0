"""An error of our own costs the call that it meets, and nothing that others need."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.fakes.indoors import IndoorHouse, IndoorOrigin, Line, head_on
from tests.fakes.virtual import run


async def small(line: Line, _: bytes) -> None:
    line.give(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall")


def test_a_connection_that_nobody_could_hear_of_is_closed_and_counted_out() -> None:
    """It is open when what counts connections fails: it used to stay in the pool's account for good."""

    async def trace() -> None:
        async with IndoorHouse(IndoorOrigin(small), pool={"max_connections": 1}) as house:
            observer = house.sidecar.pool._observer

            class Failing:
                def connection_opened(self, dns_s: float, connect_s: float, tls_s: float) -> None:
                    raise ZeroDivisionError

                def connection_closed(self, side: str, why: str, requests: int) -> None:
                    observer.connection_closed(side, why, requests)

            failing: Any = Failing()
            house.sidecar.pool._observer = failing
            house.ask(b"/1")
            await asyncio.sleep(0.1)
            house.sidecar.pool._observer = observer
            assert [line.is_closed for line in house.origin.lines] == [True]
            app = house.ask(b"/2")
            await head_on(app)

    run(trace())
