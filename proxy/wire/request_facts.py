"""What a request head says to a proxy, judged once: framing, persistence, and the lines to forward.

The grammar has been checked before; here is what the lines mean together, the RFC's section above each check. The result
depends on nothing but the arguments, so a connection keeps the last one and reuses it while its headers stay the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from proxy.base.reasons import Problem
from proxy.wire.headers import HOP_BY_HOP, MAX_DIGITS, name_of, named_away, parse_lines, tokens

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]*)(?::[0-9]*)?")

_INTERESTING = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"via",
    b"idempotency-key",
    b"authorization",
    b"max-forwards",
    b"sidegate-timeout",
    b"sidegate-attempts",
    b"sidegate-priority",
}


@dataclass(slots=True)
class Refusal:
    """Why a request cannot be carried: what kind of problem it is, and a sentence for the app's developer."""

    problem: Problem
    detail: str


@dataclass(slots=True)
class RequestFacts:
    """A request head, understood.

    ``lines`` holds the header lines to forward, byte for byte and ended by CRLF each, without Host and without framing that has
    to change. ``content_length`` is None where the message has none; ``chunked`` excludes it. The three ``wanted_*`` are the
    app's own wishes, unparsed, taken from headers that are not forwarded. ``logs_in`` says that it is the connection that is
    logged in, not the request (NTLM, Negotiate). ``takes_trailers`` says that the app reads trailers.
    ``upgrade`` is the protocol that the app would
    switch to; h2c is not told, for such a call can go on in HTTP/1.1. ``encoded`` is the encoder's to keep what it made of
    these facts. ``is_plain`` says that there is nothing about this head but lines to forward.
    """

    keep_alive: bool = True
    speaks_1_1: bool = True
    content_length: int | None = None
    chunked: bool = False
    expects_continue: bool = False
    upgrade: bytes = b""
    host: bytes = b""
    lines: bytes = b""
    via: list[bytes] = field(default_factory=list)
    max_forwards: bytes | None = None
    stops_here: bool = False
    has_idempotency_key: bool = False
    logs_in: bool = False
    takes_trailers: bool = False
    wanted_timeout: bytes | None = None
    wanted_attempts: bytes | None = None
    wanted_priority: bytes | None = None
    refusal: Refusal | None = None
    encoded: tuple[object, bytes] | None = None
    is_plain: bool = False

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head; ``Content-Length: 0`` is none."""
        return self.chunked or bool(self.content_length)


def judge_request(method: bytes, version: str, lines: list[bytes]) -> RequestFacts:
    """Return what header ``lines`` mean for a request of ``method`` in HTTP ``version`` ("1.1"), a refusal included."""
    facts = RequestFacts()
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    expect: list[bytes] = []
    upgrades: list[bytes] = []
    for low, value in parse_lines(lines):
        if low not in _INTERESTING:
            continue
        if low == b"host":
            hosts.append(value)
        elif low == b"content-length":
            lengths.append(value)
        elif low == b"transfer-encoding":
            codings.extend(tokens(value) or [b""])
        elif low == b"connection":
            connection.extend(tokens(value))
        elif low == b"expect":
            expect.extend(tokens(value))
        elif low == b"upgrade":
            upgrades.append(value)
        elif low == b"te":
            facts.takes_trailers = version != "1.0" and b"trailers" in tokens(value)
        else:
            _note(facts, low, value)
    facts.host = hosts[0] if hosts else b""
    facts.speaks_1_1 = version != "1.0"
    # RFC 9112 §9.3: close is asked first, in any version.
    facts.keep_alive = b"close" not in connection and (version != "1.0" or b"keep-alive" in connection)
    facts.refusal = (
        _judge_version(version)
        or _judge_host(version, hosts)
        or _judge_framing(facts, version, lengths, codings)
        or _judge_expect(facts, version, expect)
    )
    if upgrades and b"upgrade" in connection and version != "1.0" and not facts.has_body:
        asked = b", ".join(upgrades)
        facts.upgrade = b"" if b"h2c" in tokens(asked) else asked
    facts.lines = _forwarded(lines, named_away(connection))
    _judge_method(facts, method)
    facts.is_plain = _is_plain(facts)
    return facts


def _note(facts: RequestFacts, low: bytes, value: bytes) -> None:
    if low == b"via":
        facts.via.append(value)
    elif low == b"idempotency-key":
        facts.has_idempotency_key = bool(value)
    elif low == b"authorization":
        facts.logs_in = value[:10].lower().startswith((b"ntlm ", b"negotiate "))
    elif low == b"max-forwards":
        facts.max_forwards = value
    elif low == b"sidegate-timeout":
        facts.wanted_timeout = value
    elif low == b"sidegate-attempts":
        facts.wanted_attempts = value
    elif low == b"sidegate-priority":
        facts.wanted_priority = value


def _judge_version(version: str) -> Refusal | None:
    if version[0] == "1":
        return None  # RFC 9110 §6.2: a later 1.x is read as 1.1
    return Refusal(Problem.VERSION, f"HTTP/{version} is not spoken here; use HTTP/1.1")


def _judge_host(version: str, hosts: list[bytes]) -> Refusal | None:
    # RFC 9112 §3.2: 400 for a missing Host in 1.1, for more than one, and for an invalid one.
    if not hosts and version == "1.0":
        return None
    if len(hosts) != 1:
        return Refusal(Problem.MALFORMED, f"expected one Host header, got {len(hosts)}")
    if not _HOST.fullmatch(hosts[0]):
        return Refusal(Problem.MALFORMED, "the Host header is not a host and port")
    return None


def _judge_framing(
    facts: RequestFacts, version: str, lengths: list[bytes], codings: list[bytes]
) -> Refusal | None:
    if codings:
        # RFC 9112 §6.1: a Transfer-Encoding in HTTP/1.0 is faulty framing, and with Content-Length an attack.
        if version == "1.0":
            return Refusal(Problem.MALFORMED, "Transfer-Encoding in an HTTP/1.0 request")
        if lengths:
            return Refusal(Problem.MALFORMED, "both Transfer-Encoding and Content-Length")
        # RFC 9112 §6.1: 501 for a coding that is not understood; §6.3: chunked has to be the last, once.
        if codings[-1] != b"chunked" or codings.count(b"chunked") != 1:
            return Refusal(Problem.MALFORMED, "Transfer-Encoding does not end in one chunked")
        if len(codings) > 1:
            return Refusal(Problem.NOT_IMPLEMENTED, "of the transfer codings only chunked is understood")
        facts.chunked = True
    elif lengths:
        # RFC 9112 §6.3: differing or repeated lengths are refused, not picked from.
        if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > MAX_DIGITS:
            return Refusal(
                Problem.MALFORMED, f"Content-Length is not one number of up to {MAX_DIGITS} digits"
            )
        facts.content_length = int(lengths[0])
    return None


def _judge_expect(facts: RequestFacts, version: str, expect: list[bytes]) -> Refusal | None:
    if not expect or version == "1.0":
        return None  # RFC 9110 §10.1.1: ignored in HTTP/1.0
    if expect != [b"100-continue"]:
        return Refusal(Problem.EXPECTATION, "the only expectation known is 100-continue")
    facts.expects_continue = True
    return None


def _is_plain(facts: RequestFacts) -> bool:
    return not (
        facts.refusal is not None
        or facts.has_body
        or facts.expects_continue
        or facts.via
        or facts.stops_here
        or facts.wanted_timeout is not None
        or facts.wanted_attempts is not None
        or facts.wanted_priority is not None
    )


def _judge_method(facts: RequestFacts, method: bytes) -> None:
    forwards = facts.max_forwards
    if forwards is not None and method in (b"TRACE", b"OPTIONS") and forwards.isdigit():
        # RFC 9110 §7.6.2: at 0 it ends here, else it is forwarded with one less, or as the most that we count to.
        left = int(forwards) if len(forwards) <= MAX_DIGITS else 10**MAX_DIGITS
        if left == 0:
            facts.stops_here = True
        facts.lines += b"Max-Forwards: %d\r\n" % max(0, left - 1)
    elif forwards is not None:
        facts.lines += b"Max-Forwards: %b\r\n" % forwards


def _forwarded(lines: list[bytes], named: set[bytes]) -> bytes:
    ends_here = HOP_BY_HOP | named | {b"host", b"expect", b"max-forwards"}
    kept = [
        line for line in lines if (low := name_of(line)) not in ends_here and not low.startswith(b"sidegate-")
    ]
    return b"\r\n".join([*kept, b""]) if kept else b""
