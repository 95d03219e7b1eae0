"""One connection of the app: requests in, served one after the other by one coroutine.

The transport's callbacks only note what happened and fire ``signal``; ``_serve`` decides. A close by the app, and an end of
its sending side while no body is due, cancels the coroutine and with it whatever the call was waiting for: an app that closed
its socket and one that only half-closed it look the same from here, and the first is what happens.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

from proxy.accept.rules import Rules
from proxy.attempt.connection import Connection, Ends
from proxy.attempt.outgoing import BodySource
from proxy.base.deadlines import NEVER, Deadlines
from proxy.base.reasons import Problem, Reason
from proxy.base.signal import Signal
from proxy.base.splice import Splice
from proxy.call import Client
from proxy.exchange import Exchange
from proxy.respond.local import LocalReply
from proxy.respond.reply import CLOSES
from proxy.wire.request_facts import Refusal
from proxy.wire.request_parser import Request, RequestParser

_log = logging.getLogger("sidegate.accept")

_READ_AHEAD_BYTES = 100 << 10
_LINGER_S = 2.0
_LINGER_BYTES = 1 << 20
_LAST_MARKS = CLOSES + b"\r\n"


class Listener(Protocol):
    """Whoever keeps the connections."""

    exchange: Exchange
    rules: Rules
    deadlines: Deadlines
    head_timeout_s: float
    idle_s: float
    max_head_bytes: int
    max_headers: int
    is_draining: bool

    def connection_opened(self, connection: Downstream) -> bool:
        """Note a new connection; whether it may stay."""

    def turn_away(self, transport: asyncio.Transport) -> None:
        """Answer and end a connection that may not stay."""

    def connection_closed(self, connection: Downstream) -> None:
        """Forget a connection."""

    def request_refused(self, status: int, reason: Reason, detail: str) -> None:
        """A request was refused before it was one."""

    def monotonic(self) -> float:
        """Seconds."""

    def has_made(self, ends: Ends) -> bool:
        """Whether a connection was made by this very sidecar."""


class Downstream(asyncio.Protocol):
    """The app's connection, and what ``exchange`` knows as its Client."""

    __slots__ = (
        "_discarded_bytes",
        "_has_ended",
        "_held_bytes",
        "_is_closing",
        "_is_lingering",
        "_is_reading_paused",
        "_listener",
        "_loop",
        "_parser",
        "_read_ahead_bytes",
        "_splice",
        "_task",
        "_transport",
        "deadline",
        "has_expired",
        "idle_since",
        "is_busy",
        "is_gone",
        "is_write_paused",
        "signal",
        "tied",
    )

    _transport: asyncio.Transport

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._loop = loop
        self._parser = RequestParser(max_head_bytes=listener.max_head_bytes, max_headers=listener.max_headers)
        self._task: asyncio.Task[None] | None = None
        self._splice: Splice | None = None
        self._read_ahead_bytes = _READ_AHEAD_BYTES
        self._is_reading_paused = False
        self._is_closing = False
        self._is_lingering = False
        self._has_ended = False
        self._discarded_bytes = 0
        self._held_bytes = 0
        self.signal = Signal(loop)
        self.tied: Connection | None = None
        self.deadline = NEVER
        self.has_expired = False
        self.idle_since = 0.0
        self.is_busy = False
        self.is_gone = False
        self.is_write_paused = False

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        if not self._listener.connection_opened(self):
            self.is_gone = True
            self._listener.turn_away(self._transport)
            return
        self.idle_since = self._listener.monotonic()
        self.deadline = self.idle_since + self._listener.idle_s
        self._listener.deadlines.add(self)
        self._task = self._loop.create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        if self._is_lingering:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > _LINGER_BYTES:
                self._transport.abort()
            return
        if self._splice is not None:
            self._splice.data(self._transport, data)
            return
        parser = self._parser
        parser.feed(data)
        if parser.is_full or parser.unread_bytes > self._read_ahead_bytes:
            self._pause_reading()
        self.signal.fire()

    def eof_received(self) -> bool:
        self._has_ended = True
        if self._splice is not None:
            self._splice.eof(self._transport)
            return True
        if self.is_busy and self._task is not None:
            self._task.cancel()
        self.signal.fire()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self._give_back_held()
        self._listener.deadlines.discard(self)
        self._listener.connection_closed(self)
        if self.tied is not None:
            self.tied.transport.abort()
        if self._splice is not None:
            self._splice.end()
        elif self._task is not None:
            self._task.cancel()
        self.signal.fire()

    def pause_writing(self) -> None:
        self.is_write_paused = True
        if self._splice is not None:
            self._splice.pause(self._transport)

    def resume_writing(self) -> None:
        self.is_write_paused = False
        self._give_back_held()
        if self._splice is not None:
            self._splice.resume(self._transport)
        self.signal.fire()

    def _expire_at(self, deadline: float) -> None:
        self.deadline = deadline
        deadlines = self._listener.deadlines
        if deadline < deadlines.next_sweep:
            deadlines.hurry(deadline)

    def expire(self, now: float) -> None:
        """The deadline passed (called by the sweep)."""
        self.deadline = NEVER
        self.has_expired = True
        if self._is_lingering:
            self._transport.abort()
        self.signal.fire()

    # what exchange and respond need

    def hold(self, answer_bytes: int) -> None:
        """So many bytes of an answer are held until the app has taken them."""
        if self.is_write_paused and not self.is_gone:
            self._held_bytes += answer_bytes
        else:
            self._listener.exchange.answers.give(answer_bytes)

    def _give_back_held(self) -> None:
        if self._held_bytes:
            self._listener.exchange.answers.give(self._held_bytes)
            self._held_bytes = 0

    def write(self, data: bytes) -> None:
        """Send ``data``; nothing happens once the app is gone."""
        if not self.is_gone:
            self._transport.write(data)

    def writelines(self, parts: list[bytes]) -> None:
        """Send all parts."""
        if not self.is_gone:
            self._transport.writelines(parts)

    def needs_close(self, request: Request) -> bool:
        """Whether the connection ends with this request's answer.

        It does when either side said so, when the app's bytes broke HTTP, and when a body is still on its way: reading on to
        its end would be work for nothing, and the next request stands behind it.
        """
        return (
            not request.facts.keep_alive
            or not request.is_whole
            or self._parser.failed is not None
            or self._listener.is_draining
        )

    async def until_writable(self, patience_s: float) -> bool:
        """Wait until the app has taken most of what was written; False where it takes nothing for ``patience_s``."""
        left = -1
        while self.is_write_paused and not self.is_gone:
            waits = self._transport.get_write_buffer_size()
            if waits != left:
                left = waits
                self._expire_at(self._listener.monotonic() + patience_s)
            elif self.has_expired:
                return False
            self.has_expired = False
            await self.signal.wait()
        self.deadline = NEVER
        return not self.is_gone

    async def join(self, other: Connection, first: list[bytes]) -> Splice:
        """Become one with ``other`` until both have ended; ``first`` came from there before."""
        splice = self._splice = other.splice = Splice(self._transport, other.transport)
        try:
            for data in first:
                splice.data(other.transport, data)
            unread = self._parser.take_unread()
            if unread:
                splice.data(self._transport, unread)
            if other.is_lost:
                splice.end()
            elif not self.is_gone:
                self._is_reading_paused = True
                self._resume_reading()
            await splice.over
        finally:
            splice.end()
        return splice

    def break_off(self) -> None:
        """Close so that an answer of unknown length cannot pass for whole."""
        self._is_closing = True
        if not self.is_gone:
            self._transport.abort()

    async def collect_body(
        self, request: Request, cap_bytes: int, idle_s: float, deadline: float
    ) -> Refusal | None:
        """Wait until the body is whole or exceeds ``cap_bytes``; a refusal where it never will."""
        facts = request.facts
        if facts.content_length is not None and facts.content_length > cap_bytes:
            return None
        if facts.expects_continue and not request.is_whole and not request.waiting_bytes:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._read_ahead_bytes = max(cap_bytes, _READ_AHEAD_BYTES)
        self._resume_reading()
        seen = -1
        while not request.is_whole and request.waiting_bytes <= cap_bytes:
            failed = self._parser.failed
            if failed is not None:
                return Refusal(failed.problem, failed.detail)
            if request.waiting_bytes != seen:
                seen = request.waiting_bytes
                self._expire_at(min(self._listener.monotonic() + idle_s, deadline))
            if self.has_expired:
                is_late = self._listener.monotonic() >= deadline
                why = "the call ran out of time" if is_late else f"no body byte came for {idle_s:g} s"
                return Refusal(Problem.SLOW, f"{why}; {seen} bytes of the body are here")
            await self.signal.wait()
        self.deadline = NEVER
        self._read_ahead_bytes = _READ_AHEAD_BYTES
        return None

    def body_source(self, request: Request) -> BodySource:
        """Return the rest of a body as it arrives."""
        return _StreamedBody(self, request)

    def take_body(self, request: Request) -> list[bytes]:
        """Return what has arrived of a body, and read on."""
        parts = request.take_all()
        self._resume_reading()
        return parts

    @property
    def has_broken_http(self) -> bool:
        """Whether the app's bytes stopped making sense."""
        return self._parser.failed is not None

    # the coroutine

    async def _serve(self) -> None:
        listener = self._listener
        parser = self._parser
        ready = parser.ready
        is_new = True
        try:
            while True:
                while not ready:
                    if not self._may_wait():
                        return
                    await self.signal.wait()
                if self._has_ended:
                    self._close(lingering=False)
                    return
                request = ready.popleft()
                parser.read_on()
                if not parser.is_full:
                    self._resume_reading()
                self.deadline = NEVER
                self.has_expired = False
                self.is_busy = True
                refusal = listener.rules.read(request)
                if is_new:
                    is_new = False
                    if self._comes_from_here():
                        refusal = Refusal(Problem.LOOP, "the upstream's address leads back to this sidecar")
                may_go_on = await listener.exchange.carry(request, self, refusal)
                self.is_busy = False
                if self._splice is not None:
                    self._is_closing = True  # both ends are closing, behind what they have still to say
                    return
                if not may_go_on or self._is_closing:
                    self._close(lingering=not request.is_whole or parser.failed is not None)
                    return
                self.idle_since = listener.monotonic()
                self._expire_at(self.idle_since + listener.idle_s)
                while self.is_write_paused and not self.is_gone and not self.has_expired:
                    await self.signal.wait()
        except asyncio.CancelledError:
            self._close(lingering=False)
            if not self.is_gone and not self._has_ended:
                raise
        except Exception:
            _log.exception("a call failed inside the sidecar; its connection is closed")
            self.break_off()
        finally:
            self.is_busy = False

    def _comes_from_here(self) -> bool:
        peer = self._transport.get_extra_info("peername")
        own = self._transport.get_extra_info("sockname")
        return bool(peer and own) and self._listener.has_made((peer[0], peer[1], own[0], own[1]))

    def _may_wait(self) -> bool:
        """Look at the connection between two requests; False once it has ended."""
        parser = self._parser
        failed = parser.failed
        if failed is not None:
            self._refuse(failed.problem, failed.detail)
            self._close(lingering=True)
            return False
        if self.is_gone or self._has_ended or parser.is_closing:
            self._close(lingering=False)
            return False
        if self.has_expired:
            is_slow = parser.is_in_head
            if is_slow:
                self._refuse(
                    Problem.SLOW, f"no whole request head within {self._listener.head_timeout_s:g} s"
                )
            self._close(lingering=is_slow)
            return False
        if parser.is_in_head:
            self._expire_at(min(self.deadline, self._listener.monotonic() + self._listener.head_timeout_s))
        return True

    def _refuse(self, problem: Problem, detail: str) -> None:
        """Answer bytes that never became a request."""
        reply = LocalReply(problem, detail)
        self._listener.request_refused(reply.status, reply.reason, detail)
        self.write(reply.encode(_LAST_MARKS, answers_head=False))

    def _close(self, *, lingering: bool) -> None:
        """Close after what was written; ``lingering`` reads on for a while, lest a reset overtake the answer.

        RFC 9112 §9.6: closing with unread bytes in the socket makes the kernel send a reset, and the app may then never see
        the answer that explains the close.
        """
        self._is_closing = True
        if self.is_gone:
            return
        if lingering and not self._has_ended and self._transport.can_write_eof():
            self._is_lingering = True
            self._expire_at(self._listener.monotonic() + _LINGER_S)
            self._resume_reading()
            self._transport.write_eof()
        else:
            self._transport.close()

    def close_when_idle(self) -> None:
        """Close unless a call is under way (draining)."""
        if not self.is_busy and not self._parser.is_in_head and not self._parser.ready:
            self._close(lingering=False)

    def abort(self) -> None:
        """Close at once."""
        if not self.is_gone:
            self._transport.abort()

    def _pause_reading(self) -> None:
        if not self._is_reading_paused and not self.is_gone:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused and not self.is_gone:
            self._is_reading_paused = False
            self._transport.resume_reading()

    def __repr__(self) -> str:
        state = "gone" if self.is_gone else "busy" if self.is_busy else "idle"
        return f"<Downstream {state} {len(self._parser.ready)} requests ahead>"


class _StreamedBody:
    """A body too large to keep, on its way through."""

    __slots__ = ("_connection", "_request")

    def __init__(self, connection: Downstream, request: Request) -> None:
        self._connection = connection
        self._request = request

    @property
    def is_whole(self) -> bool:
        """Whether the last byte is in."""
        return self._request.is_whole

    @property
    def has_begun(self) -> bool:
        """Whether the app has sent some of it, or all there is."""
        return self._request.waiting_bytes > 0 or self._request.is_whole

    @property
    def is_broken(self) -> bool:
        """Whether the rest will never come."""
        return self._connection.has_broken_http or self._connection.is_gone

    def take(self) -> list[bytes]:
        """Return what has arrived."""
        return self._connection.take_body(self._request)


def _check_client(connection: Downstream) -> Client:
    """Downstream is what exchange expects (checked by mypy)."""
    return connection
