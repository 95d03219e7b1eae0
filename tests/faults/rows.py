"""The matrix. A row: the fault, what the origin does, what the app does, what it must see, and what must be counted.

``counts`` reads: attempts by reason; calls by status and reason. Three tries a call, if nothing else is said.
"""

from __future__ import annotations

import asyncio
import gzip
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.app import App, request
from tests.fakes.loop import soon, until
from tests.fakes.origin import Asked, Line, Origin, Step, answer, chunked, cut, reset, silence
from tests.fakes.ports import free_port
from tests.faults.scene import LARGE, PAGE, Scene, seen

Play = Callable[[Scene], Awaitable[str]]


# --- what the app does


async def get(scene: Scene) -> str:
    """One GET."""
    return seen(await (await scene.app()).get("/page"))


def calls(*asked: tuple[str, bytes] | str, headers: tuple[str, ...] = ()) -> Play:
    """Calls one after the other on one connection: ``"GET"``, or ``("POST", body)``."""

    async def play(scene: Scene) -> str:
        app = await scene.app()
        saw = []
        for each in asked:
            method, body = (each, b"") if isinstance(each, str) else each
            # An answer may come, and the connection end, while the body is still on its way.
            sending = asyncio.ensure_future(app.ask("/page", method, headers, body))
            saw.append(seen(await app.answer(to_head=method == "HEAD")))
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return ", then ".join(saw)

    return play


def raw(data: bytes) -> Play:
    """These bytes, and then the answer."""

    async def play(scene: Scene) -> str:
        app = await scene.app()
        await app.send(data)
        return seen(await app.answer())

    return play


def at_once(number: int, play: Play = get) -> Play:
    """So many apps at the same time; what they saw, each kind once."""

    async def played(scene: Scene) -> str:
        saw = await asyncio.gather(*(play(scene) for _ in range(number)))
        return ", ".join(f"{saw.count(each)} × {each}" for each in sorted(set(saw)))

    return played


def leaves(how: Callable[[App], None], data: bytes = request("/page"), until_head: bool = False) -> Play:
    """Send ``data`` and leave: while waiting, or ``until_head`` while the answer comes."""

    async def play(scene: Scene) -> str:
        app = await scene.app()
        await app.send(data)
        if until_head:
            await app.head()
        elif data.endswith(b"\r\n\r\n"):
            await until_asked(scene)
        how(app)
        return "nothing: it left"

    return play


async def until_asked(scene: Scene) -> None:
    """Return when the origin has a connection that something was sent on."""
    await until(lambda: scene.origin.lines, "the origin is asked")


async def never_reads(scene: Scene) -> str:
    """Ask for a large page and take nothing of it."""
    app = await scene.app(receive_buffer=4096)
    await app.ask("/page")
    head = await app.head()
    await asyncio.sleep(2.5)
    rest = await app.rest()
    return f"{head.status}, and {'all' if len(rest) == len(LARGE) * 64 else 'a part'} of it"


async def trickles_head(scene: Scene) -> str:
    """Send a head of which a byte comes every 50 ms, for longer than ``downstream.head_timeout``."""
    app = await scene.app()
    whole = request("/page", headers=["X-Long: " + "x" * 100])
    for byte in whole[:40]:
        await app.send(bytes([byte]))
        await asyncio.sleep(0.05)
        if app.reader.at_eof():
            break
    return seen(await app.answer())


async def stops_uploading(scene: Scene) -> str:
    """Announce ten bytes, send three, and say no more."""
    app = await scene.app()
    await app.send(b"POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    return seen(await app.answer())


async def pipelined(scene: Scene) -> str:
    """Three requests in one piece."""
    app = await scene.app()
    await app.send(request("/1") + request("/2") + request("/3"))
    return ", then ".join([seen(await app.answer()) for _ in range(3)])


async def idle_app(scene: Scene) -> str:
    """Connect, say nothing, and look what happens."""
    app = await scene.app()
    await asyncio.sleep(1.5)
    return f"{len(await app.rest())} bytes, then the end"


def tunnels(target: Callable[[Scene], str]) -> Play:
    """CONNECT to the target, and a word through the tunnel where it stands."""

    async def play(scene: Scene) -> str:
        app = await scene.app()
        await app.send(f"CONNECT {target(scene)} HTTP/1.1\r\nHost: {target(scene)}\r\n\r\n".encode())
        answered = await soon(app.reader.readuntil(b"\r\n\r\n"))
        status = str(answered.split(b" ")[1].decode())
        if status != "200":
            return status
        await app.send(request("/page"))
        return f"200, then {seen(await app.answer())}"

    return play


def elsewhere(target: Callable[[Scene], str]) -> Play:
    """A call for another host."""

    async def play(scene: Scene) -> str:
        return seen(await (await scene.app()).get(target(scene)))

    return play


def dead_port(_: Scene) -> str:
    """An address where nobody listens."""
    return f"127.0.0.1:{free_port()}"


async def switches(scene: Scene) -> str:
    """Ask for another protocol and speak it."""
    app = await scene.app()
    await app.ask("/page", headers=["Connection: Upgrade", "Upgrade: echo"])
    answered = await soon(app.reader.readuntil(b"\r\n\r\n"))
    if b" 101 " not in answered:
        return str(answered.split(b" ")[1].decode())
    await app.send(b"ping")
    return f"101, then {await app.rest()!r}"


def while_stopped(seconds: float) -> Play:
    """One GET while the sidecar's process stands still."""

    async def play(scene: Scene) -> str:
        app = await scene.app()
        await app.ask("/page")
        await until_asked(scene)
        scene.sidecar.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        scene.sidecar.signal(signal.SIGCONT)
        return seen(await app.answer())

    return play


async def reloads_nonsense(scene: Scene) -> str:
    """One GET after the configuration has become unreadable."""
    path = scene.sidecar.config_path
    before = path.read_text()
    path.write_text("upstream: [")
    scene.sidecar.signal(signal.SIGHUP)
    await scene.sidecar.logged("sidegate.yaml")
    path.write_text(before)
    return await get(scene)


# --- what the origin does


def slowly(data: bytes, pieces: int, pause_s: float) -> Step:
    """Send ``data`` in pieces."""

    async def play(line: Line, _: Asked) -> None:
        size = -(-len(data) // pieces)
        for start in range(0, len(data), size):
            await line.send(data[start : start + size])
            await asyncio.sleep(pause_s)

    return play


def then_silence(data: bytes) -> Step:
    """Send ``data``, and no more."""

    async def play(line: Line, _: Asked) -> None:
        await line.send(data)
        await line.until_gone()

    return play


def later(seconds: float, step: bytes) -> Step:
    """Answer late."""

    async def play(line: Line, _: Asked) -> None:
        await asyncio.sleep(seconds)
        await line.send(step)

    return play


def without_reading(data: bytes) -> Callable[[], Origin]:
    """An origin that answers before it has read the request's body, or resets where ``data`` is empty."""

    async def plays(line: Line) -> None:
        await line.head()
        if not data:
            line.reset()
            return
        await line.send(data)
        await asyncio.sleep(0.1)
        line.close()

    return lambda: Origin(plays=plays)


async def echo(line: Line, _: Asked) -> None:
    """Switch protocols, and say in capitals what is said."""
    await line.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    await line.send((await line.exactly(4)).upper())
    line.close()


def never_reading() -> Origin:
    """An origin that takes nothing of a body."""

    async def plays(line: Line) -> None:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(30)

    return Origin(plays=plays)


def doing(plays: Callable[[Line], Awaitable[None]]) -> Callable[[], Origin]:
    """An origin whose every connection is the coroutine's."""
    return lambda: Origin(plays=plays)


async def closes_at_once(line: Line) -> None:
    """Close in peace."""
    line.close()


async def resets_at_once(line: Line) -> None:
    """Close with a reset, once the sidecar knows that it is connected."""
    await asyncio.sleep(0.05)
    line.reset()


async def takes_and_closes(line: Line) -> None:
    """Read a request and close."""
    await line.request()
    line.close()


OK = answer(body=PAGE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n"


@dataclass(frozen=True)
class Row:
    """One fault. ``waits``: it waits for a timeout; ``silent``: nobody listens at the upstream's port."""

    fault: str
    sees: str
    counts: str
    steps: tuple[Step, ...] = ()
    play: Play = get
    settings: Mapping[str, Any] = field(default_factory=dict)
    origin: Callable[[], Origin] | None = None
    waits: bool = False
    silent: bool = False

    def make_origin(self) -> Origin:
        """The origin of this row; after its steps every request gets the page."""
        return self.origin() if self.origin is not None else Origin(*self.steps, then=OK)


ROWS: tuple[Row, ...] = (
    # the upstream's connection
    Row("nobody listens", "502 connect_failed", "3 connect_failed; 1 502 connect_failed", silent=True),
    Row("closes each connection at once", "502 reset", "3 reset; 1 502 reset", origin=doing(closes_at_once)),
    Row("resets each connection at once", "502 reset", "3 reset; 1 502 reset", origin=doing(resets_at_once)),
    Row("reads the request and closes, every time", "502 reset", "3 reset; 1 502 reset", origin=doing(takes_and_closes)),
    Row("reads the request and closes, once", "200 page", "1 ok, 1 reset; 1 200 ok", (cut(b""),)),
    Row("resets instead of an answer, once", "200 page", "1 ok, 1 reset; 1 200 ok", (reset(),)),
    Row("the same under a POST without a key", "502 reset", "1 reset; 1 502 reset", (reset(),), calls(("POST", b"x"))),
    Row("the same under a POST with a key", "200 page", "1 ok, 1 reset; 1 200 ok", (reset(),),
        calls(("POST", b"x"), headers=("Idempotency-Key: k",))),
    Row("closes a kept connection under the second call", "200 page, then 200 page",
        "2 ok, 1 stale_connection; 2 200 ok", (OK, cut(b"")), calls("GET", "GET")),
    Row("the same, and the second is a POST without a key", "200 page, then 502 stale_connection",
        "1 ok, 1 stale_connection; 1 200 ok, 1 502 stale_connection", (OK, cut(b"")), calls("GET", ("POST", b"x"))),
    Row("closes after an answer without saying so", "200 page, then 200 page", "2 ok; 2 200 ok", (cut(OK), OK),
        calls("GET", "GET")),
    # the answer's head
    Row("is silent", "504 head_timeout", "3 head_timeout; 1 504 head_timeout", (silence(),) * 3, waits=True),
    Row("is silent, once", "200 page", "1 head_timeout, 1 ok; 1 200 ok", (silence(),), waits=True),
    Row("closes within the head", "200 page", "1 ok, 1 reset; 1 200 ok", (cut(HEAD),)),
    Row("falls silent within the head", "200 page", "1 head_timeout, 1 ok; 1 200 ok", (then_silence(HEAD),), waits=True),
    Row("sends a head byte by byte", "200 page", "1 ok; 1 200 ok", (slowly(OK, len(OK), 0.002),)),
    Row("sends no HTTP, every time", "502 bad_response", "2 bad_response; 1 502 bad_response", (cut(b"220 ready\r\n\r\n"),) * 3),
    Row("sends no HTTP, once", "200 page", "1 bad_response, 1 ok; 1 200 ok", (cut(b"220 ready\r\n\r\n"),)),
    Row("speaks TLS at the plain port", "502 bad_response", "2 bad_response; 1 502 bad_response",
        (cut(b"\x15\x03\x03\x00\x02\x02\x46"),) * 3),
    Row("sends a head of 300 KiB", "502 bad_response", "2 bad_response; 1 502 bad_response",
        (cut(answer(headers=["X-Long: " + "x" * 300_000])),) * 3),
    Row("sends two lengths that differ", "502 bad_response", "2 bad_response; 1 502 bad_response",
        (cut(answer(body=PAGE, headers=["Content-Length: 3"])),) * 3),
    Row("sends both lengths, chunked and counted", "502 bad_response", "2 bad_response; 1 502 bad_response",
        (cut(chunked(PAGE, headers=["Content-Length: 16"])),) * 3),
    Row("sends a transfer coding that is unknown", "502 bad_response", "2 bad_response; 1 502 bad_response",
        (cut(answer(body=PAGE, headers=["Transfer-Encoding: x"])),) * 3),
    Row("sends 1xx without an end", "502 bad_response", "2 bad_response; 1 502 bad_response",
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 5000,) * 3),
    Row("sends early hints first", "200 page", "1 ok; 1 200 ok", (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,)),
    Row("switches protocols unasked", "502 bad_response", "2 bad_response; 1 502 bad_response",
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",) * 3),
    # the answer's body
    Row("closes within the body, once", "200 page", "1 ok, 1 truncated; 1 200 ok", (cut(OK[:-3]),)),
    Row("closes within the body, every time", "502 truncated", "3 truncated; 1 502 truncated", (cut(OK[:-3]),) * 3),
    Row("resets within the body, once", "200 page", "1 ok, 1 truncated; 1 200 ok", (reset(OK[:-3]),)),
    Row("falls silent within the body, once", "200 page", "1 body_timeout, 1 ok; 1 200 ok", (then_silence(OK[:-3]),), waits=True),
    Row("cuts a chunked body, once", "200 page", "1 ok, 1 truncated; 1 200 ok", (cut(chunked(PAGE, last=b"")),)),
    Row("sends a chunk size that is no number", "502 bad_response", "2 bad_response; 1 502 bad_response",
        (cut(chunked(PAGE, last=b"zz\r\n")),) * 3),
    Row("sends more than the length says", "200 page, then 200 page", "2 ok; 2 200 ok", (OK + b"more", OK), calls("GET", "GET")),
    Row("sends a body with its 204", "204, then 200 page", "2 ok; 1 200 ok, 1 204 ok",
        (b"HTTP/1.1 204 No Content\r\n\r\n" + PAGE, OK), calls("GET", "GET")),
    Row("sends a body to a HEAD", "200, then 200 page", "2 ok; 2 200 ok", (OK, OK), calls("HEAD", "GET")),
    Row("cuts a page too large to verify", "200 cut after 262141 bytes", "1 truncated; 1 200 truncated",
        (cut(answer(body=LARGE)[:-3]),)),
    Row("cuts a large page within its chunks", "200 page without an end", "1 truncated; 1 200 truncated",
        (cut(chunked(LARGE, last=b"")),)),
    Row("a large page is whole", "200 page", "1 ok; 1 200 ok", (answer(body=LARGE),)),
    # statuses
    Row("answers 500, once", "200 page", "1 ok, 1 upstream_status; 1 200 ok", (answer(500),)),
    Row("answers 500, every time", "500 'sorry'", "3 upstream_status; 1 500 upstream_status", (answer(500, b"sorry"),) * 3),
    Row("answers 500 to a POST without a key", "500", "1 upstream_status; 1 500 upstream_status", (answer(500),),
        calls(("POST", b"x"))),
    Row("answers 429 with Retry-After", "200 page", "1 ok, 1 upstream_status; 1 200 ok",
        (answer(429, headers=["Retry-After: 0.2"]),)),
    Row("answers 503 with a date in Retry-After", "200 page", "1 ok, 1 upstream_status; 1 200 ok",
        (answer(503, headers=["Retry-After: Sun, 06 Nov 1994 08:49:37 GMT"]),)),
    Row("answers 404", "404 'no'", "1 ok; 1 404 ok", (answer(404, b"no"),)),
    Row("answers 408 on a kept connection", "200 page, then 200 page", "2 ok, 1 stale_connection; 2 200 ok",
        (OK, cut(answer(408, headers=["Connection: close"]))), calls("GET", "GET")),
    Row("answers 200 with a failure in its JSON", "200 page", "1 ok, 1 upstream_json; 1 200 ok",
        (answer(body=gzip.compress(b'{"status": "error"}'),
                headers=["Content-Type: application/json", "Content-Encoding: gzip"]),)),
    # uploads
    Row("answers an upload before its end", "413 'no'", "1 ok; 1 413 ok", play=calls(("POST", LARGE)),
        origin=without_reading(answer(413, b"no", ["Connection: close"]))),
    Row("resets within an upload too large to send again", "502 reset", "1 reset; 1 502 reset",
        play=calls(("PUT", LARGE * 8)), origin=without_reading(b"")),
    Row("answers 500 to an upload too large to send again", "500", "1 upstream_status; 1 500 upstream_status",
        (answer(500),), calls(("POST", LARGE), headers=("Idempotency-Key: k",))),
    Row("takes nothing of an upload", "504 head_timeout", "1 head_timeout; 1 504 head_timeout",
        play=calls(("PUT", LARGE * 64)),
        origin=never_reading, waits=True),
    # the app
    Row("the app leaves while it waits", "nothing: it left", "1 client_gone; 1 0 client_gone", (silence(),),
        leaves(lambda app: app.close())),
    Row("the app resets while it waits", "nothing: it left", "1 client_gone; 1 0 client_gone", (silence(),),
        leaves(lambda app: app.reset())),
    Row("the app resets within a large page", "nothing: it left", "1 client_gone; 1 200 client_gone",
        (slowly(answer(body=LARGE * 16), 200, 0.005),), leaves(lambda app: app.reset(), until_head=True)),
    Row("the app takes nothing of a large page", "200, and a part of it", "1 client_gone; 1 200 client_gone",
        (answer(body=LARGE * 64),), never_reads, waits=True),
    Row("the app closes its half behind the request", "nothing: it left", "1 client_gone; 1 0 client_gone", (later(0.3, OK),),
        leaves(lambda app: app.writer.write_eof())),
    Row("the app trickles its head", "408 bad_request", "none; 1 408 bad_request", play=trickles_head, waits=True),
    Row("the app says nothing", "0 bytes, then the end", "none; none", play=idle_app, waits=True,
        settings={"downstream": {"idle": "1s"}}),
    Row("the app stops within its upload", "408 bad_request", "none; 1 408 bad_request",
        play=stops_uploading, waits=True),
    Row("the app leaves within its upload", "nothing: it left", "none; 1 0 client_gone",
        play=leaves(lambda app: app.close(), b"POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")),
    Row("the app sends no HTTP", "400 bad_request", "none; 1 400 bad_request", play=raw(b"hello\r\n\r\n")),
    Row("the app speaks TLS", "400 bad_request", "none; 1 400 bad_request",
        play=raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")),
    Row("the app's target is too long", "414 too_large", "none; 1 414 too_large",
        play=raw(request("/" + "x" * 100_000))),
    Row("the app's head is too large", "431 too_large", "none; 1 431 too_large",
        play=raw(request("/", headers=["X: " + "x" * 100_000]))),
    Row("the app sends 300 fields", "431 too_large", "none; 1 431 too_large",
        play=raw(request("/", headers=["X: x"] * 300))),
    Row("the app sends both lengths", "400 bad_request", "none; 1 400 bad_request",
        play=raw(request("/", "POST", ["Transfer-Encoding: chunked"], b"0\r\n\r\n"))),
    Row("the app breaks its chunks", "400 bad_request", "none; 1 400 bad_request",
        play=raw(request("/page", "POST", ["Transfer-Encoding: chunked"]) + b"zz\r\n")),
    Row("the app's wish is no time", "400 bad_request", "none; 1 400 bad_request",
        play=calls("GET", headers=("Sidegate-Timeout: soon",))),
    Row("the app's deadline passes", "504 deadline", "1 deadline; 1 504 deadline", (silence(),),
        calls("GET", headers=("Sidegate-Timeout: 300ms",))),
    Row("the app pipelines, and the first fails once", "200 page, then 200 page, then 200 page", "3 ok, 1 reset; 3 200 ok",
        (reset(),), pipelined),
    # other hosts
    Row("another host is down", "502 connect_failed", "1 connect_failed; 1 502 connect_failed",
        play=elsewhere(lambda scene: f"http://{dead_port(scene)}/x")),
    Row("another host answers 500", "500", "1 upstream_status; 1 500 upstream_status",
        (answer(500, headers=["Connection: close"]),), elsewhere(lambda scene: f"http://localhost:{scene.port}/x")),
    Row("a tunnel to where nobody listens", "502", "none; 1 502 connect_failed", play=tunnels(dead_port)),
    Row("a tunnel stands", "200, then 200 page", "none; 1 200 ok",
        play=tunnels(lambda scene: f"127.0.0.1:{scene.port}")),
    Row("the upstream switches protocols", "101, then b'PING'", "1 ok; 1 101 ok", (echo,), switches),
    Row("the upstream refuses to switch", "403", "1 ok; 1 403 ok", (answer(403),), switches),
    # more than there is room for
    Row("thirty calls for one slot", "30 × 200 page", "30 ok; 30 200 ok", play=at_once(30),
        settings={"limits": {"concurrency": {"limit": 1}}}),
    Row("a call too many for the queue", "2 × 200 page, 1 × 503 queue_full", "2 ok; 2 200 ok, 1 503 queue_full",
        (later(0.3, OK),), at_once(3), settings={"limits": {"concurrency": {"limit": 1}}, "queue": {"max_waiting": 1}}),
    Row("a wait that would be too long", "1 × 200 page, 1 × 503 queue_timeout", "1 ok; 1 200 ok, 1 503 queue_timeout",
        (later(0.6, OK),), at_once(2), settings={"limits": {"concurrency": {"limit": 1}}, "queue": {"max_wait": "200ms"}}),
    Row("a token that would come too late", "1 × 200 page, 1 × 429 queue_timeout", "1 ok; 1 200 ok, 1 429 queue_timeout",
        play=at_once(2), settings={"limits": {"rate": 0.5}, "queue": {"max_wait": "500ms"}}),
    Row("more calls than connections", "30 × 200 page", "30 ok; 30 200 ok", play=at_once(30),
        settings={"limits": {"concurrency": {"mode": "off"}}, "pool": {"max_connections": 2}}),
    Row("bodies larger than the memory for them", "20 × 200 page", "20 ok; 20 200 ok", (answer(body=LARGE),) * 20, at_once(20),
        settings={"body": {"verify_up_to": "1MiB", "held_in_all": "512KiB"}}),
    # outages
    Row("down for thirty failures, callers are held", "8 × 200 page", "8 ok, 12 reset; 8 200 ok", (reset(),) * 12, at_once(8),
        settings={"outage": {"mode": "hold"}, "retry": {"attempts": 10}}, waits=True),
    Row("down, and callers are not held", "502 reset, then 502 reset, then 503 outage, then 503 outage",
        "6 reset; 2 502 reset, 2 503 outage", (reset(),) * 100, calls(*["GET"] * 4),
        settings={"outage": {"mode": "fail"}}),
    # the process
    Row("the process stands still for 3 s while an answer comes", "200 page", "1 ok; 1 200 ok", (later(0.3, OK),),
        while_stopped(3.0), waits=True),
    Row("the configuration becomes nonsense", "200 page", "1 ok; 1 200 ok", play=reloads_nonsense),
)  # fmt: skip
