"""The limiters by name: made from the settings, changed by a reload and by the operator, outliving every plan."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterator, Mapping

from proxy.admit.bucket import TokenBucket
from proxy.admit.learned import LearnedLimit
from proxy.admit.limit import UNLIMITED, FixedLimit, Limit
from proxy.admit.limiter import Limiter
from proxy.admit.outage import OutageGate
from proxy.base.clock import Clock
from proxy.base.deadlines import Deadlines
from proxy.config.settings import Concurrency, Limits, Outage, Pool
from proxy.fleet.record import Share
from proxy.learn.evidence.tally import Reading, Tally

_LET_GO_AFTER_S = 60.0
"""Longer than the pause between two tries of a call is by default."""

DEFAULT = "default"
"""The limiter of every route that has no limits of its own."""


def make_bucket(limits: Limits) -> TokenBucket | None:
    """Return the token bucket that is configured, None without a rate."""
    return None if limits.rate is None else TokenBucket(limits.rate, limits.burst)


class Seat:
    """One limiter as the fleet knows it: what it has seen, and the share it is given."""

    def __init__(
        self, limiter: Limiter, limit: LearnedLimit, concurrency: Concurrency, monotonic: Callable[[], float]
    ) -> None:
        self._limiter = limiter
        self._limit = limit
        self._start = concurrency.limit
        self._monotonic = monotonic

    def reading(self) -> Reading:
        """Return what the limiter has seen, and how it stands."""
        limiter, limit, now = self._limiter, self._limit, self._monotonic()
        limit.count(now)
        waiting = limiter.waiting + limiter.turned_away(now)
        return Reading(
            at=now,
            tally=Tally(
                limit.ok,
                limit.bad,
                limit.fast,
                limit.took_s,
                limit.log,
                limit.log2,
                limit.busy_s,
                limit.shut_s,
            ),
            wanted=waiting + limit.inflight + limit.cooling,
            waiting=waiting,
            inflight=limit.inflight,
            is_shut=limiter.gated.is_closed,
            most=limit.most,
            fixed=limit.slots if limit.is_fixed else None,
            start=self._start,
        )

    def apply(self, share: Share) -> None:
        """Put a share in force, and let in whoever can go now."""
        limit = self._limit
        if (share.slots, share.rate) != (limit.slots, limit.rate):
            limit.apply(self._monotonic(), share.slots, share.rate)
            self._limiter.limit_changed()

    def until(self, at: float, then: Share) -> None:
        """Keep the share in force until then, which infinity never is; put the other in force from then on."""
        self._limit.lease(at, then.slots, then.rate)


class Limiters:
    """All limiters of a sidecar, each with the limits in force and an outage gate of its own."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._clock = clock
        self._rng = rng
        self._outage = Outage()
        self.has_peers = False
        """Whether other pods learn from this one: then a fixed limit counts what comes of it."""
        self.first_slots = 1
        """Slots of a limit that is learnt before a share is known: 0 where only a lease allows any."""
        self._connections = Pool().max_connections
        self._by_name: dict[str, Limiter] = {}
        self._in_force: dict[str, Limits] = {}
        self._gates: dict[str, OutageGate] = {}
        self._idle_since: dict[str, float] = {}
        """Those that no route has any more, with when each was last seen to have calls."""

    def set_outage(self, outage: Outage) -> None:
        """Say what happens to callers in an outage, now and from now on."""
        self._outage = outage
        for limiter in self:
            limiter.set_hold(outage.max_hold, outage.mode == "fail")
        for gate in self._gates.values():
            gate.is_off = outage.mode == "off"

    def set_connections(self, most: int) -> None:
        """Say how many connections the pool may have: no learnt limit goes beyond, now and from now on."""
        self._connections = most
        for name, limiter in self._by_name.items():
            limit = limiter.limit
            if isinstance(limit, LearnedLimit) and not limit.is_fixed:
                limit.set_bounds(*self._bounds(self._in_force[name].concurrency))

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
            gate.is_off = self._outage.mode == "off"
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

    def keep(self, names: Collection[str]) -> None:
        """Say which limiters routes have, beside the default one. The others go once their calls are done; see ``let_go``."""
        gone = set(self._by_name) - {DEFAULT, *names}
        now = self._clock.monotonic()
        self._idle_since = {name: self._idle_since.get(name, now) for name in gone}

    def let_go(self, calls_under_way: int) -> None:
        """Drop limiters whose route is gone: at once without any call, else when nobody has used them for a while.

        A call keeps the route it began with, and between two tries it holds nothing of its limiter.
        """
        now = self._clock.monotonic()
        for name in list(self._idle_since):
            limiter = self._by_name[name]
            if limiter.inflight or limiter.waiting:
                self._idle_since[name] = now
            elif not calls_under_way or now - self._idle_since[name] > _LET_GO_AFTER_S:
                limiter.close()
                for kept in (self._by_name, self._in_force, self._gates, self._idle_since):
                    del kept[name]

    def _bounds(self, concurrency: Concurrency) -> tuple[int, int]:
        """Return the fewest and the most slots of a limit that is learnt.

        What exceeds the pool would be in flight by our books alone, waiting for a connection. A floor is for a pod that is
        alone: several of them would be a floor of the fleet that nobody has set.
        """
        return 0 if self.has_peers else concurrency.min, min(concurrency.max, self._connections)

    def _make_limit(self, concurrency: Concurrency) -> Limit:
        if concurrency.mode == "off":
            return FixedLimit(UNLIMITED)
        is_fixed = concurrency.mode == "fixed"
        if is_fixed and not self.has_peers:
            return FixedLimit(concurrency.limit or 1)  # the settings see to it that there is one
        slots = concurrency.limit or 1 if is_fixed else self.first_slots
        least, most = (0, slots) if is_fixed else self._bounds(concurrency)
        return LearnedLimit(
            now=self._clock.monotonic(), rng=self._rng, slots=slots, least=least, most=most, is_fixed=is_fixed
        )

    def _changed_limit(self, limit: Limit, before: Concurrency, after: Concurrency) -> Limit:
        if before == after:
            return limit
        if before.mode == after.mode == "adaptive" and isinstance(limit, LearnedLimit):
            limit.set_bounds(*self._bounds(after))
            return limit
        return self._make_limit(after)

    def seats(self) -> Mapping[str, Seat]:
        """Return the limiters that the fleet decides for or learns from, by name."""
        return {
            name: Seat(limiter, limiter.limit, self._in_force[name].concurrency, self._clock.monotonic)
            for name, limiter in self._by_name.items()
            if isinstance(limiter.limit, LearnedLimit)
        }

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
