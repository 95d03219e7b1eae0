"""The upstream's answers as bytes, whole or streaming."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from proxy.base.outcomes import ExchangeOutcome
from proxy.respond.client import ClientStream
from proxy.respond.local import LocalReply
from proxy.respond.places import Places
from proxy.wire.encode import chunk, last_chunk
from proxy.wire.request_parser import Request
from proxy.wire.response import Response
from proxy.wire.response_head import BodyEnd, ResponseHead

PERSISTS = b""
CLOSES = b"Connection: close\r\n"
KEEPS_ALIVE = b"Connection: keep-alive\r\n"
"""The Connection line of an answer: none for HTTP/1.1 apps, which keep alive by default (RFC 9112 §9.3)."""


class Marks:
    """The header lines every answer gets: Via, how many attempts it took, and Connection where it needs one."""

    def __init__(self, via: bytes) -> None:
        self._via = via
        self._known: dict[tuple[int, bytes], bytes] = {}

    def lines(self, attempts: int, persistence: bytes) -> bytes:
        """Return the lines, each ended by CRLF, and the empty line that ends a head. Encoded once per count."""
        key = (attempts, persistence)
        known = self._known.get(key)
        if known is None:
            known = b"Via: 1.1 %b\r\nSidegate-Attempts: %d\r\n%b\r\n" % (self._via, attempts, persistence)
            if attempts < 1000:
                self._known[key] = known
        return known


class DateLine:
    """The Date line for answers without one (RFC 9110 §6.6.1), made once a second. ``wall`` gives Unix seconds."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._second = -1
        self._line = b""

    def now(self) -> bytes:
        """Return the line, ended by CRLF."""
        second = int(self._wall())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


_JOIN_UP_TO = 64 << 10
"""Bodies up to this size are copied behind their head and sent in one piece; larger ones go in several, uncopied."""


def write_whole(
    client: ClientStream,
    response: Response,
    marks: bytes,
    *,
    may_trail: bool = False,
    keeps_chunks: bool = False,
) -> int:
    """Send an answer that is all here; return its body's bytes.

    ``may_trail``: the app reads trailers. ``keeps_chunks``: what came in chunks is sent so, though its length is known by now.
    """
    head = response.head
    size = response.body_bytes
    framing = b""
    trailers = response.trailers if may_trail else []
    if trailers or (keeps_chunks and head.body_end is BodyEnd.CHUNKS):
        body = [chunk(part) for part in response.chunks if part]
        framing = b"Transfer-Encoding: chunked\r\n"
        client.writelines([b"".join((head.start, head.lines, framing, marks)), *body, last_chunk(trailers)])
        return size
    if head.body_end is BodyEnd.CHUNKS or head.body_end is BodyEnd.CLOSE:
        # Now that it is whole, its length says better where it ends.
        framing = b"Content-Length: %d\r\n" % size
    if size <= _JOIN_UP_TO:
        client.write(b"".join((head.start, head.lines, framing, marks, *response.chunks)))
    else:
        client.writelines([b"".join((head.start, head.lines, framing, marks)), *response.chunks])
    return size


async def relay(
    client: ClientStream,
    response: Response,
    marks: bytes,
    *,
    may_chunk: bool,
    may_trail: bool,
    on_paused: Callable[[], None],
    patience_s: float,
) -> tuple[int, bool]:
    """Send an answer as it arrives; return body bytes and whether it ended as it should.

    Where it did not, the caller must break the connection: a cut has to look like one. ``may_chunk`` is false for HTTP/1.0
    apps, whose answer of unknown length ends with the connection. ``on_paused`` is called each time that reading from the
    upstream pauses because the app does not take; an app that takes nothing for ``patience_s`` is let go.
    """
    rest = response.rest
    assert rest is not None
    head = response.head
    in_chunks = head.content_length is None and may_chunk
    framing = b"Transfer-Encoding: chunked\r\n" if in_chunks else b""
    client.write(b"".join((head.start, head.lines, framing, marks)))
    sent = 0
    parts = response.chunks
    response.chunks = []
    while not client.is_gone:
        if parts:
            sent += sum(map(len, parts))
            client.writelines([chunk(part) for part in parts] if in_chunks else parts)
        if client.is_write_paused:
            rest.pause()
            on_paused()
            if not await client.until_writable(patience_s):
                break
            rest.resume()
        parts = await rest.read()
        if not parts:
            break
    if rest.is_complete and in_chunks:
        client.write(last_chunk(rest.trailers if may_trail else []))
    return sent, rest.is_complete


SWITCHED: Final = 101
_CONNECTED: Final = 200


class Responder:
    """Answers calls, and says of each answer in its call's outcome. Returns whether the app's connection may serve another."""

    def __init__(self, via: bytes, places: Places | None, wall: Callable[[], float]) -> None:
        self._marks = Marks(via)
        self._date = DateLine(wall)
        self._places = places

    def _turn_places(self, request: Request, head: ResponseHead) -> None:
        if head.names_places and self._places is not None and request.target[:1] == b"/":
            head.lines = self._places.turn(head)

    def _lines(self, request: Request, outcome: ExchangeOutcome, closes: bool, *, is_dated: bool) -> bytes:
        persistence = CLOSES if closes else PERSISTS if request.facts.speaks_1_1 else KEEPS_ALIVE
        if request.elsewhere is not None:
            return persistence + b"\r\n"  # what is passed through carries no line of ours
        marks = self._marks.lines(outcome.attempts, persistence)
        return marks if is_dated else self._date.now() + marks

    def whole(
        self, client: ClientStream, request: Request, response: Response, outcome: ExchangeOutcome
    ) -> bool:
        """Send an answer of the upstream that is all here."""
        closes = client.needs_close(request)
        outcome.status = response.head.status
        self._turn_places(request, response.head)
        outcome.bytes_in = write_whole(
            client,
            response,
            self._lines(request, outcome, closes, is_dated=response.head.is_dated),
            may_trail=request.facts.takes_trailers,
            # An app can tell chunks from a length: what is passed through is framed as it would be without us.
            keeps_chunks=request.elsewhere is not None and request.facts.speaks_1_1,
        )
        return not closes

    def local(
        self, client: ClientStream, request: Request, reply: LocalReply, outcome: ExchangeOutcome
    ) -> bool:
        """Send an answer of the sidecar's own."""
        outcome.status, outcome.reason, outcome.detail = reply.status, reply.reason, reply.detail
        outcome.local = True
        closes = client.needs_close(request) or request.facts.refusal is not None
        marks = self._lines(request, outcome, closes, is_dated=False)
        client.write(reply.encode(marks, answers_head=request.method == b"HEAD"))
        return not closes

    def switched(self, client: ClientStream, head: ResponseHead, outcome: ExchangeOutcome) -> None:
        """Send the upstream's word that it switches protocols."""
        outcome.status = head.status
        client.write(
            b"%b%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (head.start, head.lines, head.upgrade)
        )

    def connected(self, client: ClientStream, outcome: ExchangeOutcome) -> None:
        """Tell the app that its tunnel stands (RFC 9110 §9.3.6)."""
        outcome.status = _CONNECTED
        client.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def streaming(
        self,
        client: ClientStream,
        request: Request,
        response: Response,
        outcome: ExchangeOutcome,
        *,
        on_paused: Callable[[], None],
        patience_s: float,
    ) -> bool:
        """Pass on an answer that is too large to verify; a cut ends as a cut. ``outcome.is_cut`` says that it was one."""
        may_chunk = request.facts.speaks_1_1
        closes = client.needs_close(request) or (response.head.content_length is None and not may_chunk)
        outcome.status = response.head.status
        self._turn_places(request, response.head)
        marks = self._lines(request, outcome, closes, is_dated=response.head.is_dated)
        outcome.bytes_in, is_complete = await relay(
            client,
            response,
            marks,
            may_chunk=may_chunk,
            may_trail=request.facts.takes_trailers,
            on_paused=on_paused,
            patience_s=patience_s,
        )
        if not is_complete:
            outcome.is_cut = True
            client.break_off()
        return is_complete and not closes
