"""What may be carried: the rules about targets, hosts, loops and wishes, in the order in which they speak.

A request that passes knows its ``path`` at the upstream and its ``wishes`` afterwards. One set of rules is made of each
configuration, and replaced as a whole.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.base.destination import Destination
from proxy.base.reasons import Problem
from proxy.base.wishes import Priority, Wishes
from proxy.config.names import bare_host
from proxy.config.units import parse_duration
from proxy.wire.headers import tokens
from proxy.wire.request_facts import Refusal
from proxy.wire.request_parser import Request

_PRIORITIES: Final = {priority.value.encode(): priority for priority in Priority}
_MOST_DIGITS: Final = 64
"""Digits of a number that are read: a longer one makes no sense, and long ones are slow to parse."""
_MOST_ATTEMPTS: Final = 1000
_AUTHORITY: Final = re.compile(rb"(\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()*+,;=%-]+)(?::([0-9]{0,5}))?")
"""RFC 3986 §3.2 without user and password, which a proxy is not to be told."""
_PORTS: Final = {b"http": 80, b"https": 443, b"": 0}
_SCHEMES: Final = {b"http": b"http", b"https": b"https", b"ws": b"http", b"wss": b"https"}
"""What an absolute target may begin with. RFC 6455 §4.1: ws and wss are HTTP until the 101; aiohttp names them to a proxy."""


class Rules:
    """The rules of one configuration. All names are in lower case; empty ``hosts`` take any.

    ``elsewhere`` holds the other hosts that calls may be for, with their ports; None is any.
    """

    def __init__(
        self,
        *,
        authority: bytes,
        authorities: frozenset[bytes],
        own_authorities: frozenset[bytes],
        hosts: frozenset[bytes],
        prefix: bytes,
        via: bytes,
        elsewhere: frozenset[tuple[str, int]] | None = frozenset(),
    ) -> None:
        self._elsewhere = elsewhere
        self._authority = authority
        self._authorities = authorities
        self._own_authorities = own_authorities
        self._hosts = hosts
        self._prefix = prefix
        self._via = via.lower()

    def read(self, request: Request) -> Refusal | None:
        """Complete a request with its path and wishes; return why it cannot be carried, None where it can."""
        facts = request.facts
        if not facts.is_plain:
            refusal = self._refuse_head(request) or self._read_wishes(request)
            if refusal is not None:
                return refusal
        target = request.target
        if target[:1] == b"/" and b"#" not in target and request.method != b"CONNECT":
            request.path = self._prefix + target
        else:
            refusal = self._read_target(request)
            if refusal is not None:
                return refusal
        return self._refuse_host(request) if self._hosts and request.elsewhere is None else None

    def _refuse_head(self, request: Request) -> Refusal | None:
        facts = request.facts
        if facts.refusal is not None:
            return facts.refusal
        if facts.via and self._is_loop(facts.via):
            return Refusal(Problem.LOOP, "the call has come through this sidecar before")
        if facts.stops_here:
            if request.method == b"OPTIONS":  # RFC 9110 §7.6.2: answered by whoever it reaches at 0
                return Refusal(Problem.ENDS_HERE, "Max-Forwards is used up at this sidecar")
            return Refusal(
                Problem.NOT_IMPLEMENTED, "Max-Forwards is used up, and the sidecar answers no TRACE"
            )
        return None

    def _is_loop(self, via: list[bytes]) -> bool:
        return any(self._via in token.split() for value in via for token in tokens(value))

    def _read_target(self, request: Request) -> Refusal | None:
        """Read a target that is not a plain path."""
        target = request.target
        if request.method == b"CONNECT":
            return self._read_elsewhere(request, b"", target.lower(), b"")
        if b"#" in target:
            return Refusal(Problem.MALFORMED, "a fragment has no place in a request target")
        if target == b"*" and request.method == b"OPTIONS":
            request.path = target
            return None
        # RFC 9112 §3.2.2: the absolute form must be understood; its authority beats the Host header.
        named, separator, rest = target.partition(b"://")
        scheme = _SCHEMES.get(named.lower(), b"")
        if not separator or not scheme:
            return Refusal(Problem.MALFORMED, "the request target is neither a path nor an absolute URL")
        cut = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
        authority, path = rest[:cut].lower(), rest[cut:]
        if not path and request.method == b"OPTIONS":
            path = b"*"  # RFC 9112 §3.2.4: the server itself is asked
        elif path[:1] != b"/":
            path = b"/" + path
        if authority in self._authorities:
            request.path = path
        elif authority in self._own_authorities:
            request.path = path if path == b"*" else self._prefix + path
        else:
            return self._read_elsewhere(request, scheme, authority, path)
        if authority != request.facts.host.lower():
            request.named_host = authority
        return None

    def _read_elsewhere(
        self, request: Request, scheme: bytes, authority: bytes, path: bytes
    ) -> Refusal | None:
        """Read the target of a call for another host, or of a tunnel."""
        match = _AUTHORITY.fullmatch(authority)
        port = _PORTS[scheme] if match is None or not match[2] else int(match[2])
        if match is None or not 0 < port < 65536:
            named = authority[:80].decode("latin-1")
            return Refusal(Problem.MALFORMED, f"{named} is not a host and a port")
        host = match[1].strip(b"[]").decode()
        if self._elsewhere is not None and (host, port) not in self._elsewhere:
            return self._misdirected(
                authority, "; name it in NO_PROXY (Helm: capture.noProxy), and the app calls it itself"
            )
        request.path = path
        request.elsewhere = Destination(scheme.decode() or "http", host, port, authority)
        return None

    def _refuse_host(self, request: Request) -> Refusal | None:
        """Return why the site that a call names is none of ``hosts``; None where it is one, or the call names no site."""
        # RFC 9112 §3.2.2: an absolute target's authority beats the Host header, and is the upstream's or our own by now.
        host, target = request.facts.host, request.target
        if host in self._hosts or (target[:1] != b"/" and target != b"*"):
            return None
        # An address is the place that the call has been sent to, and says nothing of which site there is meant.
        name = bare_host(host)
        if name in self._hosts or b":" in name or name.replace(b".", b"").isdigit():
            return None
        return self._misdirected(host)

    def _misdirected(self, authority: bytes, advice: str = "") -> Refusal:
        named, ours = authority.decode("latin-1"), self._authority.decode()
        return Refusal(
            Problem.MISDIRECTED,
            f"the call is for {named}, and this sidecar carries calls to {ours} only{advice}",
        )

    def _read_wishes(self, request: Request) -> Refusal | None:
        """Read the app's Sidegate-* headers; a refusal names the one that makes no sense."""
        facts = request.facts
        timeout, attempts, priority = facts.wanted_timeout, facts.wanted_attempts, facts.wanted_priority
        if timeout is None and attempts is None and priority is None:
            return None
        timeout_s: float | None = None
        if timeout is not None:
            try:
                timeout_s = parse_duration(timeout.decode("latin-1"))
            except ValueError as error:
                return Refusal(Problem.MALFORMED, f"Sidegate-Timeout: expected {error}")
            if timeout_s <= 0:
                return Refusal(Problem.MALFORMED, "Sidegate-Timeout: expected more than 0")
        if attempts is not None and not (
            attempts.isdigit() and len(attempts) <= _MOST_DIGITS and 1 <= int(attempts) <= _MOST_ATTEMPTS
        ):
            return Refusal(
                Problem.MALFORMED, f"Sidegate-Attempts: expected a number from 1 to {_MOST_ATTEMPTS}"
            )
        wanted = Priority.NORMAL if priority is None else _PRIORITIES.get(priority)
        if wanted is None:
            return Refusal(Problem.MALFORMED, "Sidegate-Priority: expected high, normal or low")
        request.wishes = Wishes(timeout_s, None if attempts is None else int(attempts), wanted)
        return None

    def __repr__(self) -> str:
        return f"<Rules for {self._authority.decode()}>"
