"""The limiters by name: made from the settings, changed by a reload and by the operator, outliving every plan."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

from proxy.admit.adaptive import LOWEST, AdaptiveLimit
from proxy.admit.bucket import TokenBucket
from proxy.admit.limit import UNLIMITED, FixedLimit, Limit
from proxy.admit.limiter import Limiter
from proxy.admit.outage import OutageGate
from proxy.base.clock import Clock
from proxy.base.deadlines import Deadlines
from proxy.config.settings import Concurrency, Limits, Outage, Pool

DEFAULT = "default"
"""The limiter of every route that has no limits of its own."""


def make_adaptive(
    concurrency: Concurrency, connections: int, *, clock: Clock, rng: random.Random, salt: bytes
) -> AdaptiveLimit:
    """Return a limit that finds itself; pods with the same ``salt`` experiment in step."""
    lowest, highest = _bounds(concurrency, connections)
    return AdaptiveLimit(
        now=clock.monotonic(),
        wall=clock.wall(),
        rng=rng,
        salt=salt,
        start=1.0 if concurrency.limit is None else float(concurrency.limit),
        lowest=lowest,
        highest=highest,
    )


def _bounds(concurrency: Concurrency, connections: int) -> tuple[float, float]:
    """Return floor and ceiling. What exceeds the pool would be in flight by our books alone, waiting for a connection.

    A floor of 1, the least that can be set, is none: one pod of many may have to use less.
    """
    highest = float(min(concurrency.max, connections))
    lowest = float(concurrency.min) if concurrency.min > 1 else LOWEST
    return min(lowest, highest), highest


def make_bucket(limits: Limits) -> TokenBucket | None:
    """Return the token bucket that is configured, None without a rate."""
    return None if limits.rate is None else TokenBucket(limits.rate, limits.burst)


class Limiters:
    """All limiters of a sidecar, each with the limits in force and an outage gate of its own."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        *,
        clock: Clock,
        rng: random.Random,
        salt: bytes,
    ) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._clock = clock
        self._rng = rng
        self._salt = salt
        self._outage = Outage()
        self._connections = Pool().max_connections
        self._by_name: dict[str, Limiter] = {}
        self._in_force: dict[str, Limits] = {}
        self._gates: dict[str, OutageGate] = {}

    def set_outage(self, outage: Outage) -> None:
        """Say what happens to callers in an outage, now and from now on."""
        self._outage = outage
        for limiter in self:
            limiter.set_hold(outage.max_hold, outage.mode == "fail")

    def set_connections(self, most: int) -> None:
        """Say how many connections the pool may have: no adaptive limit goes beyond, now and from now on."""
        self._connections = most
        for name, limiter in self._by_name.items():
            if isinstance(limiter.limit, AdaptiveLimit):
                limiter.limit.set_bounds(*_bounds(self._in_force[name].concurrency, most))

    def of(self, name: str, limits: Limits | None, max_waiting: int) -> Limiter:
        """Return the limiter called ``name``, made or brought up to date; slots and queue survive a reload.

        KeyError when there is none yet and no ``limits`` to make it with.
        """
        if limits is None:
            return self._by_name[name]
        limiter = self._by_name.get(name)
        if limiter is None:
            self._in_force[name] = limits
            gate = self._gates[name] = OutageGate(rng=self._rng)
            limiter = self._by_name[name] = Limiter(
                self._loop,
                self._deadlines,
                monotonic=self._clock.monotonic,
                limit=self._make_limit(limits.concurrency),
                gate=gate,
                bucket=make_bucket(limits),
                max_waiting=max_waiting,
                max_hold_s=self._outage.max_hold,
                fails_at_once=self._outage.mode == "fail",
            )
        else:
            self.put_in_force(name, limits, max_waiting)
        return limiter

    def put_in_force(self, name: str, limits: Limits, max_waiting: int) -> None:
        """Change a limiter's limits; what stays as it was keeps what it has learnt and holds."""
        limiter = self._by_name[name]
        before = self._in_force[name]
        same_bucket = (before.rate, before.burst) == (limits.rate, limits.burst)
        limiter.reconfigure(
            limit=self._changed_limit(limiter.limit, before.concurrency, limits.concurrency),
            bucket=limiter.bucket if same_bucket else make_bucket(limits),
            max_waiting=max_waiting,
        )
        self._in_force[name] = limits

    def _make_limit(self, concurrency: Concurrency) -> Limit:
        if concurrency.mode == "adaptive":
            return make_adaptive(
                concurrency, self._connections, clock=self._clock, rng=self._rng, salt=self._salt
            )
        # The settings see to it that fixed has a limit.
        return FixedLimit(UNLIMITED if concurrency.mode == "off" else concurrency.limit or 1)

    def _changed_limit(self, limit: Limit, before: Concurrency, after: Concurrency) -> Limit:
        if before == after:
            return limit
        is_same = (before.mode, before.limit) == (after.mode, after.limit)
        if is_same and isinstance(limit, AdaptiveLimit):
            limit.set_bounds(*_bounds(after, self._connections))
            return limit
        return self._make_limit(after)

    def keep_time(self) -> None:
        """Tell limits that go by the wall clock what it says: it may have been put right."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        for limiter in self:
            limit = limiter.limit
            if isinstance(limit, AdaptiveLimit):
                limit.set_wall(now, wall)

    def gate(self, name: str) -> OutageGate:
        """Return a limiter's outage gate."""
        return self._gates[name]

    def in_force(self, name: str) -> Limits:
        """Return the limits that a limiter obeys."""
        return self._in_force[name]

    def items(self) -> list[tuple[str, Limiter]]:
        """Return names and limiters."""
        return list(self._by_name.items())

    def __getitem__(self, name: str) -> Limiter:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Limiter]:
        return iter(self._by_name.values())

    def close(self) -> None:
        """Turn everybody away who waits."""
        for limiter in self:
            limiter.close()

    def __repr__(self) -> str:
        return f"<Limiters {self._by_name}>"
