"""Requests that must not be carried: each is refused with the right status, its connection closed, the upstream untouched.

Every case goes through a whole sidecar on sockets. A proxy that forwards one of these lends itself to request smuggling, or
guesses where the RFC says not to. Where two answers are defensible the case says which we promise.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.app import App
from tests.fakes.house import House
from tests.fakes.loop import run, soon
from tests.fakes.origin import Origin

H = b"Host: a.example\r\n"
POST = b"POST / HTTP/1.1\r\n" + H
BODY = b"5\r\nhello\r\n0\r\n\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def get(*lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = BODY) -> bytes:
    return POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


REFUSED: dict[str, tuple[int, bytes]] = {
    # RFC 9112 §6.1, §6.3: two framings, or one that cannot be told
    "length then chunked": (400, post(b"Content-Length: 15", b"Transfer-Encoding: chunked")),
    "chunked then length": (400, post(b"Transfer-Encoding: chunked", b"Content-Length: 15")),
    "length 0 and chunked": (400, post(b"Content-Length: 0", b"Transfer-Encoding: chunked")),
    "lower case both": (400, post(b"content-length: 15", b"transfer-encoding: chunked")),
    "mixed case both": (400, post(b"CoNtEnT-lEnGtH: 15", b"tRaNsFeR-eNcOdInG: chunked")),
    "length and CHUNKED": (400, post(b"Content-Length: 15", b"Transfer-Encoding: CHUNKED")),
    "length and tab chunked": (400, post(b"Content-Length: 15", b"Transfer-Encoding:\tchunked")),
    "length and chunked with blanks": (400, post(b"Content-Length: 15", b"Transfer-Encoding:  chunked \t")),
    "length and empty coding": (400, post(b"Content-Length: 15", b"Transfer-Encoding:")),
    "length and identity": (400, post(b"Content-Length: 15", b"Transfer-Encoding: identity")),
    "length between headers and chunked": (
        400,
        post(b"Content-Length: 15", b"X: y", b"Transfer-Encoding: chunked", b"Z: w"),
    ),
    "GET with both": (400, get(H[:-2], b"Content-Length: 3", b"Transfer-Encoding: chunked") + BODY),
    "differing lengths": (400, post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!")),
    "equal lengths twice": (400, post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    "length list": (400, post(b"Content-Length: 5, 5", body=b"hello")),
    "length list differing": (400, post(b"Content-Length: 5, 6", body=b"hello")),
    "length with comma at its end": (400, post(b"Content-Length: 5,", body=b"hello")),
    "negative length": (400, post(b"Content-Length: -5", body=b"hello")),
    "plus length": (400, post(b"Content-Length: +5", body=b"hello")),
    "hex length": (400, post(b"Content-Length: 0x5", body=b"hello")),
    "bare hex length": (400, post(b"Content-Length: a", body=b"hellohello")),
    "length with exponent": (400, post(b"Content-Length: 1e1", body=b"hellohello")),
    "length with point": (400, post(b"Content-Length: 5.0", body=b"hello")),
    "length with underscore": (400, post(b"Content-Length: 1_0", body=b"hellohello")),
    "length with blank inside": (400, post(b"Content-Length: 1 0", body=b"hellohello")),
    "quoted length": (400, post(b'Content-Length: "5"', body=b"hello")),
    "empty length": (400, post(b"Content-Length:", body=b"")),
    "blank length": (400, post(b"Content-Length:  \t", body=b"")),
    "length of 2 to the 64": (400, post(b"Content-Length: 18446744073709551616", body=b"hello")),
    "length of 2 to the 64 and 5": (400, post(b"Content-Length: 18446744073709551621", body=b"hello")),
    "length of 100 digits": (400, post(b"Content-Length: " + b"9" * 100, body=b"hello")),
    "length in other digits": (400, post("Content-Length: ٥".encode(), body=b"hello")),
    "length with superscript": (400, post(b"Content-Length: \xb2", body=b"hello")),
    # RFC 9112 §6.1, §7: transfer codings
    "gzip, chunked": (501, post(b"Transfer-Encoding: gzip, chunked")),
    "gzip then chunked on two lines": (501, post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked")),
    "chunked, gzip": (400, post(b"Transfer-Encoding: chunked, gzip")),
    "chunked then gzip on two lines": (400, post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip")),
    "chunked twice in a list": (400, post(b"Transfer-Encoding: chunked, chunked")),
    "chunked twice on two lines": (400, post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    "identity": (400, post(b"Transfer-Encoding: identity")),
    "chunked, identity": (400, post(b"Transfer-Encoding: chunked, identity")),
    "xchunked": (400, post(b"Transfer-Encoding: xchunked")),
    "chunkedx": (400, post(b"Transfer-Encoding: chunkedx")),
    "quoted chunked": (400, post(b'Transfer-Encoding: "chunked"')),
    "chunked with a parameter": (400, post(b"Transfer-Encoding: chunked;q=1")),
    "vertical tab before chunked": (400, post(b"Transfer-Encoding: \x0bchunked")),
    "no-break space before chunked": (400, post(b"Transfer-Encoding: \xa0chunked")),
    "form feed behind chunked": (400, post(b"Transfer-Encoding: chunked\x0c")),
    "empty transfer-encoding": (400, post(b"Transfer-Encoding:")),
    "chunked in 1.0": (400, b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n" + BODY),
    "chunked in 1.0 kept alive": (
        400,
        b"POST / HTTP/1.0\r\n" + H + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    ),
    # RFC 9112 §5: field lines
    "space before colon": (400, get(H[:-2], b"X : y")),
    "tab before colon": (400, get(H[:-2], b"X\t: y")),
    "space before colon of transfer-encoding": (400, post(b"Transfer-Encoding : chunked")),
    "space before colon of content-length": (400, post(b"Content-Length : 5", body=b"hello")),
    "space before colon of host": (400, get(b"Host : a.example")),
    "line without colon": (400, get(H[:-2], b"no colon here")),
    "empty name": (400, get(H[:-2], b": value")),
    "blank in name": (400, get(H[:-2], b"X Y: z")),
    "control in name": (400, get(H[:-2], b"X\x01Y: z")),
    "high byte in name": (400, get(H[:-2], b"X\xe9: z")),
    "parenthesis in name": (400, get(H[:-2], b"X(): z")),
    "quote in name": (400, get(H[:-2], b'"X": z')),
    "delete in name": (400, get(H[:-2], b"X\x7f: z")),
    "NUL in name": (400, get(H[:-2], b"X\0Y: z")),
    "NUL in value": (400, get(H[:-2], b"X: y\0z")),
    "NUL at end of value": (400, get(H[:-2], b"X: y\0")),
    "bare CR in value": (400, get(H[:-2], b"X: y\rZ: w")),
    "bare CR before CRLF": (400, get(H[:-2], b"X: y\r")),
    "bare CR in name": (400, get(H[:-2], b"X\rY: z")),
    "bare LF ends a header": (400, b"GET / HTTP/1.1\r\n" + H + b"X: y\nZ: w\r\n\r\n"),
    "bare LF hides a length": (400, POST + b"X: y\nContent-Length: 5\r\n\r\nhello"),
    "bare LF ends the request line": (400, b"GET / HTTP/1.1\n" + H + b"\r\n"),
    "bare LF throughout": (400, b"GET / HTTP/1.1\nHost: a.example\n\n"),
    "bare LF ends the head": (400, b"GET / HTTP/1.1\r\n" + H + b"\n"),
    "CR LF, then bare CR ends the head": (400, b"GET / HTTP/1.1\r\n" + H + b"\rX"),
    "folded value": (400, get(H[:-2], b"X: y", b" z")),
    "folded value with tab": (400, get(H[:-2], b"X: y", b"\tz")),
    "folded transfer-encoding": (400, post(b"Transfer-Encoding:", b" chunked")),
    "folded content-length": (400, post(b"Content-Length:", b" 5", body=b"hello")),
    "folded host": (400, get(b"Host:", b" a.example")),
    "blank before first header": (400, b"GET / HTTP/1.1\r\n " + H + b"\r\n"),
    "blank line of blanks": (400, b"GET / HTTP/1.1\r\n" + H + b" \r\n\r\n"),
    # RFC 9112 §7.1: chunks
    "chunk size missing": (400, CHUNKED + b"\r\nhello\r\n0\r\n\r\n"),
    "chunk size negative": (400, CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk size plus": (400, CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size 0x": (400, CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size not hex": (400, CHUNKED + b"g\r\nhello\r\n0\r\n\r\n"),
    "chunk size with underscore": (400, CHUNKED + b"0_5\r\nhello\r\n0\r\n\r\n"),
    "chunk size led by blank": (400, CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n"),
    "chunk size of 2 to the 64": (400, CHUNKED + b"10000000000000000\r\nhello\r\n0\r\n\r\n"),
    "chunk size of 2 to the 64 and 5": (400, CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "chunk size of 40 digits": (400, CHUNKED + b"f" * 40 + b"\r\nhello\r\n0\r\n\r\n"),
    "chunk size ended by bare LF": (400, CHUNKED + b"5\nhello\r\n0\r\n\r\n"),
    "chunk size ended by bare CR": (400, CHUNKED + b"5\rhello\r\n0\r\n\r\n"),
    "chunk size ended by two CR": (400, CHUNKED + b"5\r\r\nhello\r\n0\r\n\r\n"),
    "chunk extension holds bare LF": (400, CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "chunk extension holds bare CR": (400, CHUNKED + b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "chunk extension ended by bare LF": (400, CHUNKED + b"5;a=b\nhello\r\n0\r\n\r\n"),
    "chunk extension value holds LF": (400, CHUNKED + b'5;a="\n"\r\nhello\r\n0\r\n\r\n'),
    "chunk extension holds NUL": (400, CHUNKED + b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
    "chunk data ended by bare LF": (400, CHUNKED + b"5\r\nhello\n0\r\n\r\n"),
    "chunk data ended by nothing": (400, CHUNKED + b"5\r\nhello0\r\n\r\n"),
    "chunk data too long": (400, CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n"),
    "chunk data too short": (400, CHUNKED + b"5\r\nhell\r\n0\r\n\r\n"),
    "chunk data ended by bare CR": (400, CHUNKED + b"5\r\nhello\r0\r\n\r\n"),
    "chunk data ended by two others": (400, CHUNKED + b"5\r\nhelloXX0\r\n\r\n"),
    "last chunk ended by bare LF": (400, CHUNKED + b"5\r\nhello\r\n0\n\n"),
    "last chunk's end is bare LF": (400, CHUNKED + b"5\r\nhello\r\n0\r\n\n"),
    "trailer with space before colon": (400, CHUNKED + b"0\r\nX : y\r\n\r\n"),
    "trailer with bare LF": (400, CHUNKED + b"0\r\nX: y\nZ: w\r\n\r\n"),
    "trailer with NUL": (400, CHUNKED + b"0\r\nX: \0\r\n\r\n"),
    "trailer folded": (400, CHUNKED + b"0\r\nX: y\r\n z\r\n\r\n"),
    "trailer with content-length": (400, CHUNKED + b"0\r\nContent-Length: 5\r\n\r\nhello"),
    "trailer with transfer-encoding": (400, CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    # RFC 9112 §3.2: Host
    "no host": (400, get(b"X: y")),
    "no header at all": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, get(b"Host: a.example", b"Host: b.example")),
    "two equal hosts": (400, get(b"Host: a.example", b"Host: a.example")),
    "two hosts in a list": (400, get(b"Host: a.example, b.example")),
    "two hosts in 1.0": (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    "host with user": (400, get(b"Host: user@a.example")),
    "host with path": (400, get(b"Host: a.example/path")),
    "host with scheme": (400, get(b"Host: http://a.example")),
    "host with blank": (400, get(b"Host: a example")),
    "host with bad port": (400, get(b"Host: a.example:80x")),
    "host with two ports": (400, get(b"Host: a.example:80:81")),
    "host with high byte": (400, get(b"Host: \xe4.example")),
    "host with question mark": (400, get(b"Host: a.example?x")),
    "host with fragment": (400, get(b"Host: a.example#x")),
    "host with backslash": (400, get(b"Host: a.example\\b")),
    "host with open bracket": (400, get(b"Host: [::1")),
    "host with quote": (400, get(b'Host: "a"')),
    "missing host with absolute target": (400, b"GET http://a.example/ HTTP/1.1\r\n\r\n"),
    # RFC 9112 §3: the request line
    "version 0.9 said": (505, b"GET / HTTP/0.9\r\n" + H + b"\r\n"),
    "version 2.0": (505, b"GET / HTTP/2.0\r\n" + H + b"\r\n"),
    "version 3.0": (505, b"GET / HTTP/3.0\r\n" + H + b"\r\n"),
    "version 1.10": (400, b"GET / HTTP/1.10\r\n" + H + b"\r\n"),
    "version 11": (400, b"GET / HTTP/11\r\n" + H + b"\r\n"),
    "version 1,1": (400, b"GET / HTTP/1,1\r\n" + H + b"\r\n"),
    "version without a number": (400, b"GET / HTTP/\r\n" + H + b"\r\n"),
    "lower-case version": (400, b"GET / http/1.1\r\n" + H + b"\r\n"),
    "another protocol": (400, b"GET / HTTQ/1.1\r\n" + H + b"\r\n"),
    "no version": (400, b"GET /\r\n\r\n"),
    "no version but headers": (400, b"GET /\r\n" + H + b"\r\n"),
    "blank behind the version": (400, b"GET / HTTP/1.1 \r\n" + H + b"\r\n"),
    "words behind the version": (400, b"GET / HTTP/1.1 x\r\n" + H + b"\r\n"),
    "tab for blank": (400, b"GET\t/\tHTTP/1.1\r\n" + H + b"\r\n"),
    "blank in target": (400, b"GET /a b HTTP/1.1\r\n" + H + b"\r\n"),
    "tab in target": (400, b"GET /a\tb HTTP/1.1\r\n" + H + b"\r\n"),
    "NUL in target": (400, b"GET /a\0b HTTP/1.1\r\n" + H + b"\r\n"),
    "control in target": (400, b"GET /a\x01b HTTP/1.1\r\n" + H + b"\r\n"),
    "delete in target": (400, b"GET /a\x7fb HTTP/1.1\r\n" + H + b"\r\n"),
    "bare CR in target": (400, b"GET /a\rb HTTP/1.1\r\n" + H + b"\r\n"),
    "no target": (400, b"GET HTTP/1.1\r\n" + H + b"\r\n"),
    "blank first": (400, b" GET / HTTP/1.1\r\n" + H + b"\r\n"),
    "TLS on a plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40)),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "an answer": (400, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    # RFC 9110 §9.1, §9.3.6: methods
    "method with a character that no token has": (400, b"G@T / HTTP/1.1\r\n" + H + b"\r\n"),
    "method in quotes": (400, b'"GET" / HTTP/1.1\r\n' + H + b"\r\n"),
    "method longer than any": (501, b"A" * 65 + b" / HTTP/1.1\r\n" + H + b"\r\n"),
    "method without an end": (501, b"A" * (65 << 10)),
    "one word": (400, b"GARBAGE\r\n" + H + b"\r\n"),
    "method alone": (400, b"GET\r\n" + H + b"\r\n"),
    "CONNECT": (421, b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"),
    "CONNECT with bytes behind": (
        421,
        b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nGET /behind HTTP/1.1\r\n"
        + H
        + b"\r\n",
    ),
    # RFC 9110 §10.1.1: expectations
    "unknown expectation": (417, post(b"Expect: the-unexpected", b"Content-Length: 5", body=b"hello")),
    "two expectations": (417, post(b"Expect: 100-continue, x", b"Content-Length: 5", body=b"hello")),
    "expectation without body": (417, get(H[:-2], b"Expect: 200-ok")),
    # sizes
    "target too long": (414, b"GET /" + b"a" * (64 << 10) + b" HTTP/1.1\r\n" + H + b"\r\n"),
    "target without an end": (414, b"GET /" + b"a" * (65 << 10)),
    "header too long": (431, get(H[:-2], b"X: " + b"a" * (64 << 10))),
    "header without an end": (431, b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * (65 << 10)),
    "too many headers": (431, get(H[:-2], *[b"X-%d: y" % n for n in range(300)])),
    "trailers without an end": (431, CHUNKED + b"0\r\n" + b"X: y\r\n" * 12000),
    "chunk extension without an end": (431, CHUNKED + b"5;" + b"a" * (70 << 10)),
}

ONLY: dict[str, Any] = {"forward_proxy": {"mode": "upstream_only"}}

MISDIRECTED: dict[str, tuple[int, bytes]] = {
    # RFC 9112 §3.2: well framed, but not for us
    "fragment in target": (400, b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n"),
    "fragment in absolute target": (400, b"GET http://a.example/#b HTTP/1.1\r\n" + H + b"\r\n"),
    "relative target": (400, b"GET a/b HTTP/1.1\r\n" + H + b"\r\n"),
    "authority for GET": (400, b"GET a.example:80 HTTP/1.1\r\n" + H + b"\r\n"),
    "asterisk for GET": (400, b"GET * HTTP/1.1\r\n" + H + b"\r\n"),
    "scheme of its own": (400, b"GET ftp://a.example/ HTTP/1.1\r\n" + H + b"\r\n"),
    "another authority": (421, b"GET http://b.example/ HTTP/1.1\r\n" + H + b"\r\n"),
    "another authority with user": (400, b"GET http://u@b.example/ HTTP/1.1\r\n" + H + b"\r\n"),
}


@pytest.mark.parametrize(("status", "sent"), REFUSED.values(), ids=REFUSED.keys())
def test_an_illegal_request_is_refused_and_the_upstream_untouched(status: int, sent: bytes) -> None:
    """The status, a problem document, a closed connection; no connection is ever made to the upstream for it."""

    async def trace() -> None:
        async with House(Origin(), **ONLY) as house:
            app = await house.app()
            await app.send(sent)
            answer = await app.answer()
            assert (answer.status, answer.header("connection")) == (status, "close")
            assert answer.problem()["status"] == status
            assert answer.reason in ("bad_request", "too_large")
            assert await app.rest() == b"", "the connection ends with the refusal"
            assert house.origin.lines == []

    run(trace())


@pytest.mark.parametrize(("status", "sent"), MISDIRECTED.values(), ids=MISDIRECTED.keys())
def test_a_misdirected_request_is_refused_and_the_next_one_served(status: int, sent: bytes) -> None:
    """Where it ends is known, so the connection lives on; the upstream sees only the next request."""

    async def trace() -> None:
        async with House(Origin(), **ONLY) as house:
            app = await house.app()
            await app.send(sent)
            answer = await app.answer()
            assert (answer.status, answer.reason) == (status, "bad_request")
            assert (await app.get("/next")).status == 200
            assert house.origin.targets == ["/next"]

    run(trace())


@pytest.mark.parametrize(
    "name", ["length then chunked", "bare LF hides a length", "two hosts", "folded value"]
)
def test_a_refusal_is_the_same_byte_by_byte(name: str) -> None:
    """However the bytes are cut into packets, they mean the same."""
    status, sent = REFUSED[name]

    async def trace() -> None:
        async with House(Origin()) as house:
            app = await house.app()
            for at in range(len(sent)):
                await app.send(sent[at : at + 1])
                await asyncio.sleep(0)
            assert (await app.answer()).status == status
            await app.rest()
            assert house.origin.lines == []

    run(trace())


@pytest.mark.parametrize(
    "line",
    [
        b"LIST /a HTTP/1.1",
        b"get /a HTTP/1.1",
        b"A" * 64 + b" /a HTTP/1.1",
        b"GET /\xe6\x90\x9c?q=\xff HTTP/1.1",
        b'GET /"<>\\^`{|} HTTP/1.1',
        b"GET /a HTTP/1.2",
        b"GET /a HTTP/1.9",
    ],
)
def test_what_the_grammar_allows_goes_on_byte_for_byte(line: bytes) -> None:
    """Any token is a method (RFC 9110 §9.1), targets stay as they are, and a later 1.x is read as 1.1 (RFC 9110 §6.2)."""
    method, target, _ = line.split(b" ")

    async def trace() -> None:
        async with House(Origin()) as house:
            app = await house.app()
            await app.send(line + b"\r\n" + H + b"\r\n")
            assert (await app.answer()).status == 200
            assert house.origin.seen.startswith(method + b" " + target + b" HTTP/1.1\r\n")

    run(trace())


@pytest.mark.parametrize("line", [b"GET  /a HTTP/1.1", b"GET /a  HTTP/1.1"])
def test_blanks_too_many_in_the_request_line_are_read_and_not_forwarded(line: bytes) -> None:
    """RFC 9112 §3 lets a recipient read such a line; what is sent on is our own."""

    async def trace() -> None:
        async with House(Origin()) as house:
            app = await house.app()
            await app.send(line + b"\r\n" + H + b"\r\n")
            assert (await app.answer()).status == 200
            assert house.origin.seen.startswith(b"GET /a HTTP/1.1\r\n")

    run(trace())


def test_what_comes_behind_an_illegal_request_is_never_read() -> None:
    """The bytes behind are whatever an attacker wants them to be."""
    _, illegal = REFUSED["chunked then length"]
    smuggled = b"GET /smuggled HTTP/1.1\r\n" + H + b"\r\n"

    async def trace() -> None:
        async with House(Origin()) as house:
            app = await house.app()
            await app.send(illegal + smuggled * 3)
            answer = await app.answer()
            assert answer.status == 400
            assert await app.rest() == b""
            assert house.origin.lines == []

    run(trace())


def test_requests_before_an_illegal_one_are_served() -> None:
    """What was legal is answered, in order; then comes the refusal."""

    async def trace() -> None:
        async with House(Origin()) as house:
            app = await house.app()
            await app.send(b"GET /legal HTTP/1.1\r\n" + H + b"\r\n" + get(b"X: y"))
            assert (await app.answer()).body == b"then"
            assert (await app.answer()).status == 400
            assert await app.rest() == b""
            assert house.origin.targets == ["/legal"]

    run(trace())


def test_a_slow_head_times_out() -> None:
    """RFC 9110 §15.5.9: a head that does not come to its end is answered 408."""

    async def trace() -> None:
        async with House(Origin(), downstream={"head_timeout": "100ms"}) as house:
            app = await house.app()
            await app.send(b"GET / HT")
            answer = await app.answer()
            assert (answer.status, answer.reason) == (408, "bad_request")
            assert await app.rest() == b""

    run(trace())


def test_silence_is_no_bad_request() -> None:
    """A connection on which nothing was ever asked is closed without a word."""

    async def trace() -> None:
        async with House(Origin(), downstream={"idle": "100ms"}) as house:
            app = await house.app()
            assert await soon(app.rest()) == b""
            another: App = await house.app()
            await another.send(b"\r\n\r\n")
            assert await soon(another.rest()) == b"", "empty lines are no request (RFC 9112 §2.2)"

    run(trace())
