"""The configuration, made ready for carrying calls: one immutable plan, replaced as a whole on reload.

A call takes the plan once, at its start, and keeps it. Limiters and pool outlive plans: they hold state that a reload must not
forget. Retry budgets are made anew with each.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from proxy.admit.limiter import Limiter
from proxy.attempt.attempt import AttemptLimits
from proxy.config.settings import SCHEME_PORTS, Match, Settings, split_address
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
    authorities: frozenset[bytes]
    own_authorities: frozenset[bytes]
    hosts: frozenset[bytes]
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
        if authority in self.authorities:
            return path
        if authority in self.own_authorities:
            return self.prefix + path
        return self._misdirected(
            authority, "; name it in NO_PROXY (Helm: capture.noProxy), and the app calls it itself"
        )

    def refuse_host(self, request: Request) -> Refusal | None:
        """Return why the name that a call is for is none of ``hosts``; None where it is one, or the call names no site.

        Only to be asked where ``hosts`` has any, of a target that ``target_of`` takes.
        """
        # RFC 9112 §3.2.2: an absolute target's authority beats the Host header, and is the upstream's or our own by now.
        host, target = request.facts.host, request.target
        if host in self.hosts or (target[:1] != b"/" and target != b"*"):
            return None
        # An address is the place that the call has been sent to, and says nothing of which site there is meant.
        name = bare_host(host)
        if name in self.hosts or b":" in name or name.replace(b".", b"").isdigit():
            return None
        return self._misdirected(host)

    def _misdirected(self, authority: bytes, advice: str = "") -> Refusal:
        named, ours = authority.decode("latin-1"), self.authority.decode()
        return Refusal(421, f"the call is for {named}, and this sidecar carries calls to {ours} only{advice}")

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
    url, port = urlsplit(settings.upstream.url), settings.upstream.port
    host = _host_of(url)
    return host if port == SCHEME_PORTS[url.scheme] else b"%b:%d" % (host, port)


def fleet_name(settings: Settings) -> str:
    """Return which pods belong together: what the owner says, or the upstream's scheme, host and port."""
    return (
        settings.fleet.name or f"{urlsplit(settings.upstream.url).scheme}://{authority_of(settings).decode()}"
    )


def authorities_of(settings: Settings) -> frozenset[bytes]:
    """Return what the upstream is called in the absolute targets of apps that take the sidecar for a proxy.

    With the dot that ends a full name or without it; where the port is the scheme's own with it, without one, and with 80: who is
    to speak plain HTTP to an https:// upstream writes http://.
    """
    url, port = urlsplit(settings.upstream.url), settings.upstream.port
    host = _host_of(url)
    names = {host} if b":" in host else {host, host + b"."}
    ports = {b":%d" % port}
    if port == SCHEME_PORTS[url.scheme]:
        ports |= {b"", b":80"}
    return frozenset(name + end for name in names for end in ports)


def _host_of(url: SplitResult) -> bytes:
    """Return a URL's host, an IPv6 address in its brackets.

    Without a dot at the end: it tells resolvers that the name is whole, and few servers know themselves by it.
    """
    host = (url.hostname or "").removesuffix(".")
    return (f"[{host}]" if ":" in host else host).encode()


def hosts_of(settings: Settings) -> frozenset[bytes]:
    """Return what the Host of a call may name, as ``bare_host`` has it; empty takes any.

    Beside those of the setting: the upstream, the sidecar itself, and nothing, which is the server's own name (RFC 9112 §3.3).
    """
    if not settings.downstream.hosts:
        return frozenset()
    own = split_address(settings.listen)[0]
    upstream = urlsplit(settings.upstream.url).hostname or ""
    always = (upstream, own, "localhost", "")
    return frozenset(bare_host(name.encode()) for name in (*settings.downstream.hosts, *always))


def bare_host(host: bytes) -> bytes:
    """Return a Host header's host in small letters, without port, brackets, and the dot that ends a full DNS name."""
    name, colon, port = host.rpartition(b":")
    if colon and (not port or port.isdigit()) and (b":" not in name or name[-1:] == b"]"):
        host = name
    return host.strip(b"[]").lower().removesuffix(b".")


def prefix_of(settings: Settings) -> bytes:
    """Return the path that goes before every target, without a slash at its end."""
    return urlsplit(settings.upstream.url).path.rstrip("/").encode()


def matching(match: Match) -> tuple[bytes, frozenset[bytes] | None]:
    """Return a route's match as bytes."""
    methods = None if match.methods is None else frozenset(method.encode() for method in match.methods)
    return match.path_prefix.encode(), methods
