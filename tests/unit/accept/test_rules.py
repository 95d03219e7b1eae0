"""What may be carried: paths at the upstream, wishes, and what is refused."""

from __future__ import annotations

import pytest

from proxy.accept.rules import Rules
from proxy.base.reasons import Problem
from proxy.base.wishes import Priority
from proxy.wire.request_facts import Refusal, judge_request
from proxy.wire.request_parser import Request

RULES = Rules(
    authority=b"up.example",
    authorities=frozenset({b"up.example", b"up.example:80"}),
    own_authorities=frozenset({b"localhost:8880"}),
    hosts=frozenset(),
    prefix=b"/api",
    via=b"sidegate-1",
)


ANYWHERE = Rules(
    authority=b"up.example",
    authorities=frozenset({b"up.example"}),
    own_authorities=frozenset(),
    hosts=frozenset(),
    prefix=b"",
    via=b"sidegate-1",
    elsewhere=None,
)


def read(target: bytes, *lines: bytes, method: bytes = b"GET", rules: Rules = RULES) -> Request | Refusal:
    request = Request(method, target, judge_request(method, "1.1", [b"Host: a", *lines]), True)
    return rules.read(request) or request


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a?b=http://c", b"/api/a?b=http://c"),
        (b"http://UP.example/api/a", b"/api/a"),
        (b"HTTP://up.example:80?q", b"/?q"),
        (b"http://localhost:8880/a", b"/api/a"),
    ],
)
def test_every_form_of_a_target_names_its_path(target: bytes, path: bytes) -> None:
    """The prefix stands before what the app asks of the sidecar, not before what it asks of the upstream by name."""
    request = read(target)
    assert isinstance(request, Request)
    assert request.path == path


@pytest.mark.parametrize("target", [b"*", b"http://up.example", b"http://localhost:8880"])
def test_options_without_a_path_asks_the_server_itself(target: bytes) -> None:
    """RFC 9112 §3.2.4: the last proxy says so by an asterisk."""
    request = read(target, method=b"OPTIONS")
    assert isinstance(request, Request)
    assert request.path == b"*"


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (b"/a#b", Problem.MALFORMED),
        (b"http://up.example/#b", Problem.MALFORMED),
        (b"ftp://up.example/", Problem.MALFORMED),
        (b"a", Problem.MALFORMED),
        (b"*", Problem.MALFORMED),
        (b"http://other.example/", Problem.MISDIRECTED),
    ],
)
def test_what_cannot_be_carried_is_refused(target: bytes, problem: Problem) -> None:
    refusal = read(target)
    assert isinstance(refusal, Refusal)
    assert refusal.problem is problem


@pytest.mark.parametrize(
    ("method", "target", "place"),
    [
        (b"GET", b"http://Other.example/a", ("http", "other.example", 80, b"other.example")),
        (b"GET", b"https://other.example?a", ("https", "other.example", 443, b"other.example")),
        (b"GET", b"ws://other.example/chat", ("http", "other.example", 80, b"other.example")),
        (b"GET", b"WSS://other.example/chat", ("https", "other.example", 443, b"other.example")),
        (b"GET", b"http://[::1]:81/", ("http", "::1", 81, b"[::1]:81")),
        (b"GET", b"http://other.example:/", ("http", "other.example", 80, b"other.example:")),
        (b"CONNECT", b"other.example:443", ("http", "other.example", 443, b"other.example:443")),
        (b"CONNECT", b"up.example:80", ("http", "up.example", 80, b"up.example:80")),
    ],
)
def test_a_call_for_another_host_knows_its_place(
    method: bytes, target: bytes, place: tuple[str, str, int, bytes]
) -> None:
    request = read(target, method=method, rules=ANYWHERE)
    assert isinstance(request, Request)
    assert request.elsewhere == place


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b"http://u:p@other.example/"), (b"GET", b"http:///a"), (b"GET", b"http://other.example:65536/"),
        (b"GET", b"http://a b/"), (b"GET", b"http://[::1/"), (b"CONNECT", b"other.example"), (b"CONNECT", b"/a"),
        (b"CONNECT", b"other.example:0"), (b"CONNECT", b"http://other.example:80"), (b"GET", b"http://other.example:1a/"),
    ],
)  # fmt: skip
def test_a_place_that_is_none_is_refused(method: bytes, target: bytes) -> None:
    refusal = read(target, method=method, rules=ANYWHERE)
    assert isinstance(refusal, Refusal)
    assert refusal.problem is Problem.MALFORMED


def test_wishes_are_read() -> None:
    request = read(b"/", b"Sidegate-Timeout: 1m30s", b"Sidegate-Attempts: 7", b"Sidegate-Priority: low")
    assert isinstance(request, Request)
    assert request.wishes is not None
    assert (request.wishes.timeout_s, request.wishes.attempts) == (90.0, 7)
    assert request.wishes.priority is Priority.LOW


@pytest.mark.parametrize(
    "line",
    [
        b"Sidegate-Timeout: 0s",
        b"Sidegate-Timeout: soon",
        b"Sidegate-Timeout: " + b"9" * 60_000 + b"s",
        b"Sidegate-Timeout: " + b"1s" * 40,
        b"Sidegate-Attempts: 0",
        b"Sidegate-Attempts: 1001",
        b"Sidegate-Attempts: 1" + b"0" * 60_000,
        b"Sidegate-Attempts: " + b"0" * 60_000 + b"1",
        b"Sidegate-Attempts: +1",
        b"Sidegate-Priority: HIGH",
        b"Sidegate-Priority: urgent",
    ],
)
def test_a_wish_that_makes_no_sense_is_named(line: bytes) -> None:
    """Numbers of any length: Python refuses to convert those of more than 4,300 digits."""
    refusal = read(b"/", line)
    assert isinstance(refusal, Refusal)
    assert refusal.problem is Problem.MALFORMED
    assert line.split(b":")[0].decode() in refusal.detail
    assert len(refusal.detail) < 200


def test_max_forwards_of_any_length_does_no_harm() -> None:
    """It is forwarded as the most that we count to (RFC 9110 §7.6.2)."""
    request = read(b"/", b"Max-Forwards: " + b"9" * 60_000, method=b"OPTIONS")
    assert isinstance(request, Request)
    assert request.facts.lines == b"Max-Forwards: 999999999999999999\r\n"
