"""Every setting, with its meaning, unit, range, default and the reason for the default.

The docstring under a field is its description in the JSON Schema and in the chart's values.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from proxy.config.proxy_url import parse_proxy_url
from proxy.config.redis_url import Topology, parse_redis_url
from proxy.config.units import DURATION, SIZE

Duration = Annotated[
    float, Meta(ge=0, le=1e7, extra={"unit": DURATION}, extra_json_schema={"x-unit": DURATION})
]
"""Seconds in the program, ``30s`` in the file."""

Positive = Annotated[
    float, Meta(gt=0, le=1e7, extra={"unit": DURATION}, extra_json_schema={"x-unit": DURATION})
]
"""A duration that may not be 0."""

Window = Annotated[
    float, Meta(ge=1, le=600, extra={"unit": DURATION}, extra_json_schema={"x-unit": DURATION})
]

Size = Annotated[int, Meta(ge=0, le=1 << 30, extra={"unit": SIZE}, extra_json_schema={"x-unit": SIZE})]
"""Bytes in the program, ``1MiB`` in the file."""

HeadSize = Annotated[int, Meta(ge=1024, le=1 << 20, extra={"unit": SIZE}, extra_json_schema={"x-unit": SIZE})]

Address = Annotated[
    str,
    Meta(
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^:\s]+):\d{1,5}$",
        description="HOST:PORT, for example 127.0.0.1:8880; port 0 picks a free one",
    ),
]
"""HOST:PORT; port 0 picks a free one."""


HostName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="a host name without port",
    ),
]


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of a checked ``HOST:PORT``, an IPv6 host without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings. ``__post_init__`` refuses pairs that cannot be, with ValueError."""


class Tls(Section, frozen=True):
    """How the upstream is verified and what it is shown. Files are read again when they change."""

    ca_file: str | None = None
    """PEM bundle of authorities to trust instead of the system's."""
    client_cert_file: str | None = None
    """PEM certificate chain shown to the upstream; needs client_key_file."""
    client_key_file: str | None = None
    """PEM private key of client_cert_file."""
    server_name: str | None = None
    """Name sent as SNI and verified instead of the URL's host."""

    def __post_init__(self) -> None:
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("client_cert_file and client_key_file go together")


class Dns(Section, frozen=True):
    """Bounds on how long an answer is used before the name is asked again."""

    min_ttl: Positive = 5.0
    """Shortest time an answer is used, whatever its TTL: a TTL of 0 must not mean a query per connection."""
    max_ttl: Positive = 300.0
    """Longest time an answer is used, whatever its TTL."""
    hosts_file: bool = True
    """Whether /etc/hosts is asked first. False where it points the upstream's name at this sidecar (capture by hostAliases)."""

    def __post_init__(self) -> None:
        if self.min_ttl > self.max_ttl:
            raise ValueError("min_ttl may not exceed max_ttl")


SCHEME_PORTS = {"http": 80, "https": 443}
"""The port that a URL of a scheme means where it names none."""


class Upstream(Section, frozen=True):
    """The one server this sidecar stands in front of."""

    url: str
    """Base URL, http or https; a path here is put before every target. The only required key."""
    host_header: Literal["upstream", "preserve"] = "upstream"
    """Whether the upstream sees its own name as Host, or the one the app sent."""
    tls: Tls = Tls()
    dns: Dns = Dns()
    proxy: str | None = None
    """A proxy that the upstream is reached through, http://host:port or http://user:password@host:port. It is asked for a tunnel
    (CONNECT), and resolves the upstream's name. Calls for other hosts do not take it."""
    via: bool = False
    """Whether the upstream is sent Via. nginx and its kin compress no answer then; without it, only a loop through this very
    sidecar is found, by its connections."""
    forwarded: bool = False
    """Whether the upstream is sent X-Forwarded-Host and X-Forwarded-Proto."""
    rewrite: Literal["off", "location", "links"] = "location"
    """Which addresses of the upstream in answers become the sidecar's own: none, those of Location, or of Link as well."""

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.url)
            port = url.port
        except ValueError as error:
            # urllib's own words quote the authority, which may hold a password.
            raise ValueError("url is not a URL: its host or port cannot be read") from error
        if url.scheme not in ("http", "https") or not url.hostname or port == 0:
            raise ValueError("url has the form http://host[:port][/path] or https://…")
        if url.query or url.fragment or url.username is not None:
            raise ValueError("url may not carry a query, a fragment or credentials")
        if not self.url.isascii() or re.search(r"[\x00-\x20]", self.url):
            raise ValueError("url may hold no blanks, control or non-ASCII characters; percent-encode them")
        if url.scheme == "http" and self.tls != Tls():
            raise ValueError("tls has no meaning for an http:// url")
        if self.proxy is not None:
            parse_proxy_url(self.proxy)

    @property
    def port(self) -> int:
        """The url's port; its scheme's own where it names none."""
        url = urlsplit(self.url)
        return url.port or SCHEME_PORTS[url.scheme]


class ForwardProxy(Section, frozen=True):
    """Calls for other hosts, which come here because HTTP_PROXY is set: absolute targets and CONNECT."""

    mode: Literal["passthrough", "upstream_only", "allow"] | None = None
    """passthrough carries them as they are, without limits and retries; upstream_only refuses them; allow carries those listed.
    null: passthrough where listen is on loopback, upstream_only where others could reach it."""
    allow: tuple[Address, ...] = ()
    """HOST:PORT pairs that mode allow carries calls to."""

    def __post_init__(self) -> None:
        if (self.mode == "allow") != bool(self.allow):
            raise ValueError("mode allow and a list in allow go together")


class Concurrency(Section, frozen=True):
    """How many attempts may be under way at once."""

    mode: Literal["adaptive", "fixed", "off"] = "adaptive"
    """adaptive learns the limit together with the fleet, fixed keeps it, off sets none."""
    limit: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """The fixed limit, or where adaptive starts: this pod's part of what the fleet starts with."""
    min: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """Floor of the adaptive limit of a pod that is alone. In a fleet a pod may have to wait for its turn, whatever this says."""
    max: Annotated[int, Meta(ge=1, le=10_000)] = 256
    """The most that this pod is given, where pool.max_connections is not lower still."""

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError("min may not exceed max")
        if self.mode == "fixed" and self.limit is None:
            raise ValueError("mode fixed needs a limit")
        if self.mode == "adaptive" and self.limit is not None and not self.min <= self.limit <= self.max:
            raise ValueError("limit lies outside min and max")


class Limits(Section, frozen=True):
    """What one pod may ask of the upstream."""

    rate: Annotated[float, Meta(gt=0, le=1e7)] | None = None
    """Calls a second this pod may start, retries included; null sets no cap."""
    burst: Annotated[float, Meta(ge=1, le=1e7)] = 1
    """Tokens the bucket holds: calls that may start at once after a pause."""
    concurrency: Concurrency = Concurrency()


class Queue(Section, frozen=True):
    """Where calls wait for their turn."""

    max_waiting: Annotated[int, Meta(ge=0, le=1_000_000)] = 1024
    """Calls that may wait; one more is answered 503 queue_full."""
    max_wait: Positive = 60.0
    """Longest wait for one turn; a call that would wait longer is refused at once."""


class Backoff(Section, frozen=True):
    """The pause before the n-th retry: between half and all of min(max, base * 2^(n-1))."""

    base: Positive = 0.1
    """First pause at full length."""
    max: Positive = 10.0
    """Longest pause."""

    def __post_init__(self) -> None:
        if self.base > self.max:
            raise ValueError("base may not exceed max")


class Budget(Section, frozen=True):
    """How many retries there may be for the calls there are. Without budget a retry waits, behind a concurrency limit for a tenth
    of the window at most; it fails only past its deadline."""

    ratio: Annotated[float, Meta(ge=0, le=10)] = 0.2
    """Retries allowed per first try within the window."""
    floor_per_s: Annotated[float, Meta(ge=0)] = 1.0
    """Retries a second that are allowed however few first tries there are."""
    window: Window = 10.0
    """How far back is counted."""

    def __post_init__(self) -> None:
        if self.ratio == 0 and self.floor_per_s == 0:
            raise ValueError("ratio and floor_per_s may not both be 0; set attempts: 1 to switch retries off")


RetryOn = Annotated[
    Literal["connect", "reset", "timeout", "truncated"] | Annotated[int, Meta(ge=400, le=599)],
    Meta(description="a status from 400 to 599, or connect, reset, timeout or truncated"),
]
Method = Annotated[str, Meta(pattern=r"^[A-Z][A-Z-]*$", description="a method in capitals, for example GET")]


class Retry(Section, frozen=True):
    """What is tried again, how often, and when."""

    on: tuple[RetryOn, ...] = (
        *(408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524),
        *("connect", "reset", "timeout", "truncated"),
    )
    """Statuses and failures worth another try; 520 to 524 are a content network's words for an origin that fails it."""
    when_json: dict[str, tuple[str | int | bool | None, ...]] | None = None
    """Fields of a 200's JSON body and the values that mean it failed, e.g. {"code": [500, 503], "status.code": ["busy"]}. A dot
    goes one level down; 500 and "500" are the same."""
    attempts: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Tries in all, the first included."""
    methods: tuple[Method, ...] = ("GET", "HEAD", "OPTIONS")
    """Methods that are safe to repeat; others only with an Idempotency-Key header."""
    backoff: Backoff = Backoff()
    budget: Budget = Budget()


class Outage(Section, frozen=True):
    """What callers see while everything fails."""

    mode: Literal["hold", "fail", "off"] = "hold"
    """hold keeps callers waiting behind one probe at a time, fail answers everybody but the probe at once, off lets failures
    keep nobody."""
    max_hold: Positive = 120.0
    """Longest hold, from when everything began to fail or the call came; the call's own deadline may end it earlier."""


class Timeouts(Section, frozen=True):
    """Each phase has its own; total spans them all, waits and retries included."""

    connect: Positive = 5.0
    """DNS, TCP and TLS of one new connection."""
    response_head: Positive = 30.0
    """From the last request byte to the end of the answer's head."""
    body_idle: Positive = 30.0
    """Longest silence inside a body, and longest time in which an app takes nothing of an answer that is passed on."""
    total: Positive = 300.0
    """From the request head until the answer begins to be passed on. Batch callers would rather wait: five minutes."""


class Body(Section, frozen=True):
    """What is held in memory for the sake of a retry, per call."""

    verify_up_to: Size = 1 << 20
    """Answers up to this size are passed on only once they are whole."""
    replay_up_to: Size = 1 << 20
    """Request bodies up to this size are kept so that they can be sent again."""
    held_in_all: Size | None = None
    """Bytes of all bodies that are kept at a time, half for each direction; a call beyond it waits before its attempt. null: a
    third of the container's memory. Routes have no part of their own."""


class Pool(Section, frozen=True):
    """Kept connections to the upstream."""

    max_connections: Annotated[int, Meta(ge=1, le=10_000)] = 64
    """Connections open at once, busy and idle. An adaptive limit ends here; where a fixed one is higher, calls wait for one."""
    idle: Positive = 30.0
    """Idle connections are closed after this long; keep it below the upstream's own limit."""
    max_age: Positive = 600.0
    """Connections are not used again after this long, so that traffic follows DNS."""


class Downstream(Section, frozen=True):
    """The app's side."""

    max_head: HeadSize = 64 << 10
    """Largest request head; beyond it 431, or 414 when the target alone is too long."""
    max_headers: Annotated[int, Meta(ge=1, le=10_000)] = 256
    """Most header lines in a request."""
    head_timeout: Positive = 60.0
    """From a request's first byte to the end of its head."""
    idle: Positive = 3600.0
    """Idle connections of the app are closed after this long. Long, for a close can cross a request on its way."""
    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 4096
    """Connections the app may hold open; one more is answered 503. Fewer where the process may not have so many descriptors."""
    hosts: tuple[HostName, ...] = ()
    """Names the app may call the upstream by, beside upstream.url's; another is answered 421. Addresses pass; empty takes any."""


class Drain(Section, frozen=True):
    """How the sidecar stops. It serves the app until the app is done."""

    grace: Duration = 25.0
    """Longest time from SIGTERM to the end; below Kubernetes' default of 30 s."""
    quiet: Duration = 1.0
    """The app counts as done when it had no call under way for this long, or has no connection left."""


class Match(Section, frozen=True):
    """Which calls a route takes; what is not given matches all."""

    path_prefix: Annotated[str, Meta(pattern=r"^/[!-~]*$", description="a path that begins with /")] = "/"
    """Start of the target as the app sends it, byte for byte."""
    methods: tuple[Method, ...] | None = None
    """Methods; null takes all."""


class Route(Section, frozen=True):
    """Settings of their own for some calls. The first route that matches wins."""

    name: (
        Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="a name of a-z, 0-9, _ and -")]
        | None
    ) = None
    """Value of the metric label route; routes[N] becomes route-N where there is none."""
    match: Match = Match()
    limits: Limits | None = None
    """A limiter of its own for this route, beside the default one."""
    retry: Retry | None = None
    timeouts: Timeouts | None = None
    body: Body | None = None
    """What is held of bodies on this route; verify_up_to 0 passes each answer on at once."""


class Fleet(Section, frozen=True):
    """The pods of one upstream, which find its limit together."""

    mode: Literal["auto", "alone", "peers", "redis"] = "auto"
    """peers: pods read each other on the ops port; redis: they meet in a Redis or Valkey; alone: this pod learns by itself;
    auto: redis where a URL is set, else peers where there are any."""
    peers: tuple[Address, ...] = ()
    """HOST:PORT of the other pods' ops ports. A name stands for all its addresses, this pod's perhaps among them. In Kubernetes
    the chart fills it in."""
    redis_url: str | None = None
    """Where the pods meet: redis://host:6379/0, redis+sentinel://host:26379,host2:26379/mymaster or redis+cluster://host:6379,host2:6379;
    rediss:// for TLS. user:password@ may stand before the hosts."""
    redis_password_file: str | None = None
    """File with the password, in place of one in redis_url: a mounted Secret. It is read anew for each connection."""
    redis_sentinel_password_file: str | None = None
    """File with the password that the sentinels themselves ask for; most ask for none."""
    redis_ca_file: str | None = None
    """PEM certificates that the server's certificate is verified against, with rediss://; null takes the system's."""
    key_file: str | None = None
    """File with a key that all pods of the fleet know; without it any pod that reaches the ops port is believed."""
    name: str | None = None
    """Which pods belong together; the upstream's scheme, host and port where it is null."""
    rate: Annotated[float, Meta(gt=0, le=1e7)] | None = None
    """Calls a second that all pods together may start, leased to them. With redis a pod without a lease waits; null sets no
    total."""
    concurrency: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Attempts of all pods together that may be under way, leased to them. With redis a pod without a lease waits; null sets no
    total."""

    def __post_init__(self) -> None:
        self._check_redis()
        if self.mode == "peers" and not self.peers:
            raise ValueError("mode peers needs peers: where the other pods are read, such as shop-fleet:8881")
        if any(split_address(peer)[1] in (0, *range(65536, 100_000)) for peer in self.peers):
            raise ValueError("peers: a port lies between 1 and 65535")

    def _check_redis(self) -> None:
        if self.redis_url is None:
            if self.mode == "redis":
                raise ValueError("mode redis needs redis_url, such as redis://redis:6379/0")
            return
        try:
            place = parse_redis_url(self.redis_url)
        except ValueError as error:
            raise ValueError(f"redis_url: {error}") from None
        if place.password is not None and self.redis_password_file is not None:
            raise ValueError(
                "redis_url holds a password and redis_password_file names one: take one of them away"
            )
        if self.redis_ca_file is not None and not place.is_tls:
            raise ValueError("redis_ca_file needs a redis_url that begins with rediss")
        if self.redis_sentinel_password_file is not None and place.topology is not Topology.SENTINEL:
            raise ValueError("redis_sentinel_password_file needs a redis_url with +sentinel")

    @property
    def kind(self) -> Literal["alone", "peers", "redis"]:
        """Where pods meet, with auto decided."""
        if self.mode == "auto":
            return "redis" if self.redis_url is not None else "peers" if self.peers else "alone"
        return self.mode

    @property
    def has_peers(self) -> bool:
        """Whether pods meet at all."""
        return self.kind != "alone"


class Log(Section, frozen=True):
    """What is written to standard error."""

    format: Literal["json", "text"] = "json"
    """json is a line of JSON per event, text is for people."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is written."""
    access: Literal["errors", "all", "off"] = "errors"
    """A line per failed call, per call, or none."""
    query: bool = True
    """Whether values of a query are logged. By default they are, for they say which page failed; false blanks them all."""
    secret_query: tuple[Annotated[str, Meta(min_length=1, description="the name of a parameter")], ...] = ()
    """More names of parameters whose values are never logged, in any case of letters. None by default: names that hold a word
    like key, token, secret or password are known."""


class Settings(Section, frozen=True):
    """The whole configuration: one value, never changed, replaced as a whole on reload."""

    upstream: Upstream
    listen: Address = "127.0.0.1:8880"
    """Where the app calls. Loopback only by default: whoever reaches it spends this pod's budget."""
    ops: Address = "0.0.0.0:8881"
    """Read-only side: metrics and probes. The default means all addresses of IPv6 as well."""
    admin: Address = "127.0.0.1:8882"
    """Operator's side; keep it on loopback. The default means [::1] as well."""
    allow_shutdown: bool = False
    """Whether POST /shutdown on the admin side stops the sidecar."""
    allow_drain: bool = False
    """Whether POST /drain on the admin side drains and stops it. Off, for every container of the pod reaches that side."""
    forward_proxy: ForwardProxy = ForwardProxy()
    limits: Limits = Limits()
    queue: Queue = Queue()
    retry: Retry = Retry()
    outage: Outage = Outage()
    timeouts: Timeouts = Timeouts()
    body: Body = Body()
    pool: Pool = Pool()
    downstream: Downstream = Downstream()
    drain: Drain = Drain()
    routes: tuple[Route, ...] = ()
    """Settings of their own for some calls; the first that matches wins."""
    fleet: Fleet = Fleet()
    log: Log = Log()

    @property
    def forward_mode(self) -> str:
        """What happens to calls for other hosts: the mode that is set, or the one that fits ``listen``."""
        host = split_address(self.listen)[0]
        is_local = host == "localhost" or host.startswith("127.") or host == "::1"
        return self.forward_proxy.mode or ("passthrough" if is_local else "upstream_only")

    def __post_init__(self) -> None:
        url = urlsplit(self.upstream.url)
        port = self.upstream.port
        host, own_port = split_address(self.listen)
        for name, address in (("listen", self.listen), ("ops", self.ops), ("admin", self.admin)):
            if split_address(address)[1] > 65535:
                raise ValueError(f"{name}: the port may not exceed 65535")
        if own_port and (url.hostname, port) in {(host, own_port), ("localhost", own_port)}:
            raise ValueError("upstream.url points at listen: the sidecar would call itself")
        names = [route.name for route in self.routes if route.name is not None]
        if len(set(names)) != len(names):
            raise ValueError("routes: two routes have the same name")
