"""The response parser reads what h11 reads, however the bytes are cut; and believes nothing that does not hold together."""

from __future__ import annotations

from dataclasses import dataclass

import h11
import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.wire.headers import HOP_BY_HOP
from proxy.wire.response_head import BodyEnd
from proxy.wire.response_parser import ResponseParser
from tests.wire.messages import chunked_bodies, cut_at, fields, head_of, ows, said, spelled

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    """One answer, valid by construction, and what it says."""

    raw: bytes
    answers_head: bool
    status: int
    headers: Headers
    body: bytes
    ends_by_close: bool
    keep_alive: bool


@st.composite
def answers(draw: st.DrawFn, may_close: bool = True) -> Answer:
    status = draw(st.sampled_from([200, 200, 200, 201, 204, 206, 301, 304, 404, 429, 500, 503, 599]))
    answers_head = draw(st.integers(0, 5)) == 0
    version = (
        draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
        if may_close
        else b"HTTP/1.1"
    )
    phrase = draw(st.sampled_from([b"OK", b"", b"Not Quite", b"\xe9t\xe9"]))
    lines = draw(st.lists(fields, max_size=6))
    if lines and draw(st.booleans()):
        lines.append(lines[0])
    interim = b"".join(
        draw(
            st.lists(
                st.sampled_from(
                    [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]
                ),
                max_size=2,
            )
        )
    )
    bodiless = answers_head or status in (204, 304)
    kinds = (
        ["length", "length"]
        + (["chunked"] if version == b"HTTP/1.1" else [])
        + (["close"] if may_close else [])
    )
    kind = draw(st.sampled_from(["none", *kinds] if bodiless else kinds))
    body = wire = b""
    keep_alive = version == b"HTTP/1.1"
    place = draw(st.integers(0, len(lines)))
    if kind == "length":
        body = wire = draw(st.binary(max_size=200))
        lines.insert(place, (draw(spelled(b"Content-Length")), draw(ows), b"%d" % len(body), draw(ows)))
    elif kind == "chunked":
        wire, body = draw(chunked_bodies())
        lines.insert(place, (draw(spelled(b"Transfer-Encoding")), b" ", b"chunked", b""))
    elif kind == "close":
        body = wire = draw(st.binary(max_size=200))
        keep_alive = False
    if bodiless:
        body = wire = b""
        keep_alive = version == b"HTTP/1.1"
    if may_close and draw(st.integers(0, 3)) == 0:
        lines.append((draw(spelled(b"Connection")), b" ", b"close", b""))
        keep_alive = False
    raw = interim + head_of(version + b" %d " % status + phrase, lines) + wire
    close = kind == "close" and not bodiless
    return Answer(raw, answers_head, status, said(lines), body, close, keep_alive)


def parser() -> ResponseParser:
    return ResponseParser(max_head_bytes=64 << 10)


def reading(reader: ResponseParser, pieces: list[bytes], answer: Answer) -> tuple[object, ...]:
    reader.expect(answer.answers_head)
    for piece in pieces:
        reader.feed(piece)
    if answer.ends_by_close:
        assert not reader.is_whole, "only the close ends it"
        reader.end()
    assert reader.error == ""
    head = reader.head
    assert head is not None
    return (
        head.status,
        head.start,
        head.lines,
        head.keep_alive,
        b"".join(reader.chunks),
        reader.is_whole,
        reader.has_excess,
    )


def forwarded(headers: Headers, status: int) -> Headers:
    """What goes on: RFC 9110 §7.6.1, and §8.6, by which a 204 has no length."""
    ends_here = HOP_BY_HOP | ({b"content-length"} if status == 204 else set())
    return [(name, value) for name, value in headers if name not in ends_here]


def parsed(lines: bytes) -> Headers:
    found = []
    for line in lines.split(b"\r\n")[1:-1]:
        name, _, value = line.partition(b":")
        found.append((name.lower(), value.strip(b" \t")))
    return found


@given(answers(), st.lists(st.integers(0, 10_000), max_size=6))
@settings(max_examples=300)
def test_an_answer_is_read_the_same_however_it_is_cut(answer: Answer, places: list[int]) -> None:
    """At once, byte by byte and in random pieces: the same head, the same body, the same end."""
    at_once = reading(parser(), [answer.raw], answer)
    status, start, lines, keep_alive, body, is_whole, has_excess = at_once
    assert (status, body, is_whole, has_excess) == (answer.status, answer.body, True, False)
    assert parsed(lines) == forwarded(answer.headers, answer.status)
    assert start.startswith(b"HTTP/1.1 %d " % answer.status)
    assert keep_alive == answer.keep_alive
    assert reading(parser(), [answer.raw[i : i + 1] for i in range(len(answer.raw))], answer) == at_once
    assert reading(parser(), cut_at(answer.raw, places), answer) == at_once


@given(answers())
@settings(max_examples=200)
def test_an_answer_is_read_as_h11_reads_it(answer: Answer) -> None:
    """Two parsers that share no code agree on status, headers and body."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    method = "HEAD" if answer.answers_head else "GET"
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(answer.raw)
    if answer.ends_by_close:
        connection.receive_data(b"")
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            break
        else:
            assert isinstance(event, h11.InformationalResponse)
    status, _, lines, _, mine, _, _ = reading(parser(), [answer.raw], answer)
    assert (status, mine) == (head.status_code, body)
    assert parsed(lines) == forwarded(list(head.headers), head.status_code)


class _LlhttpReading:
    """What llhttp tells while it reads; an interim answer is forgotten when the next begins."""

    def __init__(self) -> None:
        self.headers: Headers = []
        self.body = b""

    def on_message_begin(self) -> None:
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.body += body


@given(answers())
@settings(max_examples=200)
def test_an_answer_is_read_as_llhttp_reads_it(answer: Answer) -> None:
    """The third reader. It does not know that a HEAD's answer has no body, and tells trailers as headers."""
    if answer.answers_head:
        return
    reading_ = _LlhttpReading()
    llhttp = httptools.HttpResponseParser(reading_)
    llhttp.feed_data(answer.raw)
    status, _, lines, _, body, _, _ = reading(parser(), [answer.raw], answer)
    mine = parsed(lines)
    assert (status, body) == (llhttp.get_status_code(), reading_.body)
    assert mine == forwarded(reading_.headers, answer.status)[: len(mine)]


@given(st.lists(answers(may_close=False), min_size=1, max_size=4), st.booleans())
@settings(max_examples=150)
def test_answers_follow_each_other_on_one_connection(sequence: list[Answer], bytewise: bool) -> None:
    """A kept connection's parser is as good as a new one, whatever it read before."""
    reader = parser()
    for answer in sequence:
        pieces = [answer.raw[i : i + 1] for i in range(len(answer.raw))] if bytewise else [answer.raw]
        found = reading(reader, pieces, answer)
        assert found == reading(parser(), [answer.raw], answer)


def head_of_length(body: bytes, answers_head: bool = False) -> Answer:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return Answer(raw + body, answers_head, 200, [], body, False, True)


@given(answers(may_close=False), st.binary(min_size=1, max_size=20).filter(lambda more: more.strip(b"\r\n")))
@example(head_of_length(b""), b"H")
@example(head_of_length(b"", answers_head=True), b"HTTP/1.1 2")
@example(head_of_length(b"abc"), b"HTTP/1.1 200 OK\r\n")
@settings(max_examples=150)
def test_bytes_behind_an_answer_are_noticed_and_not_passed_on(answer: Answer, more: bytes) -> None:
    """The answer stands; its connection may not be used again (a response could be waiting for the next request)."""
    reader = parser()
    reader.expect(answer.answers_head)
    reader.feed(answer.raw + more)
    assert (reader.is_whole, reader.error, b"".join(reader.chunks)) == (True, "", answer.body)
    assert reader.has_excess


@given(answers(), st.integers(0, 10_000))
@settings(max_examples=200)
def test_a_cut_answer_is_never_whole(answer: Answer, place: int) -> None:
    """Whatever is missing at its end, an answer that ends by length or chunk is not taken for complete."""
    if answer.ends_by_close:
        return
    reader = parser()
    reader.expect(answer.answers_head)
    reader.feed(answer.raw[: place % len(answer.raw)])
    reader.end()
    assert not reader.is_whole


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=200)
def test_garbage_never_raises_and_never_is_an_answer(data: bytes, answers_head: bool) -> None:
    """Nonsense ends in ``error`` or in waiting, not in an exception."""
    reader = parser()
    reader.expect(answers_head)
    reader.feed(b"\x00" + data)
    reader.end()
    assert reader.error


H = b"HTTP/1.1 200 OK\r\n"
UNTRUSTWORTHY = {
    "length and chunked": H + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "differing lengths": H + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
    "negative length": H + b"Content-Length: -3\r\n\r\n",
    "plus length": H + b"Content-Length: +3\r\n\r\n",
    "length list": H + b"Content-Length: 3, 4\r\n\r\n",
    "length of 2 to the 64": H + b"Content-Length: 18446744073709551616\r\n\r\n",
    "gzip, chunked": H + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked, gzip": H + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "chunked of chunked": H + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "a name that some take for another": H + b"Content\xc2\xb7Length: 5\r\nContent-Length: 0\r\n\r\n",
    "NUL in value": H + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "bare CR in value": H + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "chunk size not hex": H + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "chunk size of 2 to the 64": H + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
    "chunk data too long": H + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    "empty length": H + b"Content-Length:\r\n\r\n",
    "length in a list of two": H + b"Content-Length: 3\r\nContent-Length: 3, 4\r\n\r\n",
    "length of 100 digits": H + b"Content-Length: " + b"9" * 100 + b"\r\n\r\n",
    "no coding": H + b"Transfer-Encoding:\r\n\r\n",
    "fold before the first header": H + b" X: a\r\nContent-Length: 0\r\n\r\n",
    "blank in a name": H + b"X Y: a\r\nContent-Length: 0\r\n\r\n",
    "line without a colon": H + b"garbage\r\nContent-Length: 0\r\n\r\n",
    "empty name": H + b": a\r\nContent-Length: 0\r\n\r\n",
    "folded bare CR": H + b"X: a\r\n b\rc\r\nContent-Length: 0\r\n\r\n",
    "chunk size of nothing": H + b"Transfer-Encoding: chunked\r\n\r\n\r\n",
    "chunk size with a sign": H + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    "trailer without a colon": H + b"Transfer-Encoding: chunked\r\n\r\n0\r\nx\r\n\r\n",
    "endless interim answers": b"HTTP/1.1 102 Processing\r\n\r\n" * 1000,
    "switched protocols unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "two-digit status": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "four-digit status": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "head without an end": H + b"X: " + b"a" * (70 << 10),
}


@pytest.mark.parametrize("raw", UNTRUSTWORTHY.values(), ids=UNTRUSTWORTHY.keys())
@pytest.mark.parametrize("bytewise", [False, True])
def test_an_answer_that_does_not_hold_together_is_an_error(raw: bytes, bytewise: bool) -> None:
    """Better a retry than somebody else's answer (RFC 9112 §6.3, §11.1)."""
    reader = parser()
    reader.expect(False)
    for piece in [raw[i : i + 1] for i in range(len(raw))] if bytewise and len(raw) < 1000 else [raw]:
        reader.feed(piece)
    assert reader.error


OLD_FORMS: dict[str, tuple[bytes, bytes]] = {
    # RFC 9112 §2.2: a bare LF ends a line
    "bare LF throughout": (
        b"HTTP/1.1 200 OK\nX: a\nContent-Length: 2\n\nok",
        b"X: a\r\nContent-Length: 2\r\n",
    ),
    "bare LF once": (H + b"X: a\nContent-Length: 2\r\n\r\nok", b"X: a\r\nContent-Length: 2\r\n"),
    "bare LF, and a blank line in the body": (
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"Content-Length: 2\r\n",
    ),
    # RFC 9112 §5.1: a blank before the colon has to be taken away
    "blank before a colon": (
        H + b"Set-Cookie \t: a\r\nContent-Length: 2\r\n\r\nok",
        b"Set-Cookie: a\r\nContent-Length: 2\r\n",
    ),
    "blank before the length's colon": (H + b"Content-Length : 2\r\n\r\nok", b"Content-Length: 2\r\n"),
    # RFC 9112 §5.2: folds become blanks
    "folded header": (
        H + b"X: a\r\n  b\r\n\tc\r\nContent-Length: 2\r\n\r\nok",
        b"X: a b c\r\nContent-Length: 2\r\n",
    ),
    "folded length": (H + b"Content-Length:\r\n 2\r\n\r\nok", b"Content-Length: 2\r\n"),
    # RFC 9110 §8.6: equal lengths are one
    "length twice": (
        H + b"Content-Length: 2\r\nX: a\r\nContent-Length: 2\r\n\r\nok",
        b"X: a\r\nContent-Length: 2\r\n",
    ),
    "length in a list": (H + b"Content-Length: 2, 2\r\n\r\nok", b"Content-Length: 2\r\n"),
    # RFC 9110 §5.6.1: empty elements of a list are nothing
    "chunked, and a comma": (H + b"Transfer-Encoding: chunked,\r\n\r\n2\r\nok\r\n0\r\n\r\n", b""),
    "a comma, and chunked": (H + b"Transfer-Encoding: , chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b""),
    # public reports of Spring behind nginx: the framework and the server both name the coding
    "chunked on two lines": (
        H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"",
    ),
    "no coding, and a length": (
        H + b"Transfer-Encoding:\r\nContent-Length: 2\r\n\r\nok",
        b"Content-Length: 2\r\n",
    ),
    # RFC 9112 §4: parsed on blanks, as every client does
    "blanks in the status line": (
        b"HTTP/1.1 \t 200  OK\r\nContent-Length: 2\r\n\r\nok",
        b"Content-Length: 2\r\n",
    ),
    "names that are no token": (
        H + b"X(a): b\r\nX-\xc3\xa9: c\r\nContent-Length: 2\r\n\r\nok",
        b"X(a): b\r\nX-\xc3\xa9: c\r\nContent-Length: 2\r\n",
    ),
    # RFC 2616 §3.6: identity is no coding
    "identity": (H + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", b"Content-Length: 2\r\n"),
    "identity, then chunked": (H + b"Transfer-Encoding: identity, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b""),
    # RFC 9112 §7.1: old servers write a size into a field of fixed width
    "blanks around a size": (H + b"Transfer-Encoding: chunked\r\n\r\n2     \r\nok\r\n0     \r\n\r\n", b""),
    "blanks before a size": (H + b"Transfer-Encoding: chunked\r\n\r\n     2\r\nok\r\n     0\r\n\r\n", b""),
    "zeros before a size": (
        H + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 40 + b"2\r\nok\r\n0\r\n\r\n",
        b"",
    ),
    "bare LF among the chunks": (H + b"Transfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n", b""),
    # RFC 9112 §4: the phrase may be missing, with its blank
    "no phrase": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"Content-Length: 2\r\n"),
    "control character in a value": (
        H + b"X: a\x01b\r\nContent-Length: 2\r\n\r\nok",
        b"X: a\x01b\r\nContent-Length: 2\r\n",
    ),
    "a later 1.x": (b"HTTP/1.7 200 OK\r\nContent-Length: 2\r\n\r\nok", b"Content-Length: 2\r\n"),
    "empty lines first": (b"\r\n\r\n" + H + b"Content-Length: 2\r\n\r\nok", b"Content-Length: 2\r\n"),
    "lines that are the sidecar's": (
        H + b"Sidegate-Attempts: 9\r\nsidegate-reason: x\r\nContent-Length: 2\r\n\r\nok",
        b"Content-Length: 2\r\n",
    ),
}


@pytest.mark.parametrize(("raw", "lines"), OLD_FORMS.values(), ids=OLD_FORMS.keys())
@pytest.mark.parametrize("bytewise", [False, True])
def test_an_old_form_that_can_mean_one_thing_only_is_read(raw: bytes, lines: bytes, bytewise: bool) -> None:
    """What every client reads, and what goes on of it is in the form of today."""
    reader = parser()
    reader.expect(False)
    for piece in [raw[i : i + 1] for i in range(len(raw))] if bytewise else [raw]:
        reader.feed(piece)
    assert reader.error == ""
    assert reader.head is not None
    assert (reader.head.status, b"".join(reader.chunks), reader.is_whole, reader.has_excess) == (
        200,
        b"ok",
        True,
        False,
    )
    assert reader.head.lines == b"\r\n" + lines
    assert reader.head.start.startswith(b"HTTP/1.1 200")


def test_chunks_in_1_0_are_read_and_end_the_connection() -> None:
    """RFC 9112 §6.1: the framing is faulty, and the connection is closed behind the message."""
    reader = parser()
    reader.expect(False)
    reader.feed(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    )
    assert (reader.error, reader.is_whole, b"".join(reader.chunks)) == ("", True, b"ok")
    assert reader.head is not None
    assert not reader.head.keep_alive


@pytest.mark.parametrize("status", [200, 204, 304])
def test_where_there_is_no_body_two_framings_do_no_harm(status: int) -> None:
    """RFC 9112 §6.3, rule 1."""
    reader = parser()
    reader.expect(status == 200)
    reader.feed(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
    assert (reader.error, reader.is_whole, reader.has_excess) == ("", True, False)
    assert reader.head is not None
    assert reader.head.lines == b"\r\n"


@pytest.mark.parametrize("status", [103, 200, 204, 304])
@pytest.mark.parametrize(
    "length", [b"-3", b"3, 4", b"3,", b"", b"9" * 100], ids=["negative", "two", "comma", "empty", "endless"]
)
def test_where_there_is_no_body_a_length_that_is_none_is_cut(status: int, length: bytes) -> None:
    """It used to go on, to apps that refuse the whole answer for it; of a 204 it made an error."""
    reader = parser()
    reader.expect(status == 200)
    head = b"HTTP/1.1 %d X\r\nContent-Length: %b\r\nX: a\r\n\r\n" % (status, length)
    reader.feed(head if status >= 200 else head + H + b"X: a\r\nContent-Length: 0\r\n\r\n")
    assert (reader.error, reader.is_whole, reader.has_excess) == ("", True, False)
    if status < 200:
        assert reader.interim == [b"HTTP/1.1 103 X\r\nX: a\r\n\r\n"]
    else:
        assert reader.head is not None
        assert reader.head.lines == b"\r\nX: a\r\n"


@pytest.mark.parametrize(
    ("line", "streams"),
    [
        (b"Content-Type: text/event-stream; charset=utf-8", True),
        (b"content-type:application/X-NDJSON", True),
        (b"Content-Type: application/grpc+proto", True),
        (b"X-Accel-Buffering: no", True),
        (b"x-accel-buffering:NO", True),
        (b"X-Accel-Buffering: yes", False),
        (b"Content-Type: application/json", False),
    ],
)
def test_an_answer_for_an_app_that_reads_along_is_told_by_its_head(line: bytes, streams: bool) -> None:
    reader = parser()
    reader.expect(False)
    reader.feed(H + line + b"\r\n\r\n")
    assert reader.head is not None
    assert reader.head.streams is streams


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5.0),
        (b"max=100, Timeout=15", 15.0),
        (b'timeout="7"', 7.0),
        (b"max=5", None),
        (b"timeout=x", None),
    ],
)
def test_how_long_the_upstream_keeps_a_connection_is_read(value: bytes, seconds: float | None) -> None:
    reader = parser()
    reader.expect(False)
    reader.feed(H + b"Keep-Alive: " + value + b"\r\nContent-Length: 0\r\n\r\n")
    assert reader.head is not None
    assert reader.head.kept_for_s == seconds


def test_small_chunks_are_kept_joined() -> None:
    """A megabyte in chunks of 16 bytes used to be kept as 65,536 objects: five megabytes."""
    reader = parser()
    reader.expect(False)
    reader.feed(H + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(4096):
        reader.feed(b"10\r\n0123456789abcdef\r\n")
    assert b"".join(reader.chunks) == b"0123456789abcdef" * 4096
    assert len(reader.chunks) <= 17


def test_a_close_ends_only_what_ends_by_close() -> None:
    """RFC 9112 §8."""
    for head, whole in (
        (b"", True),
        (b"Content-Length: 9\r\n", False),
        (b"Transfer-Encoding: chunked\r\n", False),
    ):
        reader = parser()
        reader.expect(False)
        reader.feed(H + head + b"\r\n")
        reader.end()
        assert reader.is_whole is whole
    assert reader.head is not None
    assert reader.head.body_end is BodyEnd.CHUNKS
