"""The configuration, made ready for carrying calls: one immutable plan, replaced as a whole on reload.

A call takes the plan once, at its start, and keeps it. Limiters and pool outlive plans: they hold state that a reload must not
forget. Retry budgets are made anew with each.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.admit.limiter import Limiter
from proxy.attempt.attempt import AttemptLimits
from proxy.config.settings import Match, Settings
from proxy.judge.retry import RetryPolicy
from proxy.wire.headers import tokens
from proxy.wire.request_facts import Refusal
from proxy.wire.request_parser import Request


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What calls of one route get. Durations in seconds."""

    name: str
    path_prefix: bytes
    methods: frozenset[bytes] | None
    limiter: Limiter
    policy: RetryPolicy
    attempt: AttemptLimits
    total_s: float
    max_wait_s: float

    def takes(self, request: Request) -> bool:
        """Whether this route is the request's."""
        return request.target.startswith(self.path_prefix) and (
            self.methods is None or request.method in self.methods
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a call needs to know of the configuration."""

    routes: tuple[RoutePlan, ...]
    default: RoutePlan
    authority: bytes
    own_authorities: frozenset[bytes]
    prefix: bytes
    preserves_host: bool
    via: bytes
    replay_bytes: int

    def route_of(self, request: Request) -> RoutePlan:
        """Return the first route that takes the request, or the default."""
        for route in self.routes:
            if route.takes(request):
                return route
        return self.default

    def target_of(self, request: Request) -> bytes | Refusal:
        """Return the target for the upstream, byte for byte the app's but for the configured prefix."""
        target = request.target
        if b"#" in target:
            return Refusal(400, "a fragment has no place in a request target")
        if target[:1] == b"/":
            return self.prefix + target
        if target == b"*" and request.method == b"OPTIONS":
            return target
        return self._absolute(target)

    def _absolute(self, target: bytes) -> bytes | Refusal:
        # RFC 9112 §3.2.2: the absolute form must be understood; its authority beats the Host header.
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            return Refusal(400, "the request target is neither a path nor an absolute URL")
        cut = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
        authority, path = rest[:cut].lower(), rest[cut:]
        if path[:1] != b"/":
            path = b"/" + path
        if authority == self.authority.lower():
            return path
        if authority in self.own_authorities:
            return self.prefix + path
        return Refusal(421, f"this sidecar carries calls to {self.authority.decode()} only")

    def encode_head(self, request: Request, path: bytes) -> bytes:
        """Return the head for the upstream, without framing and the empty line.

        What is behind the target is the same for every request with the same headers; it is kept with them.
        """
        facts = request.facts
        encoded = facts.encoded
        if encoded is None or encoded[0] is not self:
            host = facts.host if self.preserves_host and facts.host else self.authority
            tail = b" HTTP/1.1\r\nHost: %b\r\n%bVia: 1.1 %b\r\n" % (host, facts.lines, self.via)
            encoded = facts.encoded = (self, tail)
        return b"%b %b%b" % (request.method, path, encoded[1])

    def is_loop(self, via: list[bytes]) -> bool:
        """Whether the request has come through this very sidecar before."""
        mine = self.via.lower()
        return any(mine in token.split() for value in via for token in tokens(value))


def authority_of(settings: Settings) -> bytes:
    """Return the upstream's host and port as a Host header wants them: without a port that is the scheme's own."""
    url = urlsplit(settings.upstream.url)
    host = url.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    is_default = url.port is None or url.port == (443 if url.scheme == "https" else 80)
    return (host if is_default else f"{host}:{url.port}").encode()


def prefix_of(settings: Settings) -> bytes:
    """Return the path that goes before every target, without a slash at its end."""
    return urlsplit(settings.upstream.url).path.rstrip("/").encode()


def matching(match: Match) -> tuple[bytes, frozenset[bytes] | None]:
    """Return a route's match as bytes."""
    methods = None if match.methods is None else frozenset(method.encode() for method in match.methods)
    return match.path_prefix.encode(), methods
