"""What a head says: persistence, framing, what is forwarded."""

from __future__ import annotations

import pytest

from proxy.wire.encode import chunk, status_line
from proxy.wire.headers import named_away, tokens
from proxy.wire.request_facts import judge_request

HOST = b"Host: a.example"


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        ("1.1", [], True),
        ("1.1", [b"Connection: close"], False),
        ("1.1", [b"Connection: x", b"Connection: y, CLOSE"], False),
        ("1.1", [b"Connection: closed"], True),
        ("1.0", [], False),
        ("1.0", [b"Connection: Keep-Alive"], True),
        ("1.0", [b"Connection: close"], False),
    ],
)
def test_who_keeps_the_connection(version: str, connection: list[bytes], keeps: bool) -> None:
    assert judge_request(b"GET", version, [HOST, *connection]).keep_alive is keeps


def test_close_beats_keep_alive_in_1_0() -> None:
    """RFC 9112 §9.3: close is asked first, in any version."""
    assert not judge_request(b"GET", "1.0", [HOST, b"Connection: keep-alive, close"]).keep_alive


@pytest.mark.parametrize(
    "host", [b"a", b"a.example:80", b"127.0.0.1", b"[::1]", b"[::1]:8080", b"a_b-c.d", b"%41.b", b"a:", b""]
)
def test_a_host_is_a_host_and_a_port(host: bytes) -> None:
    """RFC 9112 §3.2, RFC 3986 §3.2.2; empty is for targets without an authority."""
    assert judge_request(b"GET", "1.1", [b"Host: " + host]).refusal is None


def test_lines_are_forwarded_as_they_came() -> None:
    lines = [b"x-A:1", HOST, b"X-a:  2 ", b"Accept: */*", b"X-E:", b"Sidegate-Attempts: 3", b"sidegate-x: y"]
    assert judge_request(b"GET", "1.1", lines).lines == b"x-A:1\r\nX-a:  2 \r\nAccept: */*\r\nX-E:\r\n"


def test_an_expectation_of_1_0_is_ignored() -> None:
    facts = judge_request(b"POST", "1.0", [HOST, b"Expect: 100-continue", b"Content-Length: 3"])
    assert (facts.refusal, facts.expects_continue) == (None, False)


def test_a_length_of_nothing_is_no_body() -> None:
    facts = judge_request(b"POST", "1.1", [HOST, b"Content-Length: 0"])
    assert (facts.content_length, facts.has_body, facts.is_plain) == (0, False, True)


@pytest.mark.parametrize(
    ("value", "found"),
    [(b"keep-alive", [b"keep-alive"]), (b"a,B , ,\tc", [b"a", b"b", b"c"]), (b"", []), (b" , ", [])],
)
def test_tokens_are_lower_case_and_never_empty(value: bytes, found: list[bytes]) -> None:
    assert tokens(value) == found


def test_only_hop_by_hop_names_can_be_named_away() -> None:
    assert named_away([b"x-a", b"authorization", b"host", b"content-length", b"close"]) == {b"x-a", b"close"}


def test_bytes_on_the_wire() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert status_line(200) == b"HTTP/1.1 200 OK\r\n"
    assert status_line(299).startswith(b"HTTP/1.1 299 ")
    assert status_line(200, b"Fine") == b"HTTP/1.1 200 Fine\r\n"
