"""What is forwarded, what ends here, and what the sidecar adds."""

from __future__ import annotations

import asyncio
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.fakes.house import House
from tests.fakes.loop import run, soon
from tests.fakes.origin import Asked, Line, Origin, answer, chunked, cut

HOP_BY_HOP = [
    "Connection: close, X-Named", "X-Named: here only", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic x", "Proxy-Authenticate: Basic", "TE: gzip", "Trailer: X-Sum", "Upgrade: h2c",
]  # fmt: skip


def test_a_request_is_forwarded_byte_for_byte_but_for_what_ends_here() -> None:
    """Order, duplicates, spelling and odd bytes of headers stay; so does every byte of the target."""
    target = '/a/../b//%2F%2f;p?q="<>\\^`{|}&sig=%e4&c[]=1'

    async def trace() -> None:
        async with House(Origin()) as house:
            sent = [
                "X-B:1",
                "x-a:  two  words ",
                "X-B:",
                "Accept-Encoding: br",
                "X-\xe9: y"[:2] + "C: \xe9\xff",
            ]
            await house.get(target, *sent)
            (asked,) = house.origin.asked
            assert asked.target == target
            lines = asked.raw.decode("latin-1").split("\r\n")
            assert lines[1] == f"Host: 127.0.0.1:{house.origin.port}"
            assert lines[2:7] == sent
            assert lines[7:] == ["", ""]

    run(trace())


def test_hop_by_hop_headers_of_a_request_end_here() -> None:
    """RFC 9110 §7.6.1, with what Connection names."""

    async def trace() -> None:
        async with House(Origin()) as house:
            await house.get("/", *HOP_BY_HOP, "X-Kept: y")
            assert house.origin.asked[0].names() == ["host", "x-kept"]

    run(trace())


def test_hop_by_hop_headers_of_an_answer_end_here() -> None:
    async def trace() -> None:
        async with House(Origin(answer(200, b"body", [*HOP_BY_HOP, "X-Kept: y"]))) as house:
            got = await house.get()
            assert got.names() == ["x-kept", "content-length", "date", "via", "sidegate-attempts"]
            assert got.body == b"body"

    run(trace())


@pytest.mark.parametrize(
    "name", ["Authorization", "Host", "Content-Length", "Cookie", "Range", "Idempotency-Key"]
)
def test_connection_cannot_name_end_to_end_headers_away(name: str) -> None:
    """One hop must not be able to strip another's credentials, or the framing."""

    async def trace() -> None:
        async with House(Origin()) as house:
            lines = [f"Connection: {name}, {name.lower()}"]
            if name not in ("Host", "Content-Length"):
                lines.append(f"{name}: value")
            await house.post("/", b"body", *lines)
            asked = house.origin.asked[0]
            assert name.lower() in asked.names()
            assert asked.body == b"body"

    run(trace())


@pytest.mark.parametrize("name", ["Set-Cookie", "Content-Encoding", "Content-Type", "ETag", "Content-Length"])
def test_an_answers_connection_cannot_name_end_to_end_headers_away(name: str) -> None:
    async def trace() -> None:
        lines = [f"Connection: {name}"] + ([f"{name}: value"] if name != "Content-Length" else [])
        async with House(Origin(answer(200, b"body", lines))) as house:
            got = await house.get()
            assert name.lower() in got.names()
            assert got.body == b"body"

    run(trace())


def test_every_answer_says_via_and_how_many_attempts_it_took() -> None:
    async def trace() -> None:
        async with House(Origin(answer(200, b"", ["Via: 1.1 cache"]), answer(500), answer(200))) as house:
            got = await house.get()
            vias = [value for name, value in got.headers if name.lower() == "via"]
            assert vias[0] == "1.1 cache"
            assert vias[1].startswith("1.1 sidegate-")
            assert got.attempts == 1
            assert (await house.get()).attempts == 2

    run(trace())


def test_a_call_that_comes_back_is_a_loop() -> None:
    """508: the upstream leads back here. Checked by this sidecar's own pseudonym, so other sidecars may stand in line."""

    async def trace() -> None:
        async with House(Origin(), upstream={"via": True}) as house:
            await house.get("/")
            via = house.origin.asked[0].header("via") or ""
            assert via.startswith("1.1 sidegate-")
            got = await house.get("/", f"Via: 1.1 other, {via} (comment)")
            assert (got.status, got.reason) == (508, "bad_request")
            assert (await house.get("/", "Via: 1.1 sidegate-00000000")).status == 200
            assert len(house.origin.asked) == 2

    run(trace())


def test_an_upstream_that_is_this_sidecar_is_found_without_a_header() -> None:
    """Its own connection comes in at its own port: the call would go round until its deadline, with every slot."""

    async def trace() -> None:
        async with House(Origin()) as house:
            resolver: Any = house.sidecar.pool._connector.resolver
            resolver._answer[:] = [(*resolver._answer[0][:4], ("127.0.0.1", house.port))]
            got = await house.get("/")
            assert (got.status, got.problem()["status"]) == (508, 508)
            assert not house.origin.asked
            assert len(house.witness.attempts) == 1

    run(trace())


def test_a_port_that_the_kernel_has_given_twice_is_no_loop() -> None:
    """An app's connection may have the port of one of our own, for they go to different places: one in 6,000 calls was 508."""

    async def trace() -> None:
        async with House(Origin()) as house:
            await house.get("/")
            (kept,) = house.sidecar.pool._idle
            assert kept.ends is not None
            pool = house.sidecar.pool
            assert pool.has_made(kept.ends)
            assert not pool.has_made((*kept.ends[:2], "127.0.0.1", house.port))
            pool.discard(pool._idle.pop(), "age")
            assert not pool._made

    run(trace())


def test_the_upstream_is_told_of_the_apps_host_where_it_shall_be() -> None:
    async def trace() -> None:
        async with House(Origin(), upstream={"forwarded": True}) as house:
            await house.get("/")
            (asked,) = house.origin.asked
            assert asked.header("x-forwarded-proto") == "http"
            assert asked.header("x-forwarded-host")

    run(trace())


def test_head_and_bodiless_answers_keep_their_length_and_their_connection() -> None:
    """A wrong guess about a body would leave the connection out of step."""

    async def trace() -> None:
        steps = (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: x\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            answer(200, b"body"),
        )
        async with House(Origin(*steps)) as house:
            app = await house.app()
            await app.ask("/1", "HEAD")
            got = await app.answer(to_head=True)
            assert (got.status, got.header("content-length"), got.attempts) == (200, "1000", 1)
            got = await app.get("/2")
            assert (got.status, got.header("content-length"), got.body) == (304, "1000", b"")
            got = await app.get("/3")
            assert (got.status, got.header("content-length"), got.header("transfer-encoding")) == (
                204,
                None,
                None,
            )
            await app.ask("/4", "HEAD")
            assert (await app.answer(to_head=True)).status == 200
            assert (await app.get("/5")).body == b"body"
            assert len(house.origin.lines) == 1

    run(trace())


def test_interim_answers_go_on_to_an_app_that_understands_them() -> None:
    """RFC 9110 §15.2: in order, before the final answer, without what ends here; not to HTTP/1.0, which has none."""

    async def trace() -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nKeep-Alive: timeout=5\r\n\r\n"
        processing = b"HTTP/1.1 102 Processing\r\nContent-Length: 0\r\n\r\n"
        unasked = b"HTTP/1.1 100 Continue\r\n\r\n"
        steps = [early + unasked + processing + answer(200, b"final"), early + answer(200, b"next")]
        async with House(Origin(*steps)) as house:
            app = await house.app()
            await app.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            seen = await soon(app.reader.readuntil(b"final"))
            expected = (
                b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 "
            )
            assert seen.startswith(expected)
            await app.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await soon(app.reader.readuntil(b"next"))).startswith(b"HTTP/1.1 200 ")

    run(trace())


def test_expect_100_continue_is_answered_here_and_not_forwarded() -> None:
    async def trace() -> None:
        async with House(Origin()) as house:
            app = await house.app()
            await app.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            assert await soon(app.reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
            await app.send(b"hello")
            assert (await app.answer()).status == 200
            (asked,) = house.origin.asked
            assert asked.body == b"hello"
            assert asked.header("expect") is None

    run(trace())


def test_a_body_that_is_there_already_needs_no_100() -> None:
    async def trace() -> None:
        async with House(Origin()) as house:
            got = await house.post("/", b"hello", "Expect: 100-continue")
            assert (got.status, got.interim) == (200, [])

    run(trace())


@pytest.mark.parametrize(
    "line",
    ["Sidegate-Timeout: soon", "Sidegate-Timeout: -1s", "Sidegate-Timeout:", "Sidegate-Timeout: 0s", "Sidegate-Attempts: 0",
     "Sidegate-Attempts: many", "Sidegate-Attempts: 1001", "Sidegate-Attempts: -1", "Sidegate-Attempts:",
     "Sidegate-Attempts: \xb2", "Sidegate-Attempts: 1000000000000", "Sidegate-Attempts: 000100000000",
     "Sidegate-Attempts: 000100" + "0" * 5000,
     "Sidegate-Timeout: " + "7" * 12_000, "Sidegate-Timeout: " + "1s" * 6000, "Sidegate-Priority: urgent", "Sidegate-Priority:"],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_400_and_names_the_header(line: str) -> None:
    async def trace() -> None:
        async with House(Origin()) as house:
            got = await house.get("/", line)
            assert (got.status, got.reason) == (400, "bad_request")
            assert line.partition(":")[0] in got.problem()["detail"]
            assert house.origin.lines == []

    run(trace())


def test_wishes_are_obeyed_and_never_forwarded() -> None:
    async def trace() -> None:
        async with House(Origin(then=answer(500)), retry={"attempts": 2}) as house:
            got = await house.get(
                "/",
                "Sidegate-Attempts: 3",
                "Sidegate-Timeout: 5s",
                "Sidegate-Priority: high",
                "Sidegate-X: y",
            )
            assert (got.status, got.attempts) == (500, 3)
            assert all(asked.names() == ["host"] for asked in house.origin.asked)
            assert (await house.get()).attempts == 2

    run(trace())


def test_a_wished_timeout_ends_the_call() -> None:
    async def never(line: Line, _: Asked) -> None:
        await line.until_gone()

    async def trace() -> None:
        async with House(Origin(then=never)) as house:
            got = await house.get("/", "Sidegate-Timeout: 50ms")
            assert (got.status, got.reason) == (504, "deadline")

    run(trace())


def test_the_absolute_form_is_understood() -> None:
    """RFC 9112 §3.2.2: the upstream's authority, and the sidecar's own, mean the upstream; others are misdirected."""

    async def trace() -> None:
        async with House(Origin(), path="/api", forward_proxy={"mode": "upstream_only"}) as house:
            app = await house.app()
            origin, own = house.origin.port, house.port
            for target in (
                f"http://127.0.0.1:{origin}/a?b=c", f"HTTP://127.0.0.1:{origin}", f"http://127.0.0.1:{own}/a",
                f"http://localhost:{own}?x", "/plain",
            ):  # fmt: skip
                assert (await app.get(target)).status == 200
            assert house.origin.targets == ["/a?b=c", "/", "/api/a", "/api/?x", "/api/plain"]
            for target in (
                f"http://127.0.0.1:{origin + 1}/",
                "http://other.example/",
            ):
                assert (await app.get(target)).status == 421
            assert (await app.get(f"http://127.0.0.1:{origin}@evil/")).status == 400

    run(trace())


def test_options_asterisk_reaches_the_upstream() -> None:
    async def trace() -> None:
        async with House(Origin()) as house:
            app = await house.app()
            await app.ask("*", "OPTIONS")
            assert (await app.answer()).status == 200
            assert house.origin.targets == ["*"]

    run(trace())


@pytest.mark.parametrize(("policy", "host"), [("upstream", None), ("preserve", "app.test")])
def test_host_is_the_upstreams_or_the_apps(policy: str, host: str | None) -> None:
    async def trace() -> None:
        origin = Origin()
        await origin.open()
        async with House(origin, upstream={"url": origin.url, "host_header": policy}) as house:
            await house.get()
            assert origin.asked[0].header("host") == (host or f"127.0.0.1:{origin.port}")

    run(trace())


def test_an_absolute_target_names_the_host() -> None:
    """RFC 9112 §3.2.2: not the Host header, which used to go on to a virtual host that nobody had judged."""

    async def trace() -> None:
        origin = Origin()
        await origin.open()
        upstream = {"url": origin.url, "host_header": "preserve", "forwarded": True}
        async with House(origin, upstream=upstream) as house:
            app = await house.app()
            other, own = f"127.0.0.1:{origin.port}", f"127.0.0.1:{house.port}"
            for target, host in (
                ("/", "app.test"), (f"http://{other}/", other), (f"http://{own}/", own), ("/", "app.test")
            ):  # fmt: skip
                assert (await app.get(target)).status == 200
                told = house.origin.asked[-1].header
                assert (told("host"), told("x-forwarded-host")) == (host, host)

    run(trace())


def test_max_forwards_counts_down_and_ends_here() -> None:
    """RFC 9110 §7.6.2."""

    async def trace() -> None:
        async with House(Origin()) as house:
            app = await house.app()
            await app.ask("/", "OPTIONS", ["Max-Forwards: 3"])
            assert (await app.answer()).status == 200
            assert house.origin.asked[0].header("max-forwards") == "2"
            await app.ask("/", "OPTIONS", ["Max-Forwards: 0"])
            assert (await app.answer()).status == 200
            await app.ask("/", "TRACE", ["Max-Forwards: 0"])
            assert (await app.answer()).status == 501
            assert len(house.origin.asked) == 1

    run(trace())


def test_an_answer_without_a_date_is_given_one() -> None:
    """RFC 9110 §6.6.1, where it is whole, where it streams and where it is our own; a date that is there stays alone."""
    written = "Sun, 06 Nov 1994 08:49:37 GMT"

    async def trace() -> None:
        origin = Origin(answer(), answer(body=b"z" * 100_000), answer(headers=[f"dAte: {written}"]))
        async with House(origin, body={"verify_up_to": "10KiB"}) as house:
            app = await house.app()
            given = []
            for target in ("/whole", "/streams", "/dated", "ftp://ours/"):
                answered = await app.get(target)
                given.append([value for name, value in answered.headers if name.lower() == "date"])
            assert [len(dates) for dates in given] == [1, 1, 1, 1]
            assert given[2] == [written]
            assert all(parsedate_to_datetime(dates[0]).tzinfo is UTC for dates in given)

    run(trace())


def test_an_app_of_http_1_0_gets_an_answer_it_can_read() -> None:
    """No chunks; the connection ends unless it asked to keep it; the version in the answer is ours."""

    async def trace() -> None:
        large = b"z" * 1_000_000
        async with House(
            Origin(chunked(b"abc"), answer(200, b"kept"), chunked(large)), body={"verify_up_to": 1000}
        ) as house:
            app = await house.app()
            await app.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            got = await app.answer()
            assert (got.body, got.header("connection"), got.header("transfer-encoding")) == (
                b"abc",
                "keep-alive",
                None,
            )
            await app.send(b"GET / HTTP/1.0\r\n\r\n")
            got = await app.answer()
            assert (got.body, got.header("connection")) == (b"kept", "close")
            assert await app.rest() == b""
            app = await house.app()
            await app.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            got = await app.answer()
            assert (got.body, got.header("connection"), got.header("transfer-encoding")) == (
                large,
                "close",
                None,
            )

    run(trace())


def test_connections_that_either_side_closes_are_not_used_again() -> None:
    async def trace() -> None:
        steps = (
            answer(200, b"a", ["Connection: close"]),
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nb",
            cut(b"HTTP/1.1 200 OK\r\n\r\nc"),
            answer(200, b"d") + b"excess",
            answer(200, b"e"),
            answer(200, b"f"),
        )
        async with House(Origin(*steps)) as house:
            app = await house.app()
            assert [(await app.get()).body for _ in steps] == [b"a", b"b", b"c", b"d", b"e", b"f"]
            assert [asked.line.number for asked in house.origin.asked] == [0, 1, 2, 3, 4, 4]
            got = await app.get("/", "Connection: close")
            assert got.header("connection") == "close"
            assert await app.rest() == b""

    run(trace())


def test_pipelined_requests_are_answered_in_order() -> None:
    """However quickly the later answers could come; and as many as an app cares to send."""

    async def slow(line: Line, _: Asked) -> None:
        await asyncio.sleep(0.02)
        await line.send(answer(200, b"slow"))

    async def trace() -> None:
        async with House(Origin(slow, answer(500), answer(200, b"again"), then=answer(200, b"x"))) as house:
            app = await house.app()
            count = 200
            await app.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(count)))
            bodies = [(await app.answer()).body for _ in range(count)]
            assert bodies == [b"slow", b"again", *[b"x"] * (count - 2)]
            assert house.origin.targets == ["/0", "/1", *[f"/{n}" for n in range(1, count)]]

    run(trace())


def test_an_upgrade_is_declined_and_its_request_served() -> None:
    """RFC 9110 §7.8: ignoring it is the right of the server; the body that follows is a body."""

    async def trace() -> None:
        async with House(Origin()) as house:
            app = await house.app()
            lines = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]
            assert (await app.get("/a", *lines)).status == 200
            assert (await app.post("/b", b"GET /not-a-request HTTP/1.1\r\n\r\n", *lines)).status == 200
            assert (await app.get("/c")).status == 200
            assert house.origin.targets == ["/a", "/b", "/c"]
            assert house.origin.asked[0].names() == ["host"]

    run(trace())


def test_an_early_answer_ends_the_streaming_of_the_body() -> None:
    """The upstream says 413 after the head: the app gets it, and the rest of the body is not asked for."""

    async def early(line: Line) -> None:
        await line.head()
        await line.send(answer(413, b"too much", ["Connection: close"]))
        await line.until_gone()

    async def trace() -> None:
        async with House(Origin(plays=early), body={"replay_up_to": 1000}) as house:
            app = await house.app()
            await app.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 5000)
            got = await app.answer()
            assert (got.status, got.body, got.header("connection")) == (413, b"too much", "close")
            assert await app.rest() == b""

    run(trace())


@pytest.mark.parametrize("verify_up_to", [0, 1 << 20])
def test_trailers_go_on_to_an_app_that_reads_them(verify_up_to: int) -> None:
    """RFC 9110 §6.5.1: only to one that says so; whether the answer was verified or streams."""
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n"

    async def trace() -> None:
        async with House(Origin(then=said), body={"verify_up_to": verify_up_to}) as house:
            app = await house.app()
            await app.send(b"GET /a HTTP/1.1\r\nHost: a\r\nTE: trailers, deflate\r\nConnection: TE\r\n\r\n")
            seen = await soon(app.reader.readuntil(b"X-Other: 2\r\n\r\n"))
            assert seen.endswith(b"4\r\nbody\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n")
            assert b"\r\nTransfer-Encoding: chunked\r\n" in seen
            assert b"\r\nContent-Length:" not in seen
            got = await app.get("/b")
            assert (got.body, got.header("x-sum")) == (b"body", None)
            first, second = house.origin.asked
            assert (first.header("te"), first.header("connection")) == ("trailers", "TE")
            assert (second.header("te"), second.header("connection")) == (None, None)

    run(trace())
