"""A ledger of numbered calls under random faults: what the origin executed, what the app was told, what was counted.

Origin and app run in one event loop, the sidecar is a process between them. Every call has a number of its own. The origin
writes down each time it executes a number, and what it then did to the answer; the app writes down what it got.
"""

from __future__ import annotations

import asyncio
import random
import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, cast

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PIECE: Final = b"0123456789abcdef" * 16


class Kind(Enum):
    """What may be done to a call."""

    GET = "GET"
    KEYED = "POST with a key"
    KEYLESS = "POST without a key"


class Fault(Enum):
    """What the origin does to one request, and the reason that the attempt must be counted by."""

    NONE = "ok"
    LATE = "ok, late"
    CLOSES = "ok, and the connection closes"
    REFUSED = "500, not executed"
    EXECUTED_500 = "500, executed"
    TOLD_TO_WAIT = "503 with Retry-After, not executed"
    RESET = "reset, not executed"
    EXECUTED_RESET = "reset, executed"
    CUT = "cut within the body"
    GARBAGE = "no HTTP"
    SILENT = "no answer"


WEIGHTS: Final = {
    Fault.NONE: 830, Fault.LATE: 40, Fault.CLOSES: 30, Fault.REFUSED: 25, Fault.EXECUTED_500: 15, Fault.TOLD_TO_WAIT: 0.1,
    Fault.RESET: 15, Fault.EXECUTED_RESET: 15, Fault.CUT: 20, Fault.GARBAGE: 8, Fault.SILENT: 0.5,
}  # fmt: skip
"""Of a thousand requests. One in ten fails. Being told to wait stops every call for a second, so it is rare."""
_NOT_EXECUTED: Final = {Fault.REFUSED, Fault.TOLD_TO_WAIT, Fault.RESET}
_WAIT_S: Final = 0.02

COUNTED_AS: Final = {
    "ok": (Fault.NONE, Fault.LATE, Fault.CLOSES),
    "upstream_status": (Fault.REFUSED, Fault.EXECUTED_500, Fault.TOLD_TO_WAIT),
    "truncated": (Fault.CUT,),
    "bad_response": (Fault.GARBAGE,),
    "head_timeout": (Fault.SILENT,),
}
"""The reasons that metrics must show exactly as often as the origin did it. A reset is ``reset`` or ``stale_connection``."""


def page(number: int) -> bytes:
    """The one right body of a number: 30 B to 8 KiB, one in fifty 1.2 MiB, which is more than is verified."""
    size = 1_250_000 if number % 50 == 7 else 30 + zlib.crc32(b"%d" % number) % 8000
    return (b"%d:" % number + _PIECE * (size // len(_PIECE) + 1))[:size]


@dataclass
class Ledger:
    """What happened: by number, ``told`` by status, ``faults`` by kind; ``wrong`` says in words what was no page."""

    kinds: list[Kind]
    executed: Counter[int] = field(default_factory=Counter)
    faults: Counter[Fault] = field(default_factory=Counter)
    told: Counter[int] = field(default_factory=Counter)
    pages: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    cuts: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def lost(self) -> list[int]:
        """GETs and keyed POSTs that brought no page in the end."""
        return [
            number
            for number, kind in enumerate(self.kinds)
            if kind is not Kind.KEYLESS and not self.pages[number]
        ]

    def doubled(self, kind: Kind) -> list[int]:
        """POSTs of a kind that were executed more than once, or answered twice."""
        of_kind = (number for number, each in enumerate(self.kinds) if each is kind)
        return [number for number in of_kind if self.executed[number] > 1 or self.pages[number] > 1]

    def invented(self) -> list[int]:
        """POSTs that the app was told were done and that were not."""
        return [
            number
            for number in self.pages
            if self.kinds[number] is not Kind.GET and not self.executed[number]
        ]


class OriginSide(asyncio.Protocol):
    """One connection to the origin."""

    def __init__(self, ledger: Ledger, rng: random.Random, loop: asyncio.AbstractEventLoop) -> None:
        self._ledger = ledger
        self._rng = rng
        self._loop = loop
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._received, 0, end)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._received) < whole:
            return
        number = int(bytes(self._received[self._received.index(b"/") + 1 : self._received.index(b" HTTP")]))
        del self._received[:whole]
        [fault] = self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        self._ledger.faults[fault] += 1
        if fault not in _NOT_EXECUTED:
            self._execute(number)
        self._answer(fault, page(number))

    def _execute(self, number: int) -> None:
        """A key makes a second execution of its number the first one's answer again."""
        if self._ledger.kinds[number] is not Kind.KEYED or not self._ledger.executed[number]:
            self._ledger.executed[number] += 1

    def _answer(self, fault: Fault, body: bytes) -> None:
        write, close = self._transport.write, self._transport.close
        good = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        if fault is Fault.NONE:
            write(good)
        elif fault is Fault.LATE:
            self._loop.call_later(_WAIT_S, write, good)
        elif fault is Fault.CLOSES:
            write(good)
            close()
        elif fault in (Fault.REFUSED, Fault.EXECUTED_500):
            write(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops")
        elif fault is Fault.TOLD_TO_WAIT:
            write(b"HTTP/1.1 503 Busy\r\nRetry-After: %.2f\r\nContent-Length: 0\r\n\r\n" % _WAIT_S)
        elif fault in (Fault.RESET, Fault.EXECUTED_RESET):
            self._transport.abort()
        elif fault is Fault.CUT:
            write(good[: -1 - len(body) // 3])
            close()
        elif fault is Fault.GARBAGE:
            write(b"220 this is another protocol\r\n\r\n")
            close()


class AppSide(asyncio.Protocol):
    """One connection of the app: a call at a time. A visible cut or an error answer of a GET is asked for again."""

    def __init__(
        self, ledger: Ledger, take: Callable[[], int | None], ended: Callable[[AppSide], None]
    ) -> None:
        self._ledger = ledger
        self._take = take
        self._ended = ended
        self._received = bytearray()
        self._number: int | None = None
        self.again: int | None = None
        """The call that ended with the connection and is to be asked again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if self._number is not None:
            if self._received.startswith(b"HTTP/1.1 200"):
                self._ledger.cuts[self._number] += 1
                self.again = self._number if self._may_ask_again(self._number) else None
            else:
                self._ledger.wrong.append(
                    f"{self._number}: lost after {bytes(self._received[:60])!r}, {error!r}"
                )
        self._ended(self)

    def _next(self, again: int | None = None) -> None:
        number = self._number = self._take() if again is None else again
        self._received.clear()
        if number is None:
            self._transport.close()
            return
        kind = self._ledger.kinds[number]
        if kind is Kind.GET:
            self._transport.write(b"GET /%d HTTP/1.1\r\nHost: ledger\r\n\r\n" % number)
            return
        key = b"Idempotency-Key: %d\r\n" % number if kind is Kind.KEYED else b""
        body = b"x" * (number % 5000)
        self._transport.write(
            b"POST /%d HTTP/1.1\r\nHost: ledger\r\n%bContent-Length: %d\r\n\r\n%b"
            % (number, key, len(body), body)
        )

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._number is None:
            return
        length = _LENGTH.search(self._received, 0, end)
        if length is None:
            self._ledger.wrong.append(f"{self._number}: no length in {bytes(self._received[:end])!r}")
            self._transport.abort()
        elif len(self._received) >= end + 4 + int(length[1]):
            self._answered(self._number, int(self._received[9:12]), bytes(self._received[end + 4 :]))

    def _answered(self, number: int, status: int, body: bytes) -> None:
        ledger = self._ledger
        ledger.told[status] += 1
        if status != 200:
            ledger.refused[number] += 1
        elif body == page(number):
            ledger.pages[number] += 1
        else:
            ledger.wrong.append(f"{number}: {len(body)} bytes that are no page: {body[:40]!r}")
        self._next(number if status != 200 and self._may_ask_again(number) else None)

    def _may_ask_again(self, number: int) -> bool:
        """As an application would: whether a POST without a key was executed, only its author can find out."""
        return self._ledger.kinds[number] is not Kind.KEYLESS


async def open_origin(ledger: Ledger, seed: int) -> asyncio.Server:
    """Serve the ledger's origin on a free port of loopback."""
    loop = asyncio.get_running_loop()
    rng = random.Random(seed)
    return await loop.create_server(lambda: OriginSide(ledger, rng, loop), "127.0.0.1", 0)


async def keep(ledger: Ledger, port: int, connections: int, seed: int) -> None:
    """Make every call of the ledger once, in a random order, over so many connections of the app."""
    loop = asyncio.get_running_loop()
    numbers = list(range(len(ledger.kinds)))
    random.Random(seed + 1).shuffle(numbers)
    open_now = 0
    done = loop.create_future()

    def take() -> int | None:
        return numbers.pop() if numbers else None

    def ended(side: AppSide) -> None:
        nonlocal open_now
        open_now -= 1
        if side.again is not None:
            numbers.append(side.again)
        if numbers:
            connect()
        elif not open_now and not done.done():
            done.set_result(None)

    def connect() -> None:
        nonlocal open_now
        open_now += 1
        tasks.append(
            loop.create_task(loop.create_connection(lambda: AppSide(ledger, take, ended), "127.0.0.1", port))
        )

    tasks: list[asyncio.Task[object]] = []
    for _ in range(connections):
        connect()
    await done
