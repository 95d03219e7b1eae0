"""The composition root: makes clocks, rng, loop and sockets, puts the parts together, and takes them down again."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import gc
import json
import logging
import math
import os
import random
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import uvloop

from proxy import __version__
from proxy.accept.listener import DownstreamListener
from proxy.accept.rules import Rules
from proxy.admit.limiter import Limiter
from proxy.attempt.attempt import AttemptLimits
from proxy.attempt.connect import Connector
from proxy.attempt.elsewhere import Elsewhere
from proxy.attempt.pool import Pool
from proxy.attempt.resolver import Resolver
from proxy.attempt.tls import TlsFiles
from proxy.attempt.tunnel import ProxyTunnel
from proxy.attempt.upstream import Upstream
from proxy.base.clock import Clock, SystemClock
from proxy.base.deadlines import Deadlines
from proxy.base.descriptors import places, raise_limit
from proxy.base.held import HeldBytes, room_for_bodies
from proxy.base.listening import joined
from proxy.config.load import ConfigError, Sources
from proxy.config.mismatch import mismatches
from proxy.config.names import (
    authorities_of,
    authority_of,
    elsewhere_of,
    fleet_name,
    host_and_port_of,
    hosts_of,
    prefix_of,
)
from proxy.config.proxy_url import parse_proxy_url
from proxy.config.redis_url import parse_redis_url
from proxy.config.settings import Body, Fleet, Limits, Retry, Route, Settings, Timeouts, split_address
from proxy.config.watch import FileWatch
from proxy.control.server import ControlServer
from proxy.exchange import Exchange
from proxy.fleet.board import Alone, Board
from proxy.fleet.finder import Finder
from proxy.fleet.leases import Hard
from proxy.fleet.member import Member
from proxy.fleet.peers import Peers
from proxy.judge.budget import RetryBudget
from proxy.judge.classify import Classifier
from proxy.judge.poison import PoisonRecord
from proxy.judge.retry import RetryPolicy
from proxy.lifecycle import Lifecycle, State
from proxy.limiters import DEFAULT, Limiters
from proxy.observe.access_log import AccessLog
from proxy.observe.line_writer import LineWriter, hold_standard_descriptors
from proxy.observe.logs import set_up_logging
from proxy.observe.metrics import Metrics, MetricsCollector, Totals, make_registry
from proxy.observe.observer import Observer
from proxy.observe.targets import Targets
from proxy.observe.trouble import Trouble
from proxy.operations import Gauges, Operations
from proxy.plan import Plan, RoutePlan, matching
from proxy.respond.places import Places
from proxy.respond.reply import Responder

_log = logging.getLogger("sidegate")

_HEARTBEAT_S = 0.5
_SYSTEM_CONNECT_S = 130.0
"""How long Linux tries to connect by default."""
_FOREVER_S = 30 * 86400.0
_LOOK_S = 1.0
"""How often the configuration file is looked at."""
_M_TRIM_THRESHOLD = -1  # malloc.h
_KEEP_BYTES = 32 << 20


class Sidecar:
    """All parts of one running sidecar."""

    def __init__(
        self,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Clock,
        rng: random.Random,
        lines: LineWriter | None = None,
        descriptors: int = 1024,
    ) -> None:
        """``lines`` takes the log; standard error where it is None. ``descriptors`` is how many the process may have."""
        self.settings = settings
        self._lines = lines or LineWriter(2)
        self._loop = loop
        self._clock = clock
        self._rng = rng
        self._via = b"sidegate-" + secrets.token_hex(4).encode()
        self._own_authorities = frozenset[bytes]()
        self._reload_ok = 1.0
        self._beat_at = clock.monotonic()
        self._lag_s = 0.0
        self._places = places(
            descriptors, app=settings.downstream.max_connections, upstream=settings.pool.max_connections
        )
        self.metrics = Metrics()
        log = settings.log
        self.access_log = AccessLog(
            self._lines.put,
            access=log.access,
            format=log.format,
            wall=clock.wall,
            targets=_targets(settings),
        )
        self.observer = Observer(self.metrics, self.access_log)
        self.deadlines = Deadlines(loop, clock.monotonic)
        self.limiters = Limiters(loop, self.deadlines, clock=clock, rng=rng)
        self.limiters.has_peers = settings.fleet.has_peers
        if settings.fleet.has_peers and (settings.fleet.rate or settings.fleet.concurrency):
            self.limiters.first_slots = 0
        self.pool = self._make_pool(settings)
        self.upstream = Upstream(
            self.pool,
            authority=authority_of(settings),
            preserves_host=settings.upstream.host_header == "preserve",
            is_told_of_host=settings.upstream.forwarded,
            via=self._via if settings.upstream.via else b"",
        )
        self.poison = PoisonRecord()
        self.elsewhere = Elsewhere(self.deadlines, monotonic=clock.monotonic, rng=rng)
        self._passthrough = self._make_passthrough()
        room = settings.body.held_in_all or room_for_bodies()
        self.exchange = Exchange(
            self._make_plan(settings),
            self.observer,
            elsewhere=self.elsewhere,
            bodies=HeldBytes(room // 2, 0),
            answers=HeldBytes(room // 2, settings.body.verify_up_to),
            responder=Responder(self._via, self._make_places(settings), self._clock.wall),
            poison=self.poison,
            monotonic=clock.monotonic,
        )
        down = settings.downstream
        self.listener = DownstreamListener(
            self.exchange,
            self._make_rules(settings),
            self.deadlines,
            monotonic=clock.monotonic,
            max_connections=self._places.app,
            max_head_bytes=down.max_head,
            max_headers=down.max_headers,
            head_timeout_s=down.head_timeout,
            idle_s=down.idle,
            on_refused=self.observer.refused,
            has_made=lambda ends: self.pool.has_made(ends) or self.elsewhere.has_made(ends),
            bound="downstream.max_connections"
            if self._places.app == down.max_connections
            else f"the bound of {descriptors} descriptors (ulimit -n)",
        )
        self.lifecycle = Lifecycle(
            self.listener, self.exchange, monotonic=clock.monotonic, turn_away=self.limiters.close
        )
        self._beat: asyncio.TimerHandle | None = None
        self.peers: Peers | None = None
        self.member = self._make_member(settings)
        self.control = self._make_control()

    # putting together

    def _make_pool(self, settings: Settings) -> Pool:
        url = urlsplit(settings.upstream.url)
        host = url.hostname or ""
        tls = settings.upstream.tls
        is_tls = url.scheme == "https"
        between = parse_proxy_url(settings.upstream.proxy) if settings.upstream.proxy else None
        resolver = Resolver(
            between.host if between else host,
            between.port if between else settings.upstream.port,
            min_ttl_s=settings.upstream.dns.min_ttl,
            max_ttl_s=settings.upstream.dns.max_ttl,
            monotonic=self._clock.monotonic,
            is_hosts_file_read=settings.upstream.dns.hosts_file,
            turn=self._rng.randrange(1 << 16),
        )
        files = TlsFiles(
            ca_file=tls.ca_file, client_cert_file=tls.client_cert_file, client_key_file=tls.client_key_file
        )
        self._troubles = [
            Trouble(resolver, "the addresses known so far stay in use, if there are any"),
            Trouble(files, "those in use stay, if there are any"),
        ]
        connector = Connector(
            resolver,
            tls=files if is_tls else None,
            server_name=tls.server_name or host,
            monotonic=self._clock.monotonic,
            tunnel=ProxyTunnel(host_and_port_of(settings), between.authorization) if between else None,
        )
        pool = settings.pool
        return Pool(
            connector,
            self.metrics,
            self.deadlines,
            monotonic=self._clock.monotonic,
            rng=self._rng,
            max_connections=pool.max_connections,
            idle_s=pool.idle,
            max_age_s=pool.max_age,
        )

    def _make_plan(self, settings: Settings) -> Plan:
        self.limiters.set_outage(settings.outage)
        self.limiters.set_connections(settings.pool.max_connections)
        default = self._make_route(
            settings, DEFAULT, settings.limits, settings.retry, settings.timeouts, settings.body
        )
        routes = []
        for number, route in enumerate(settings.routes):
            name = route_name(number, route)
            made = self._make_route(
                settings,
                name,
                route.limits,
                route.retry or settings.retry,
                route.timeouts or settings.timeouts,
                route.body or settings.body,
            )
            prefix, methods = matching(route.match)
            routes.append(dataclasses.replace(made, path_prefix=prefix, methods=methods))
        return Plan(
            routes=tuple(routes),
            default=default,
            passthrough=self._passthrough,
            upstream=self.upstream,
            prefix=prefix_of(settings),
        )

    def _make_places(self, settings: Settings) -> Places | None:
        upstream = settings.upstream
        if upstream.rewrite == "off":
            return None
        return Places(
            urlsplit(upstream.url).scheme,
            authorities_of(settings),
            prefix_of(settings),
            turns_links=upstream.rewrite == "links",
        )

    def _make_rules(self, settings: Settings) -> Rules:
        return Rules(
            authority=authority_of(settings),
            authorities=authorities_of(settings),
            own_authorities=self._own_authorities,
            hosts=hosts_of(settings),
            prefix=prefix_of(settings),
            via=self._via,
            elsewhere=elsewhere_of(settings),
        )

    def _make_passthrough(self) -> RoutePlan:
        """Return the route of calls for other hosts: no limit, no retry, no time-out, nothing kept."""
        now = self._clock.monotonic()
        return RoutePlan(
            name="passthrough",
            path_prefix=b"/",
            methods=None,
            limiter=Limiter(self._loop, self.deadlines, monotonic=self._clock.monotonic),
            policy=RetryPolicy(
                Classifier((), None),
                RetryBudget(ratio=0.0, floor_per_s=1.0, window_s=10.0, now=now),
                attempts=1,
                methods=frozenset({b"GET", b"HEAD", b"OPTIONS"}),
                base_s=1.0,
                max_s=1.0,
                rng=self._rng,
                wall=self._clock.wall,
                heeds_pauses=False,
            ),
            attempt=AttemptLimits(
                connect_s=_SYSTEM_CONNECT_S,
                response_head_s=_FOREVER_S,
                body_idle_s=_FOREVER_S,
                verify_bytes=0,
            ),
            total_s=_FOREVER_S,
            max_wait_s=_FOREVER_S,
            replay_bytes=0,
        )

    def _make_route(
        self,
        settings: Settings,
        name: str,
        limits: Limits | None,
        retry: Retry,
        timeouts: Timeouts,
        body: Body,
    ) -> RoutePlan:
        budget = retry.budget
        policy = RetryPolicy(
            Classifier(retry.on, retry.when_json),
            RetryBudget(
                ratio=budget.ratio,
                floor_per_s=budget.floor_per_s,
                window_s=budget.window,
                now=self._clock.monotonic(),
            ),
            attempts=retry.attempts,
            methods=frozenset(method.encode() for method in retry.methods),
            base_s=retry.backoff.base,
            max_s=retry.backoff.max,
            rng=self._rng,
            wall=self._clock.wall,
        )
        return RoutePlan(
            name=name,
            path_prefix=b"/",
            methods=None,
            limiter=self.limiters.of(
                name if limits is not None else DEFAULT, limits, settings.queue.max_waiting
            ),
            policy=policy,
            attempt=AttemptLimits(
                connect_s=timeouts.connect,
                response_head_s=timeouts.response_head,
                body_idle_s=timeouts.body_idle,
                verify_bytes=body.verify_up_to,
            ),
            total_s=timeouts.total,
            max_wait_s=settings.queue.max_wait,
            replay_bytes=body.replay_up_to,
        )

    def _make_member(self, settings: Settings) -> Member:
        """Return this pod's place in its fleet. Its id begins with its start: the oldest pod decides."""
        pod = (
            f"{int(self._clock.wall() * 1000):013d}-{os.environ.get('SIDEGATE_POD') or secrets.token_hex(4)}"
        )
        fleet = settings.fleet
        name = fleet_name(settings)
        board: Board = Alone()
        if fleet.kind == "peers":
            board = self.peers = Peers(
                pod=pod,
                fleet=name,
                find=Finder(fleet.peers, monotonic=self._clock.monotonic).addresses,
                key=fleet_secret("fleet.key_file", fleet.key_file),
                monotonic=self._clock.monotonic,
                wall=self._clock.wall,
            )
        elif fleet.kind == "redis":
            board = make_redis(fleet, pod=pod, name=name, monotonic=self._clock.monotonic)
        return Member(
            pod=pod,
            fleet=name,
            board=board,
            seats=self.limiters.seats,
            monotonic=self._clock.monotonic,
            hard=Hard(fleet.concurrency, fleet.rate),
            asked_at=lambda: self.peers.asked_at if self.peers is not None else -math.inf,
        )

    def _make_control(self) -> ControlServer:
        operations = self.operations = Operations(
            lambda: self.settings,
            self._loop,
            limiters=self.limiters,
            exchange=self.exchange,
            listener=self.listener,
            pool=self.pool,
            deadlines=self.deadlines,
            lifecycle=self.lifecycle,
            poison=self.poison,
            member=self.member,
            clock=self._clock,
        )
        own: Gauges = {
            "config_reload_success": ("Whether the last reload succeeded", lambda: self._reload_ok),
            "loop_lag_seconds": ("How late the event loop last turned", lambda: self._lag_s),
        }
        totals: Totals = {
            "log_lines_dropped": ("Log lines that could not be written", lambda: self._lines.dropped),
            "dns_failures": (
                "Times that asking for the upstream's addresses failed",
                lambda: self._troubles[0].source.failures,
            ),
            "tls_file_failures": (
                "Times that the upstream's TLS files could not be read",
                lambda: self._troubles[1].source.failures,
            ),
            "downstream_refused": (
                "Connections of the app beyond the bound, answered 503",
                lambda: self.listener.turned_away.count,
            ),
            "control_refused": (
                "Connections to the ops and admin ports that found no place",
                lambda: self.control.refused,
            ),
        }
        build_info = {
            "version": __version__,
            "pod": os.environ.get("SIDEGATE_POD", ""),
            "namespace": os.environ.get("SIDEGATE_NAMESPACE", ""),
            "node": os.environ.get("SIDEGATE_NODE", ""),
        }
        registry = make_registry(
            MetricsCollector(self.metrics, lambda: {**operations.gauges(), **own}, totals, build_info)
        )
        return ControlServer(
            registry,
            self,
            operations,
            self.peers.answer if self.peers is not None else None,
            most_ops=self._places.ops,
            most_admin=self._places.admin,
        )

    # life

    async def open(self) -> dict[str, str]:
        """Open all three ports; return their real addresses by name. OSError when one is taken."""
        settings = self.settings
        defaults = Settings(upstream=settings.upstream)
        ops, admin = await self.control.open(
            split_address(settings.ops),
            split_address(settings.admin),
            on_both=(settings.ops == defaults.ops, settings.admin == defaults.admin),
        )
        await self.member.open()
        host, port = await self.listener.open(*split_address(settings.listen), self._loop)
        self._own_authorities = frozenset(
            name.encode()
            for name in (joined(host, port), f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}")
        )
        self.listener.rules = self._make_rules(settings)
        self._beat = self._loop.call_later(_HEARTBEAT_S, self._heartbeat)
        self.lifecycle.serve()
        return {
            "listen": joined(host, port),
            "ops": joined(*ops),
            "admin": joined(*admin),
        }

    def _heartbeat(self) -> None:
        now = self._clock.monotonic()
        self._lag_s = max(0.0, now - self._beat_at - _HEARTBEAT_S)
        self._beat_at = now
        self.pool.sweep(now)
        self.elsewhere.sweep(now)
        self.limiters.let_go(self.exchange.calls_under_way)
        for trouble in self._troubles:
            trouble.look()
        self._beat = self._loop.call_later(_HEARTBEAT_S, self._heartbeat)

    async def run_until_stopped(self) -> None:
        """Serve until told to stop, then drain and take everything down."""
        await self.lifecycle.until_told()
        await self.member.leave()
        drain = self.settings.drain
        await self.lifecycle.drain(grace_s=drain.grace, quiet_s=drain.quiet)
        self.limiters.close()
        await self.member.close()
        await self.pool.close()
        await self.elsewhere.close()
        await self.control.close()
        if self._beat is not None:
            self._beat.cancel()
        self.deadlines.close()

    async def reload(self, sources: Sources) -> None:
        """Load the configuration anew and put it in force as a whole, or keep what is and say why.

        It is read in a thread: a long file takes seconds, and calls must not wait for it.
        """
        try:
            settings = await asyncio.to_thread(sources.load)
            self._put_in_force(settings)
        except ConfigError as error:
            self._reload_ok = 0.0
            for problem in error.problems:
                _log.error("reload refused, the running configuration stays: %s", problem)
        except Exception:
            self._reload_ok = 0.0
            _log.exception("reload failed inside the sidecar, the running configuration stays")

    def _put_in_force(self, settings: Settings) -> None:
        fixed = [
            key
            for key in ("listen", "ops", "admin", "upstream", "downstream", "fleet")
            if _differs(key, settings, self)
        ]
        if fixed:
            _log.warning("a restart is needed for: %s", ", ".join(fixed))
        settings = msgspec.structs.replace(settings, **{key: getattr(self.settings, key) for key in fixed})
        self.settings = settings
        self.exchange.plan = self._make_plan(settings)
        self.listener.rules = self._make_rules(settings)
        self.limiters.keep(
            {
                route_name(number, route)
                for number, route in enumerate(settings.routes)
                if route.limits is not None
            }
        )
        self.limiters.let_go(self.exchange.calls_under_way)
        room = settings.body.held_in_all or room_for_bodies()
        self.exchange.bodies.limit = self.exchange.answers.limit = room // 2
        pool = settings.pool
        self.pool.max_connections = pool.max_connections
        self.pool.idle_s = pool.idle
        self.pool.max_age_s = pool.max_age
        self.access_log.access = settings.log.access
        self.access_log.format = settings.log.format
        self.access_log.targets = _targets(settings)
        set_up_logging(self._lines, format=settings.log.format, level=settings.log.level)
        self._reload_ok = 1.0
        _log.info("configuration reloaded")
        warn_of_mismatches(settings)

    # control.views.Health

    @property
    def is_started(self) -> bool:
        """Whether the ports are open."""
        return self.lifecycle.state is not State.STARTING

    @property
    def is_serving(self) -> bool:
        """Whether new calls are welcome."""
        return self.lifecycle.state is State.SERVING

    def heartbeat_age_s(self) -> float:
        """Return how long ago the loop last turned."""
        return self._clock.monotonic() - self._beat_at


def route_name(number: int, route: Route) -> str:
    """Return what the ``number``-th route is called."""
    return route.name or f"route-{number}"


def fleet_secret(name: str, path: str | None) -> bytes | None:
    """Return what a setting's file holds, None for no file. ConfigError for an empty one: anybody could prove an empty key."""
    if path is None:
        return None
    try:
        secret = Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigError([f"{name}: {error}"]) from error
    if not secret:
        raise ConfigError([f"{name}: {path} is empty"])
    return secret


def make_redis(fleet: Fleet, *, pod: str, name: str, monotonic: Callable[[], float]) -> Board:
    """Return the board in Redis. ConfigError where a file cannot be read."""
    # 21 MiB that only this mode needs.
    from proxy.fleet.redis import Redis
    from proxy.fleet.redis_client import RedisClient

    fleet_secret("fleet.redis_password_file", fleet.redis_password_file)
    fleet_secret("fleet.redis_sentinel_password_file", fleet.redis_sentinel_password_file)
    fleet_secret("fleet.redis_ca_file", fleet.redis_ca_file)
    assert fleet.redis_url is not None
    client = RedisClient(
        parse_redis_url(fleet.redis_url),
        password_file=fleet.redis_password_file,
        sentinel_password_file=fleet.redis_sentinel_password_file,
        ca_file=fleet.redis_ca_file,
    )
    return Redis(pod=pod, fleet=name, client=client, monotonic=monotonic)


def _targets(settings: Settings) -> Targets:
    return Targets(with_values=settings.log.query, secret_names=settings.log.secret_query)


def _differs(key: str, settings: Settings, sidecar: Sidecar) -> bool:
    return bool(getattr(settings, key) != getattr(sidecar.settings, key))


async def _keep_fresh(sidecar: Sidecar, sources: Sources, is_told: asyncio.Event) -> None:
    """Reload when told to, and when the file's content changes; one reload at a time."""
    watch = FileWatch(sources.path) if sources.path is not None else None
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await is_told.wait()
        has_changed = watch is not None and watch.has_changed()
        if is_told.is_set() or has_changed:
            is_told.clear()
            await sidecar.reload(sources)


async def _serve(sources: Sources, settings: Settings, lines: LineWriter) -> int:
    loop = asyncio.get_running_loop()
    try:
        sidecar = Sidecar(
            settings, loop, clock=SystemClock(), rng=random.Random(), lines=lines, descriptors=raise_limit()
        )
    except ConfigError as error:
        for problem in error.problems:
            print(f"sidegate: {problem}", file=sys.stderr)
        return 2
    try:
        addresses = await sidecar.open()
    except OSError as error:
        print(f"sidegate: cannot listen: {error}", file=sys.stderr)
        await sidecar.member.close()
        await sidecar.control.close()
        return 1
    loop.add_signal_handler(signal.SIGTERM, sidecar.lifecycle.stop)
    loop.add_signal_handler(signal.SIGINT, sidecar.lifecycle.stop)
    hung_up = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    gc.collect()
    gc.freeze()  # what start-up made lives as long as the process: no collection needs to walk it again
    ready = LineWriter(1)
    ready.put(json.dumps({"event": "ready", **addresses}))
    ready.close(0.0)
    watching = loop.create_task(_keep_fresh(sidecar, sources, hung_up))
    try:
        await sidecar.run_until_stopped()
    finally:
        watching.cancel()
    return 0


def keep_freed_memory() -> None:
    """Tell glibc's malloc to keep what bodies have freed instead of giving it back to the kernel after each.

    A large body is read in pieces of 256 KB; taken from the kernel anew each time they cost a page fault per 4 KB, a third of
    all CPU of a 1 MiB answer (measured: 771 µs a call before, 510 after; resident memory the same). Where the C library is
    another one nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def warn_of_mismatches(settings: Settings) -> None:
    """Log what the configuration says without effect."""
    for mismatch in mismatches(settings):
        _log.warning("%s", mismatch)


def serve(sources: Sources, settings: Settings) -> int:
    """Run the sidecar until it is told to stop; return the exit code."""
    hold_standard_descriptors()
    keep_freed_memory()
    lines = LineWriter(2)
    set_up_logging(lines, format=settings.log.format, level=settings.log.level)
    warn_of_mismatches(settings)
    try:
        return uvloop.run(_serve(sources, settings, lines))
    finally:
        lines.close()
