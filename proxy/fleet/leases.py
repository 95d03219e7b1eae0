"""Leases of the totals that the owner set: however records are lost, late or repeated, no more is out than there is. Pure.

The pilot knows of each pod at most how much it may be using:

    used  = the most of what its last record says that it holds, its calls under way, and
            every lease given since the plan that the record had in force
    free  = total - the used of all pods, also of those that are gone and whose leases still run
    held  = the same without the calls under way: some may have outlived the lease that they began with
    lease = the share that the pilot would give, where that is no more than held; else held and a part of free, max-min by
            what is missing. Where free is not below 0 calls under way count as held: they are counted already

So a lease shrinks at once and grows only by what another pod has shown to use no longer. Who holds a lease stops by its own
clock, ``LEASE_S`` after it asked for it. A pilot that takes over lets nobody's grow for ``SETTLES_S``: until then leases
that it has never heard of have been shown to it, or have run out.

Worked example: a total of 8, of which a has 7 and b 1. Both now want 8, so the shares are 4 and 4. Plan 2 leases 4 to a and 1 to
b: a may still use 7. The next record of a says: plan 2, 5 calls under way. Plan 3 leases 4 and 3. Then 4 under way: 4 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from proxy.fleet.record import Plan, Record, Share
from proxy.fleet.shares import max_min

LEASE_S = 2.5
"""A pod asks twice a second: it may miss four answers. Longer keeps what a dead pod had from the others."""
SETTLES_S = 3.0
"""Longer than a lease, and than Redis keeps a record."""
_DRIFT_S = 0.1
"""How much faster than the holder's clock the pilot's may run in a lease's time."""
_LEAST_RATE = 0.01
"""A lease of fewer calls a second is none: 0.0 would be no rate at all, and the others can use it."""
_STEADY = 0.05
"""A rate that would change by a smaller part stays: each change waits for its pod to show it."""
_PLANS = 8
"""Plans of a pod that are told apart; of older ones the most that they gave counts."""

Claim = tuple[str, str]
"""A pod and a limiter of it."""


@dataclass(slots=True, frozen=True)
class Hard:
    """The owner's own totals of the whole fleet; None for none."""

    slots: int | None = None
    rate: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is any."""
        return self.slots is not None or self.rate is not None

    def part(self, of: float) -> Hard:
        """Return one of so many equal parts, slots rounded down."""
        slots = None if self.slots is None else int(self.slots / max(1.0, of))
        return Hard(slots, None if self.rate is None else self.rate / max(1.0, of))


@dataclass(slots=True)
class _Pod:
    """What the pilot knows of one pod's leases."""

    given: list[tuple[str, dict[str, Share]]] = field(default_factory=list)
    """Plan's id and shares, from the plan that is in force at the pod on."""
    given_at: float = -math.inf
    record: Record | None = None

    def hear(self, record: Record) -> None:
        if self.record is not None and _at(record) < _at(self.record):
            return  # it was overtaken by a later one
        self.record = record
        ids = [plan_id for plan_id, _ in self.given]
        if record.plan_id in ids:
            del self.given[: ids.index(record.plan_id)]

    def give(self, now: float, plan_id: str, shares: dict[str, Share]) -> None:
        self.given.append((plan_id, shares))
        self.given_at = now
        if len(self.given) > _PLANS:
            (_, first), (second_id, second), *rest = self.given
            names = first.keys() | second.keys()
            self.given = [(second_id, {name: _most([first, second], name) for name in names}), *rest]

    def held(self) -> dict[str, Share]:
        """Return the most that the pod may be holding, by limiter."""
        shares = [its for _, its in self.given]
        if self.record is not None:
            shares.append(self.record.holds)
        return {name: _most(shares, name) for name in {name for its in shares for name in its}}

    def used(self) -> dict[str, Share]:
        """Return the most that the pod may be using, by limiter: what it may be holding, and its calls under way."""
        used = self.held()
        for name, each in self.record.readings.items() if self.record is not None else ():
            if each.fixed is None:
                its = used.get(name, Share(0))
                used[name] = Share(max(its.slots, each.inflight), its.rate)
        return used


class Leases:
    """What is leased to whom. Nobody's lease grows before ``grows_from``, on the clock that ``cut`` is given."""

    def __init__(self, *, grows_from: float = -math.inf) -> None:
        self._grows_from = grows_from
        self._pods: dict[str, _Pod] = {}

    def cut(
        self, now: float, plan: Plan, total: Hard, records: Mapping[str, Record], *, is_whole: bool
    ) -> None:
        """Cut a plan's shares down to what may be leased, and remember them as leased.

        ``is_whole``: who has no record holds no lease any more.
        """
        for pod, known in list(self._pods.items()):
            if pod not in records and (is_whole or now >= known.given_at + LEASE_S + _DRIFT_S):
                del self._pods[pod]
        for pod, record in records.items():
            self._pods.setdefault(pod, _Pod()).hear(record)
        used = {(pod, name): its for pod, known in self._pods.items() for name, its in known.used().items()}
        held = {(pod, name): its for pod, known in self._pods.items() for name, its in known.held().items()}
        wanted = {
            (pod, name): share
            for name, portion in plan.portions.items()
            for pod, share in portion.shares.items()
        }
        may_grow = now >= self._grows_from
        slots = {claim: float(share.slots) for claim, share in wanted.items()}
        if total.slots is not None:
            fixed = [reading.fixed or 0 for each in records.values() for reading in each.readings.values()]
            held_slots = {claim: float(share.slots) for claim, share in held.items()}
            used_slots = {claim: float(share.slots) for claim, share in used.items()}
            slots = _lease(slots, held_slots, used_slots, total.slots - sum(fixed), may_grow, _whole)
        rates = {claim: share.rate for claim, share in wanted.items()}
        if total.rate is not None:
            its = {claim: share.rate for claim, share in held.items()}
            rates = _lease(self._steady(rates), its, its, total.rate, may_grow, max_min)
        for (pod, name), share in wanted.items():
            given = int(slots[pod, name])
            leased = Share(given, rates[pod, name], min(share.rest, given))
            if total.rate is not None and leased.rate < _LEAST_RATE:
                leased = Share(0)
            plan.portions[name].shares[pod] = leased
        self._remember(now, plan, used)

    def _steady(self, rates: dict[Claim, float]) -> dict[Claim, float]:
        out = {}
        for (pod, name), rate in rates.items():
            given = self._pods[pod].given if pod in self._pods else []
            last = given[-1][1].get(name) if given else None
            is_near = last is not None and abs(rate - last.rate) <= _STEADY * last.rate
            out[pod, name] = last.rate if last is not None and is_near else rate
        return out

    def _remember(self, now: float, plan: Plan, used: Mapping[Claim, Share]) -> None:
        given: dict[str, dict[str, Share]] = {}
        for name, portion in plan.portions.items():
            portion.leaving = {}
            for pod, share in portion.shares.items():
                given.setdefault(pod, {})[name] = share
        for (pod, name), its in used.items():
            slots = given[pod][name].slots if name in given.get(pod, {}) else 0
            if name in plan.portions and its.slots > slots:
                plan.portions[name].leaving[pod] = its.slots - slots
        for pod, shares in given.items():
            self._pods.setdefault(pod, _Pod()).give(now, plan.id, shares)


class Holder:
    """What this pod holds itself, by limiter: a share until a time, another from then on."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._held: dict[str, tuple[float, Share, Share]] = {}

    def hold(self, name: str, share: Share, until: float, then: Share) -> None:
        """Remember what is in force from now on."""
        self._held[name] = (until, share, then)

    def holds(self) -> dict[str, Share]:
        """Return what is in force now, by limiter."""
        now = self._monotonic()
        return {name: then if now >= until else share for name, (until, share, then) in self._held.items()}

    def left_s(self) -> float:
        """Return how long a lease still runs; 0.0 where there is none."""
        return max([0.0, *(until - self._monotonic() for until, _, _ in self._held.values())])


def without_lease(share: Share, part: Hard) -> Share:
    """Return what a pod may use of its share where it may use no more than a part; nothing of a rate that is 0."""
    slots = share.slots if part.slots is None else min(share.slots, part.slots)
    rate = share.rate if part.rate is None else min(share.rate or part.rate, part.rate)
    if part.rate is not None and rate < _LEAST_RATE:
        return Share(0)
    return Share(slots, rate, min(share.rest, slots))


def split(total: Hard, wants: Mapping[str, float]) -> dict[str, Hard]:
    """Return each limiter's part of the totals, by what is wanted there; slots are whole, and one at least where they suffice."""
    if len(wants) == 1:
        return dict.fromkeys(wants, total)
    weights = {name: max(1.0, want) for name, want in wants.items()}
    whole = sum(weights.values())
    slots = dict.fromkeys(wants, 0)
    if total.slots is not None:
        left = total.slots
        for name in sorted(slots, key=lambda name: (weights[name], name)):
            slots[name] = min(left, max(1, int(total.slots * weights[name] / whole)))
            left -= slots[name]
        slots[max(slots, key=lambda name: (weights[name], name))] += left
    return {
        name: Hard(
            None if total.slots is None else slots[name],
            None if total.rate is None else total.rate * weights[name] / whole,
        )
        for name in wants
    }


def _lease(
    wanted: Mapping[Claim, float],
    held: Mapping[Claim, float],
    used: Mapping[Claim, float],
    total: float,
    may_grow: bool,
    divide: Callable[[float, Mapping[Claim, float]], Mapping[Claim, float]],
) -> dict[Claim, float]:
    if sum(wanted.values()) > total:  # a total that has become less: what is held shrinks to it as well
        wanted = divide(max(0.0, total), wanted)
    free = total - sum(used.values())
    kept = used if may_grow and free >= 0 else held  # calls that are counted in any case need no other room
    leased = {claim: min(want, kept.get(claim, 0)) for claim, want in wanted.items()}
    if may_grow and free > 0:
        missing = {claim: want - leased[claim] for claim, want in wanted.items() if want > leased[claim]}
        for claim, more in divide(free, missing).items() if missing else ():
            leased[claim] += more
    return leased


def _whole(total: float, wants: Mapping[Claim, float]) -> dict[Claim, float]:
    """Return max-min shares in whole slots."""
    real = max_min(total, wants)
    whole = {claim: int(share + 1e-9) for claim, share in real.items()}
    odd = int(min(total, sum(wants.values()))) - sum(whole.values())
    for claim in sorted((claim for claim in whole if whole[claim] < wants[claim]), key=whole.__getitem__)[
        :odd
    ]:
        whole[claim] += 1
    return {claim: float(n) for claim, n in whole.items()}


def _most(shares: list[dict[str, Share]], name: str) -> Share:
    its = [each[name] for each in shares if name in each]
    return Share(max((each.slots for each in its), default=0), max((each.rate for each in its), default=0.0))


def _at(record: Record) -> float:
    return max((reading.at for reading in record.readings.values()), default=-math.inf)
