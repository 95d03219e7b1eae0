"""One try: take a connection, send the request, wait for the answer. What happened stands in its AttemptOutcome.

``run`` returns an answer or None; after either, and after a cancellation, ``finish`` must be called once: it gives the
connection back or closes it. A failure is never raised out of here; its reason is in the outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from proxy.attempt.connection import Connection
from proxy.attempt.outgoing import BodySource, Outgoing
from proxy.attempt.upstream import Upstream
from proxy.base.deadlines import NEVER
from proxy.base.errors import ConnectError
from proxy.base.outcomes import AttemptOutcome
from proxy.base.reasons import Reason
from proxy.base.signal import Signal
from proxy.wire.encode import LAST_CHUNK, chunk
from proxy.wire.response import Response

_PATIENCE_FOR_100_S: Final = 1.0


class InterimSink(Protocol):
    """An app that understands interim answers."""

    def write(self, data: bytes) -> None:
        """Send ``data``."""


class Owner(Protocol):
    """The app's connection. ``tied`` is a connection that serves nobody else, for the upstream knows it by a login."""

    tied: Connection | None
    is_gone: bool


class AttemptLimits:
    """How long and how much one attempt may take; durations in seconds."""

    __slots__ = ("body_idle_s", "connect_s", "response_head_s", "verify_bytes")

    def __init__(
        self, *, connect_s: float, response_head_s: float, body_idle_s: float, verify_bytes: int
    ) -> None:
        self.connect_s = connect_s
        self.response_head_s = response_head_s
        self.body_idle_s = body_idle_s
        self.verify_bytes = verify_bytes


class Attempt:
    """One try at the upstream, and the reader of its answer's body where that streams."""

    _sent_at = 0.0
    _is_sent = True
    _is_passed_on = False
    _is_tied = False

    def __init__(
        self,
        upstream: Upstream,
        signal: Signal,
        owner: Owner,
        app: InterimSink | None,
        outcome: AttemptOutcome,
        limits: AttemptLimits,
        deadline: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._connection: Connection | None = None
        self._upstream = upstream
        self._pool = upstream.pool
        self._signal = signal
        self._app = app
        self._owner = owner
        self.outcome = outcome
        self._limits = limits
        self._deadline = deadline
        self._monotonic = monotonic

    async def run(self, outgoing: Outgoing, fresh: bool = False) -> Response | None:
        """Send the request, return its answer, whole or streaming; None when there is none worth the name."""
        outcome = self.outcome
        now = outcome.started_at
        connection = None
        if outgoing.request.facts.logs_in or self._owner.tied is not None:
            self._is_tied = True
            connection = self._take_tied(now, fresh)
        elif not fresh:
            connection = self._pool.try_take(now)
        if connection is None:
            connection = await self._connect(fresh)
            if connection is None:
                return None
            self._connection = connection
            now = self._monotonic()
        self._connection = connection
        self._sent_at = now
        outcome.address = connection.address
        outcome.uses = connection.uses
        outcome.age_s = now - connection.opened_at
        outcome.idle_s = now - connection.idle_since
        limits = self._limits
        connection.begin(
            self._signal,
            outgoing.request.method == b"HEAD",
            limits.verify_bytes,
            limits.body_idle_s,
            self._deadline,
            may_switch=bool(outgoing.request.facts.upgrade),
            passes_100=outgoing.waits_for_100,
        )
        connection.wait_until(now + limits.response_head_s)
        head = outgoing.encode_head(self._upstream)
        outcome.head_out = outcome.bytes_out = len(head)
        if outgoing.body:
            connection.transport.writelines([head, *outgoing.body])
            outcome.bytes_out += sum(map(len, outgoing.body))
        else:
            connection.transport.write(head)
        source = outgoing.source
        if source is not None and not await self._send_rest(
            connection, source, outgoing.is_chunked, outgoing.waits_for_100
        ):
            return None
        while not connection.has_news:
            if connection.parser.interim:
                self._pass_on_interim(connection)
            await self._signal.wait()
        if connection.parser.interim:
            self._pass_on_interim(connection)
        return self._answer(connection)

    def _take_tied(self, now: float, fresh: bool) -> Connection | None:
        """RFC 4559 §6: whose login a connection carries, to that app's connection it stays."""
        tied, self._owner.tied = self._owner.tied, None
        if tied is None:
            return None
        if not fresh and tied.is_fresh_enough(now, self._pool.idle_s, NEVER):
            return tied
        self._pool.discard(tied, "stale")
        return None

    async def _connect(self, fresh: bool) -> Connection | None:
        outcome = self.outcome
        left_s = self._deadline - outcome.started_at
        timeout_s = min(self._limits.connect_s, left_s)
        try:
            async with asyncio.timeout(left_s):
                connection = await self._pool.take(max(timeout_s, 0.001), fresh=fresh)
        except ConnectError as error:
            outcome.reason = error.reason
            outcome.error = error.detail
            outcome.is_local = error.is_local
            return None
        except TimeoutError:
            outcome.reason = Reason.DEADLINE
            outcome.error = "no connection became free in time"
            return None
        if not connection.uses:
            timings = connection.timings
            outcome.dns_s, outcome.connect_s, outcome.tls_s = timings.dns_s, timings.connect_s, timings.tls_s
        return connection

    async def _send_rest(
        self, connection: Connection, source: BodySource, is_chunked: bool, waits_for_100: bool
    ) -> bool:
        """Pass the body on as it arrives, until its end or until the upstream has answered early.

        False when the app broke off. A pause in the app's sending counts as ``body_idle``, not as the upstream's silence.
        """
        self._is_sent = False
        limits = self._limits
        if waits_for_100:
            await self._until_100(connection, source)
        while not connection.has_head_or_news:
            if source.is_broken:
                self.outcome.reason = Reason.CLIENT_GONE
                self.outcome.error = "the request body broke off"
                return False
            was_whole = source.is_whole
            parts = source.take()
            if parts:
                if is_chunked:
                    parts = [chunk(part) for part in parts]
                connection.transport.writelines(parts)
                self.outcome.bytes_out += sum(map(len, parts))
                connection.wait_until(self._monotonic() + limits.body_idle_s)
            elif was_whole:
                if is_chunked:
                    connection.transport.write(LAST_CHUNK)
                self._is_sent = True
                self._sent_at = self._monotonic()
                connection.wait_until(self._sent_at + limits.response_head_s)
                return True
            else:
                await self._signal.wait()
            while connection.is_write_paused and not connection.has_head_or_news:
                await self._signal.wait()
        return True

    async def _until_100(self, connection: Connection, source: BodySource) -> None:
        """Wait for the upstream's 100 or its answer. One that is silent for a while may know no 100: the app gets ours.

        An app that sends before it is told to waits for none.
        """
        try:
            async with asyncio.timeout(_PATIENCE_FOR_100_S):
                while not (connection.has_head_or_news or connection.parser.interim or source.has_begun):
                    await self._signal.wait()
        except TimeoutError:
            if self._app is not None:
                self._app.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._pass_on_interim(connection)

    def _pass_on_interim(self, connection: Connection) -> None:
        """RFC 9110 §15.2: an interim answer goes on to an app that speaks HTTP/1.1."""
        for head in connection.parser.take_interim():
            if self._app is not None:
                self._app.write(head)

    def _answer(self, connection: Connection) -> Response | None:
        parser = connection.parser
        outcome = self.outcome
        now = outcome.ended_at = self._monotonic()
        head = parser.head
        if head is not None and not parser.error:
            outcome.status = head.status
            outcome.bytes_in = parser.body_bytes
            outcome.head_s = now - self._sent_at
            if parser.is_whole:
                response = Response(head, parser.chunks, parser.body_bytes, None)
                response.trailers = parser.trailers
                return response
            if not connection.is_lost and not connection.has_expired:
                outcome.head_at = now
                self._is_passed_on = True
                connection.outlive_call()
                return Response(head, parser.take_chunks(), 0, self)
        self._blame(connection)
        return None

    def _blame(self, connection: Connection) -> None:
        """Say in the outcome why the answer did not come, or did not come whole."""
        parser = connection.parser
        outcome = self.outcome
        if parser.error:
            outcome.reason, outcome.error = Reason.BAD_RESPONSE, parser.error
        elif connection.has_expired:
            now = self._monotonic()
            if now >= self._deadline and not self._is_passed_on:
                outcome.reason = Reason.DEADLINE
            else:
                outcome.reason = Reason.HEAD_TIMEOUT if parser.head is None else Reason.BODY_TIMEOUT
            if parser.head is None:
                outcome.error = f"no head of an answer in {now - self._sent_at:.1f} s"
            else:
                length = parser.head.content_length
                of = "unknown length" if length is None else f"{length} bytes"
                outcome.error = f"{parser.body_bytes} bytes of {of} in {now - self._sent_at:.1f} s, no end"
        elif connection.is_lost:
            if parser.head is not None:
                outcome.reason = Reason.TRUNCATED
            elif connection.uses > 1 and not connection.has_answer_bytes:
                outcome.reason = Reason.STALE_CONNECTION
            else:
                outcome.reason = Reason.RESET
            detail = connection.failure or "closed by the upstream"
            outcome.error = f"{detail} after {parser.body_bytes} body bytes" if parser.head else detail

    # the body of an answer that streams

    async def read(self) -> list[bytes]:
        """Return the next body bytes, [] at the end, true or not."""
        connection = self._connection
        assert connection is not None
        parser = connection.parser
        connection.wake_bytes = -1
        connection.wait_until(self._monotonic() + self._limits.body_idle_s)
        while True:
            chunks = parser.take_chunks()
            if chunks:
                return chunks
            if parser.is_whole or parser.error or connection.is_lost or connection.has_expired:
                break
            connection.resume_reading()
            await self._signal.wait()
        outcome = self.outcome
        now = outcome.ended_at = self._monotonic()
        outcome.bytes_in = parser.body_bytes
        outcome.body_s = now - self._sent_at - outcome.head_s
        if not self.is_complete:
            self._blame(connection)
        return []

    @property
    def is_complete(self) -> bool:
        """Whether the answer's last byte has arrived."""
        connection = self._connection
        return connection is not None and connection.parser.is_whole and not connection.parser.error

    @property
    def trailers(self) -> list[bytes]:
        """Field lines behind the answer's body, once it is complete."""
        connection = self._connection
        return connection.parser.trailers if connection is not None else []

    def pause(self) -> None:
        """Stop reading: the app is slower than the upstream."""
        connection = self._connection
        if connection is not None and not connection.is_lost:
            connection.pause_reading()
            connection.wait_until(NEVER)

    def resume(self) -> None:
        """Read on, once what is here is taken."""
        connection = self._connection
        if connection is not None and not connection.is_lost:
            connection.wait_until(self._monotonic() + self._limits.body_idle_s)

    def switch(self) -> Connection:
        """Return the connection that has switched protocols; ``finish`` closes it."""
        connection = self._connection
        assert connection is not None
        connection.outlive_call()
        connection.wait_until(NEVER)
        return connection

    def finish(self) -> None:
        """Give the connection back if its answer is whole and it may be kept; close it otherwise."""
        outcome = self.outcome
        if outcome.ended_at <= outcome.started_at:
            outcome.ended_at = self._monotonic()
        connection = self._connection
        if connection is None:
            return
        self._connection = None
        if self._is_tied and self._is_sent and connection.is_reusable and not self._owner.is_gone:
            connection.end(outcome.ended_at)
            self._owner.tied = connection
        elif self._is_sent and connection.is_reusable and not self._is_tied:
            self._pool.give_back(connection, outcome.ended_at)
        else:
            self._pool.discard(connection, "not reusable" if connection.parser.is_whole else "unread")
