"""The operator's view of a running sidecar: what ``control`` shows and changes, and the gauges of /metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from proxy.accept.listener import DownstreamListener
from proxy.admit.limit import UNLIMITED
from proxy.admit.limiter import Limiter
from proxy.attempt.pool import Pool
from proxy.base.clock import Clock
from proxy.base.deadlines import Deadlines
from proxy.config.convert import convert
from proxy.config.redact import redacted
from proxy.config.settings import Limits, Settings
from proxy.exchange import Exchange
from proxy.fleet.member import Member
from proxy.judge.poison import Poison, PoisonRecord
from proxy.lifecycle import Lifecycle
from proxy.limiters import DEFAULT, Limiters

_log = logging.getLogger("sidegate")

_LEVELS = ("debug", "info", "warning", "error")

_MOST_DECISIONS = 200

Gauges = dict[str, tuple[str, Callable[[], float | Mapping[str, float] | None]]]


class Operations:
    """What control.views.Operations asks for. ``settings`` returns those in force."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        loop: asyncio.AbstractEventLoop,
        *,
        limiters: Limiters,
        exchange: Exchange,
        listener: DownstreamListener,
        pool: Pool,
        deadlines: Deadlines,
        lifecycle: Lifecycle,
        poison: PoisonRecord,
        member: Member,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._limiters = limiters
        self._exchange = exchange
        self._listener = listener
        self._pool = pool
        self._deadlines = deadlines
        self._lifecycle = lifecycle
        self._poison = poison
        self._member = member
        self._clock = clock

    def effective_config(self) -> Mapping[str, Any]:
        """Return the configuration in force."""
        return redacted(self._settings())

    def limits(self) -> Mapping[str, Any]:
        """Return limits and their use, by limiter."""
        return {name: self._limits_of(name, limiter) for name, limiter in self._limiters.items()}

    def _limits_of(self, name: str, limiter: Limiter) -> Mapping[str, Any]:
        bucket = limiter.bucket
        return {
            "rate": bucket.rate_per_s if bucket else None,
            "burst": bucket.burst if bucket else None,
            "tokens": round(bucket.tokens(), 2) if bucket else None,
            "concurrency": {
                "mode": self._limiters.in_force(name).concurrency.mode,
                "limit": _finite(limiter.limit.value),
            },
            "inflight": limiter.inflight,
            "waiting": limiter.waiting,
            "outage": limiter.gated.is_closed,
        }

    def change_limits(self, change: Mapping[str, Any]) -> list[str]:
        """Merge a change into the default limits, or into those of the limiter that ``route`` names."""
        change = dict(change)
        name = str(change.pop("route", DEFAULT))
        if name not in self._limiters:
            names = ", ".join(known for known, _ in self._limiters.items())
            return [f"route: {name!r} has no limits of its own; there are {names}"]
        tree = msgspec.to_builtins(self._limiters.in_force(name))
        concurrency = change.pop("concurrency", {})
        if not isinstance(concurrency, dict):
            return ['concurrency: expected an object such as {"limit": 8}']
        tree.update(change)
        tree["concurrency"].update(concurrency)
        problems: list[str] = []
        limits = convert(Limits, tree, problems)
        if limits is None or problems:
            return problems
        self._limiters.put_in_force(name, limits, self._limiters[name].max_waiting)
        _log.info("limits of %s changed by the operator: %s", name, tree)
        return []

    def queue(self) -> Mapping[str, Any]:
        """Return who waits and what is under way."""
        return {
            "calls_under_way": self._exchange.calls_under_way,
            "limiters": {
                name: {
                    "waiting": limiter.waiting,
                    "waiting_by_priority": limiter.waiting_by_priority(),
                    "longest_wait_s": round(limiter.longest_wait_s(), 3),
                    "inflight": limiter.inflight,
                }
                for name, limiter in self._limiters.items()
            },
            "connections": self._connection_counts(),
            "deadlines": len(self._deadlines),
            "tasks": len(asyncio.all_tasks()),
        }

    def decisions(self) -> Mapping[str, Any]:
        """Return what limits and outage gates decided lately and why, and which requests always fail."""
        now = self._clock.monotonic()
        unix = self._clock.wall() - now
        limits = {}
        for name, limiter in self._limiters.items():
            gate = self._limiters.gate(name)
            notes = [(now - at, what) for at, what in gate.notes] + self._member.decisions(name)
            limits[name] = {
                "mode": self._limiters.in_force(name).concurrency.mode,
                "limit": _finite(limiter.limit.value),
                "outage": {
                    "closed": gate.is_closed,
                    "since_s": round(now - gate.closed_at, 3) if gate.is_closed else None,
                    "probes": gate.probes,
                },
                "decisions": [
                    {"at": _rfc3339(unix + now - age_s), "age_s": round(age_s, 3), "what": what}
                    for age_s, what in sorted(notes)[:_MOST_DECISIONS]
                ],
            }
        return {"limits": limits, "poison": [_poison_row(one, unix) for one in self._poison.latest_first()]}

    def fleet(self) -> Mapping[str, Any]:
        """Return the pods, who decides for them, and who holds what."""
        return self._member.view()

    def log_level(self) -> str:
        """Return the level in force."""
        return logging.getLevelName(logging.getLogger().level).lower()

    def set_log_level(self, level: str) -> bool:
        """Set the level; False when there is no such level."""
        if level not in _LEVELS:
            return False
        logging.getLogger().setLevel(level.upper())
        return True

    @property
    def allows_drain(self) -> bool:
        """Whether POST /drain is enabled."""
        return self._settings().allow_drain

    def drain(self) -> None:
        """Begin to stop."""
        self._lifecycle.stop()

    @property
    def allows_shutdown(self) -> bool:
        """Whether POST /shutdown is enabled."""
        return self._settings().allow_shutdown

    def shutdown(self) -> None:
        """Stop at once, but after the answer that says so."""
        self._loop.call_later(0.05, self._lifecycle.stop_at_once)

    def gauges(self) -> Gauges:
        """Return what is read at a scrape: name -> (help, reader). Limits are the default limiter's."""
        limiters = self._limiters
        limiter = limiters[DEFAULT]
        member = self._member
        return {
            "inflight": ("Attempts that hold a slot", lambda: sum(one.inflight for one in limiters)),
            "queue_length": ("Calls waiting for a turn", lambda: sum(one.waiting for one in limiters)),
            "concurrency_limit": (
                "Attempts that may be under way; absent where there is no limit",
                lambda: None if limiter.limit.value >= UNLIMITED else float(limiter.limit.value),
            ),
            "rate_limit": (
                "Attempts a second that may start; absent where there is no cap",
                lambda: limiter.bucket.rate_per_s if limiter.bucket else None,
            ),
            "fleet_pods": ("Pods that the plan in force is for", lambda: float(member.pods)),
            "fleet_pilot": ("Whether this pod decides for the fleet", lambda: float(member.is_pilot)),
            "fleet_cut_off": ("Whether no other pod answers", lambda: float(member.is_cut_off)),
            "fleet_slots": (
                "Attempts that all pods together may have under way",
                lambda: float(member.total(DEFAULT)[0]),
            ),
            "fleet_rate": (
                "Attempts a second that all pods together may start; absent where no rate is in force",
                lambda: member.total(DEFAULT)[1] or None,
            ),
            "tokens": (
                "Tokens in the bucket; absent without a rate",
                lambda: limiter.bucket.tokens() if limiter.bucket else None,
            ),
            "connections": ("Connections by state", self._connection_counts),
            "calls": ("Calls of the app under way", lambda: float(self._exchange.calls_under_way)),
            "deadlines": ("Deadlines being watched", lambda: float(len(self._deadlines))),
            "tasks": ("Tasks of the event loop", lambda: float(len(asyncio.all_tasks()))),
            "outage": (
                "Whether an outage gate is closed",
                lambda: float(any(one.gated.is_closed for one in limiters)),
            ),
        }

    def _connection_counts(self) -> dict[str, float]:
        pool = self._pool
        return {
            "idle": float(pool.idle_count),
            "opening": float(pool.opening),
            "busy": float(pool.open_count - pool.opening - pool.idle_count),
            "downstream": float(len(self._listener.connections)),
        }


def _finite(limit: int) -> int | None:
    return None if limit >= UNLIMITED else limit


def _rfc3339(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _poison_row(poison: Poison, unix: float) -> dict[str, Any]:
    return {
        "method": poison.method,
        "target": poison.target,
        "count": poison.count,
        "attempts": poison.attempts,
        "last_status": poison.status,
        "last_reason": poison.reason,
        "first_seen": _rfc3339(unix + poison.first_at),
        "last_seen": _rfc3339(unix + poison.last_at),
    }
