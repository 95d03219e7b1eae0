"""The request parser reads what h11 reads, however the bytes are cut."""

from __future__ import annotations

from typing import Any

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.headers import HOP_BY_HOP
from proxy.wire.request_parser import RequestParser
from tests.wire.messages import Message, cut_at, requests

Reading = list[tuple[bytes, bytes, bytes, bytes, bool]]


def parser() -> RequestParser:
    return RequestParser(max_head_bytes=64 << 10, max_headers=256)


def read(pieces: list[bytes], reader: RequestParser | None = None) -> Reading:
    """What the pieces say: method, target, forwarded lines, body, whether it is whole."""
    reader = reader or parser()
    for piece in pieces:
        reader.feed(piece)
    assert reader.failed is None, reader.failed.detail
    return [
        (r.method, r.target, r.facts.lines, b"".join(r.chunks), r.is_whole)
        for r in reader.ready
        if r.facts.refusal is None
    ]


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def forwarded(message: Message) -> list[tuple[bytes, bytes]]:
    """The headers of a message that a proxy forwards, by RFC 9110 §7.6.1; those that are for the sidecar itself end here."""
    ends_here = HOP_BY_HOP | {b"host", b"http2-settings"}
    return [(n, v) for n, v in message.headers if n not in ends_here and not n.startswith(b"sidegate-")]


def parsed(lines: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        found.append((name.lower(), value.strip(b" \t")))
    return found


def h11_reading(data: bytes) -> list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]]:
    """What h11 makes of a sequence of requests."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    found: list[Any] = []
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            found.append([event.method, event.target, list(event.headers), b""])
        elif isinstance(event, h11.Data):
            found[-1][3] += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            answer = h11.Response(status_code=200, headers=[("Content-Length", "0")])
            connection.send(answer)
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                break
            connection.start_next_cycle()
        elif event is h11.PAUSED:
            connection.start_next_cycle()
        else:
            break
    return [tuple(one) for one in found]


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=6))
@settings(max_examples=250)
def test_requests_are_read_the_same_however_they_are_cut(messages: list[Message], places: list[int]) -> None:
    """At once, byte by byte and in random pieces; pipelined, with bodies, trailers and declined upgrades."""
    data = b"".join(message.raw for message in messages)
    at_once = read([data])
    assert [(m, t, parsed(lines), body, whole) for m, t, lines, body, whole in at_once] == [
        (message.method, message.target, forwarded(message), message.body, True) for message in messages
    ]
    assert read(bytewise(data)) == at_once
    assert read(cut_at(data, places)) == at_once


@given(st.lists(requests(upgrades=False), min_size=1, max_size=3))
@settings(max_examples=200)
def test_requests_are_read_as_h11_reads_them(messages: list[Message]) -> None:
    """Two parsers that share no code agree on method, target, headers, bodies and order."""
    data = b"".join(message.raw for message in messages)
    ends_here = HOP_BY_HOP | {b"host"}
    ours = [(m, t, parsed(lines), body) for m, t, lines, body, _ in read([data])]
    theirs = [
        (method, target, [(n, v) for n, v in headers if n not in ends_here], body)
        for method, target, headers, body in h11_reading(data)
    ]
    for (_, _, mine, _), (_, _, other, _) in zip(ours, theirs, strict=True):
        # h11 writes 00005 as 5: the one header that it does not keep as it was sent
        assert [pair for pair in mine if pair[0] != b"content-length"] == [
            pair for pair in other if pair[0] != b"content-length"
        ]
    assert [(m, t, b) for m, t, _, b in ours] == [(m, t, b) for m, t, _, b in theirs]


class _LlhttpReading:
    """What llhttp tells while it reads."""

    def __init__(self) -> None:
        self.found: list[list[Any]] = []
        self._target = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._target:
            self.found.append([self._target, [], b""])
            self._target = b""
        self.found[-1][1].append((name.lower(), value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.found[-1][2] += body


@given(st.lists(requests(upgrades=False), min_size=1, max_size=3))
@settings(max_examples=200)
def test_requests_are_read_as_llhttp_reads_them(messages: list[Message]) -> None:
    """The third reader, which most servers in front of an app are made of. It tells trailers as headers."""
    data = b"".join(message.raw for message in messages)
    reading = _LlhttpReading()
    httptools.HttpRequestParser(reading).feed_data(data)
    ends_here = HOP_BY_HOP | {b"host"}
    for (_, target, lines, body, _), (theirs, headers, content) in zip(
        read([data]), reading.found, strict=True
    ):
        mine = parsed(lines)
        assert (target, body) == (theirs, content)
        assert mine == [pair for pair in headers if pair[0] not in ends_here][: len(mine)]


PAGE = b"GET /items?page=7 HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nUser-Agent: x\r\n\r\n"


def verdict(data: bytes, *, remembering: bool) -> Any:
    """What a connection makes of ``data`` as its next request, after a request like it or as its first one."""
    reader = parser()
    if remembering:
        reader.feed(PAGE)
        reader.feed(PAGE.replace(b"page=7", b"page=8"))
        assert len(reader.ready) == 2
        reader.ready.clear()
    reader.feed(data)
    if reader.failed is not None:
        return reader.failed.problem, reader.failed.detail
    return [
        (
            r.method,
            r.target,
            r.facts.lines,
            r.facts.host,
            r.facts.keep_alive,
            r.facts.refusal and r.facts.refusal.problem,
            b"".join(r.chunks),
            r.is_whole,
        )
        for r in reader.ready
    ]


@given(st.integers(0, len(PAGE) - 1), st.binary(min_size=0, max_size=2))
@settings(max_examples=600)
def test_the_memo_of_a_repeated_head_never_changes_a_reading(place: int, patch: bytes) -> None:
    """A repeated request with bytes replaced, put in or left out means what it means on a connection of its own."""
    for data in (PAGE[:place] + patch + PAGE[place + len(patch) :], PAGE[:place] + patch + PAGE[place:]):
        assert verdict(data, remembering=True) == verdict(data, remembering=False)


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_in_a_repeated_target_means_the_same_as_in_a_first_one(byte: int) -> None:
    """The short cut for repeated heads must not be more lenient than llhttp is."""
    data = PAGE.replace(b"page=7", b"page=" + bytes([byte]))
    assert verdict(data, remembering=True) == verdict(data, remembering=False)


@given(st.lists(st.sampled_from([PAGE, PAGE.replace(b"7", b"8"), PAGE[:-2] + b"X: y\r\n\r\n"]), max_size=6))
def test_repeated_heads_in_one_packet_are_read_one_by_one(heads: list[bytes]) -> None:
    """A packet that ends like the head before may hold more than one request."""
    reader = parser()
    reader.feed(PAGE)
    reader.ready.clear()
    reader.feed(b"".join(heads))
    assert [r.target for r in reader.ready] == [head.split()[1] for head in heads]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
@settings(max_examples=300)
def test_garbage_never_raises(data: bytes, places: list[int]) -> None:
    """Whatever comes, ``feed`` returns and either waits, has a request, or has failed."""
    reader = parser()
    for piece in cut_at(data, places):
        reader.feed(piece)
    assert reader.failed is None or reader.failed.detail


@given(
    requests(),
    st.integers(0, 10_000),
    st.binary(min_size=1, max_size=3),
    st.lists(st.integers(0, 999), max_size=3),
)
@settings(max_examples=300)
def test_a_damaged_request_is_read_the_same_however_it_is_cut(
    message: Message, place: int, patch: bytes, places: list[int]
) -> None:
    """Refused or not, the verdict and the requests before it may not depend on packets: smugglers choose those."""
    place %= len(message.raw)
    data = message.raw[:place] + patch + message.raw[place + len(patch) :] + PAGE

    def outcome(pieces: list[bytes]) -> Any:
        reader = parser()
        for piece in pieces:
            reader.feed(piece)
        whole = [(r.method, r.target, r.facts.lines, b"".join(r.chunks)) for r in reader.ready if r.is_whole]
        return whole, reader.failed and reader.failed.problem, reader.is_closing

    at_once = outcome([data])
    assert outcome(bytewise(data)) == at_once
    assert outcome(cut_at(data, places)) == at_once
