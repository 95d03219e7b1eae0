"""An error of our own costs the call that it meets, and nothing that others need."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from proxy.base.outcomes import Verdict
from proxy.base.reasons import Reason
from tests.fakes.house import House
from tests.fakes.indoors import IndoorHouse, IndoorOrigin, Line, head_on
from tests.fakes.loop import run as run_on_sockets
from tests.fakes.origin import Origin
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


def test_an_error_of_our_own_is_answered_500_and_told_to_nobody_as_the_upstreams(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It used to end the connection without an answer, and to count as an attempt that went well."""

    async def trace() -> None:
        origin = IndoorOrigin(small, refuses=ZeroDivisionError())
        async with IndoorHouse(origin) as house:
            app = house.ask(b"/1")
            await head_on(app)
            origin.refuses = None
            head, _, body = bytes(app.written).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 500 ")
            assert b"\r\nSidegate-Reason: internal\r\n" in head
            assert b"ZeroDivisionError" in body
            assert [(each.reason, each.verdict) for each in house.witness.attempts] == [
                (Reason.INTERNAL, Verdict.IGNORE)
            ]
            assert [each.reason for each in house.witness.calls] == [Reason.INTERNAL]
            assert house.sidecar.exchange.plan.default.limiter.inflight == 0
            await head_on(house.ask(b"/2"))

    run(trace())
    assert "ZeroDivisionError" in caplog.text


def test_an_error_of_our_own_in_mid_answer_breaks_it_off() -> None:
    """A second head behind half an answer would be read as its body."""

    def fails() -> int:
        raise ZeroDivisionError

    async def large(line: Line, _: bytes) -> None:
        line.give(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 2_000_000)

    async def trace() -> None:
        async with IndoorHouse(IndoorOrigin(large)) as house:
            app = house.ask(b"/1", takes=False)
            app.get_write_buffer_size = fails  # type: ignore[method-assign]
            await app.until(lambda: app.is_closed)
            assert bytes(app.written).count(b"HTTP/1.1 ") == 1
            assert [each.reason for each in house.witness.calls] == [Reason.INTERNAL]
            assert house.sidecar.exchange.plan.default.limiter.inflight == 0

    run(trace())


def test_too_few_ports_of_our_own_are_said_to_be_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """EADDRNOTAVAIL and its kin come from this side of the connection."""

    async def trace() -> None:
        async with House(Origin(), retry={"attempts": 2}) as house:

            async def no_port(*_: object, **__: object) -> None:
                raise OSError(errno.EADDRNOTAVAIL, "no port is left")

            monkeypatch.setattr("aiohappyeyeballs.start_connection", no_port)
            got = await house.get("/")
            assert (got.status, got.reason) == (502, "connect_failed")
            assert [each.is_local for each in house.witness.attempts] == [True, True]
            assert {each.verdict for each in house.witness.attempts} == {Verdict.IGNORE}

    run_on_sockets(trace())
