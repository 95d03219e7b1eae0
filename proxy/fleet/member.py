"""This pod in its fleet: twice a second it posts what it saw and puts in force what was decided.

together ──nobody answers──▶ cut off (the last resting share) ──10 s──▶ alone (learns on from there) ──▶ together

Where the owner set totals a share is a lease. One that runs out leaves nothing where the board is strict, and this pod is never
alone there; elsewhere it leaves a part of the totals: one of the most pods ever seen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from proxy.fleet.board import Board, Seen
from proxy.fleet.leases import SETTLES_S, Hard, Holder, Leases, split, without_lease
from proxy.fleet.pilot import Pilot, fading
from proxy.fleet.record import VERSION, Plan, Record, Share
from proxy.learn.evidence.tally import Reading
from proxy.learn.learner import Learner

_log = logging.getLogger("sidegate")

PERIOD_S = 0.5
IDLE_S = 5.0
"""How often an idle fleet meets: none of its pods carries calls, nor did lately."""
LEASED_IDLE_S = 1.0
"""How often where a share is a lease, for that runs out."""
_EXPIRES_S = 2.5
_ALONE_AFTER_S = 10.0
_HEARS_AFTER_S = 0.06
"""A pod that follows reads so long after a plan is due: a decision is in force at once, not half a second later."""


class Seat(Protocol):
    """One limiter of this pod, as the fleet knows it."""

    def reading(self) -> Reading:
        """Return what it has seen, and how it stands."""

    def apply(self, share: Share) -> None:
        """Put a share in force."""

    def until(self, at: float, then: Share) -> None:
        """Put another in force at a time of its clock, which infinity never is."""


class Member:
    """Runs the fleet's turns. ``seats`` returns this pod's limiters by name; a reload may change them."""

    def __init__(
        self,
        *,
        pod: str,
        fleet: str,
        board: Board,
        seats: Callable[[], Mapping[str, Seat]],
        monotonic: Callable[[], float],
        hard: Hard | None = None,
        asked_at: Callable[[], float] = lambda: float("-inf"),
    ) -> None:
        self.pod = pod
        self.fleet = fleet
        self.board = board
        self._seats = seats
        self._monotonic = monotonic
        self._hard = hard or Hard()
        self._is_leased = self._hard.is_set
        self._idle_s = LEASED_IDLE_S if self._is_leased else IDLE_S
        self._holder = Holder(monotonic)
        self._leases = Leases()
        self._wants: dict[str, float] = {}
        self._is_part = False
        """Whether the pilots here decide about a part of the totals."""
        self._has_met = False
        self._began_at = float("inf")
        self._asked_at = asked_at
        self._pilots: dict[str, Pilot] = {}
        self._kept: dict[str, tuple[float, Record]] = {}
        self._serial = 0
        self._most = 1
        self._met_at = float("-inf")
        self._turned_at = float("-inf")
        self._missed = 0
        self._silent_from = float("-inf")
        self._ended = 0
        self._task: asyncio.Task[None] | None = None
        self.plan: Plan | None = None
        self.is_pilot = False
        self.is_cut_off = False
        self.is_alone = False
        """Whether it decides for itself alone, for the board was away too long."""
        self.is_leaving = False
        self.plan_at = 0.0

    # life

    async def open(self) -> None:
        """Take the first turn, so that the first call finds a share, and go on by itself."""
        await self.board.open()
        await self._try_turn()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s())
            if self._is_due():
                await self._try_turn()

    async def _try_turn(self) -> None:
        try:
            await self.turn()
        except Exception:  # a fault here must cost the fleet's share, not the pod's calls
            _log.exception("fleet: a turn failed")

    def _pause_s(self) -> float:
        if self.is_pilot or self.plan is None:
            return PERIOD_S
        due_s = self.plan_at + PERIOD_S + _HEARS_AFTER_S - self._monotonic()
        return due_s if 0.05 <= due_s < PERIOD_S else PERIOD_S  # one that is late may be later still

    def _is_due(self) -> bool:
        """Whether this turn is worth it: somebody carries calls, or it has been long."""
        now = self._monotonic()
        return (
            self.is_leaving
            or self._missed > 0
            or (self.plan is not None and self.plan.is_awake)
            or now - self._asked_at() < 2 * PERIOD_S
            or now - self._turned_at >= self._idle_s
            or self._is_awake(self._readings())
        )

    def _is_awake(self, readings: Mapping[str, Reading]) -> bool:
        """Whether this pod carries calls, did so since its last record, or has no share yet."""
        return (
            sum(r.tally.ok + r.tally.bad for r in readings.values()) != self._ended
            or any(r.wanted for r in readings.values())
            or any(r.fixed is None and self._share_of(name) is None for name, r in readings.items())
        )

    async def leave(self) -> None:
        """The sidecar stops: others may have this pod's share, what its calls hold as soon as they have ended.

        The app may still call while it drains. So a lease is kept until the end, or cut down to this pod's part.
        """
        if self._is_leased and self.board.is_strict:
            return
        self.is_leaving, self.is_pilot = True, False
        if self._is_leased:
            for name, seat in self._seats().items():
                share = self._share_of(name) or Share(0)
                self._give(name, seat, without_lease(share, self._own_part(name)), float("inf"))
        if self._task is not None:
            await self.board.leave(self._record())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            if not self.is_leaving and self._is_leased:
                self.is_leaving, self.is_pilot = True, False
                await self.board.leave(msgspec.structs.replace(self._record(), holds={}))
        await self.board.close()

    # turns

    async def turn(self) -> None:
        """Meet the others once."""
        record = self._record()
        before, self._turned_at = self._turned_at, self._monotonic()
        self._began_at = min(self._began_at, self._turned_at)
        if self.is_leaving:
            await self.board.leave(record)
            return
        await self._take_in(await self.board.turn(record), record, before)

    async def _take_in(self, seen: Seen, record: Record, before: float) -> None:
        if self.is_leaving:  # since the turn began
            return
        now = self._monotonic()
        if seen.is_reached:
            self._meet(now)
        else:
            self._miss(now, seen)
            if not seen.is_pilot:
                if not self.is_alone:
                    self._doubt()
                    return
                seen = Seen(True, {self.pod: record})
        if seen.is_pilot:
            await self._decide(now, seen, before)
        else:
            self.is_pilot = False
            if seen.plan is not None and not self._is_outdated(seen.plan):
                self._has_met = True
                self._hear(now - seen.plan_age_s, seen.plan, self._turned_at + seen.lease_s)

    def _is_outdated(self, plan: Plan) -> bool:
        """Whether a plan is older than this pod's: the board has lost the last ones, and others hold leases of them."""
        is_behind = self.plan is not None and plan.serial < self.plan.serial
        return is_behind and self._is_leased and self.board.is_strict

    def _meet(self, now: float) -> None:
        if self.is_cut_off:
            _log.info("fleet: the others answer again after %.1f s", now - self._met_at)
        self.is_cut_off = self.is_alone = False
        self._met_at, self._missed = now, 0

    def _miss(self, now: float, seen: Seen) -> None:
        """Nobody answers: what rests is kept for a while, then this pod learns on alone from there."""
        self._missed += 1
        if self._missed == 1:  # an idle fleet met a while ago, and was not cut off all that time
            self._silent_from = max(self._met_at, now - 2 * PERIOD_S)
        if self._missed > 1 and now - self._silent_from > 2 * PERIOD_S and not self.is_cut_off:
            self.is_cut_off = True
            waits = "; calls wait while there is no lease" if self._is_leased and self.board.is_strict else ""
            _log.warning("fleet: no other pod answers%s", waits)
            if not seen.is_pilot:
                self._rest()
        if self._is_leased and self.board.is_strict:
            return
        if now - self._silent_from > _ALONE_AFTER_S and not self.is_pilot:
            _log.warning(
                "fleet: alone after %.0f s without an answer; learning on from this pod's share",
                _ALONE_AFTER_S,
            )
            self.is_pilot = self.is_alone = True
            self._begin_part()
            self._pilots = {name: Pilot(self._from_here(name), self._part(name)) for name in self._seats()}

    def _rest(self) -> None:
        """Keep this pod's share of what was held, not of what was being looked at."""
        self.is_pilot = False
        if self._is_leased:
            return  # it rests until the lease runs out
        for name, seat in self._seats().items():
            share = self._share_of(name)
            if share is not None:
                seat.apply(Share(share.rest, share.rate, share.rest))

    def _share_of(self, name: str) -> Share | None:
        portion = self.plan.portions.get(name) if self.plan is not None else None
        return portion.shares.get(self.pod) if portion is not None else None

    def _from_here(self, name: str) -> Learner:
        share = self._share_of(name)
        return Learner.at(max(1, share.rest) if share is not None else 1)

    def _part(self, name: str) -> Hard:
        """This pod's part of the owner's totals, and of a rate that was learnt, while it cannot see who else spends of them."""
        part, share = self._own_part(name), self._share_of(name)
        rates = [part.rate] if part.rate is not None else []
        if share is not None and share.rate:
            rates.append(share.rate)
        return Hard(part.slots, min(rates, default=None))

    def _own_part(self, name: str) -> Hard:
        """One of as many parts as pods were ever seen, of what the limiter has of the owner's totals."""
        portions = {} if self.plan is None else self.plan.portions
        wants = {each: float(portion.slots) for each, portion in portions.items()}
        return split(self._hard, {name: 1.0, **wants})[name].part(self._most)

    def _begin_part(self) -> None:
        """From here on this pod leases to itself, and no more than its part."""
        self._is_part, self._leases = True, Leases()

    def _totals(self, now: float, seen: Seen) -> Hard:
        """The totals that this pod, which is the pilot, may lease out."""
        if seen.missing and not self._has_met and not self.board.is_strict:
            # It may be that nobody else is there yet, or that it is this pod that sees nobody.
            waits = now - self._began_at < _ALONE_AFTER_S
            return Hard(0, 0.0) if waits else self._hard.part(1 + seen.missing)
        return self._hard.part(self._most) if self.is_cut_off else self._hard

    async def _decide(self, now: float, seen: Seen, before: float) -> None:
        if not self.is_pilot or (self._is_part and not self.is_cut_off):
            self._take_over(now, seen.plan or self.plan)
        elif self.is_cut_off and not self._is_part and self._is_leased:
            self._begin_part()
        self.is_pilot = True
        self._kept.update({pod: (now, each) for pod, each in seen.records.items()})
        self._kept = {
            pod: (at, each)
            for pod, (at, each) in self._kept.items()
            if (pod in seen.records or not seen.is_whole)
            and (now - at <= _EXPIRES_S or at >= before)
            and not _has_left(each)
        }
        if self._is_part:
            self._kept = {pod: known for pod, known in self._kept.items() if pod == self.pod}
        records = {pod: _parting(each) for pod, (_, each) in self._kept.items()}
        self._most = max(self._most, len(records))
        self._has_met = self._has_met or len(records) > 1
        self._serial = max([self._serial, *(each.serial for each in records.values())])
        names = {name for each in records.values() for name in each.readings}
        totals = self._totals(now, seen)
        hards = self._hards(totals, records, names)
        portions = {}
        for name in sorted(names):
            pilot = self._pilots.setdefault(name, Pilot())
            pilot.hard = hards[name]
            readings = {pod: each.readings[name] for pod, each in records.items() if name in each.readings}
            try:
                portions[name] = pilot.step(now, readings)
            except Exception:
                # Who takes over would fail on the same state, and the fleet would never decide again.
                _log.exception("fleet: learning failed for %s; it goes on from the total in force", name)
                slots, _ = self.total(name)
                self._pilots[name] = Pilot(Learner.at(slots) if slots else None)
                if self.plan is not None and name in self.plan.portions:
                    portions[name] = msgspec.structs.replace(self.plan.portions[name], learner=None)
        self._serial += 1
        is_awake = any(each.is_awake for each in records.values())
        plan = Plan(self._serial, portions, {}, self._most, is_awake, self.pod, len(records))
        if self._is_leased:
            self._leases.cut(now, plan, totals, records, is_whole=seen.is_whole or self.is_cut_off)
        is_in_force = await self.board.publish(plan) or self.is_alone
        if not is_in_force:
            self._doubt()
        elif not self.is_leaving:
            lease_s = float("inf") if self._is_part else seen.lease_s
            self._hear(now, plan, self._turned_at + lease_s)

    def _doubt(self) -> None:
        """The board may show another pilot's plan by now, or have lost this one's: where leases are strict it takes over anew."""
        if self._is_leased and self.board.is_strict:
            self.is_pilot = False

    def _hards(self, totals: Hard, records: Mapping[str, Record], names: Iterable[str]) -> dict[str, Hard]:
        """Return what each limiter's pilot may share out."""
        if self.is_alone:
            return {name: self._part(name) for name in names}
        wanted = {
            name: sum(each.readings[name].wanted for each in records.values() if name in each.readings)
            for name in names
        }
        self._wants = {name: fading(want, self._wants.get(name, 0.0)) for name, want in wanted.items()}
        return split(totals, self._wants)

    def _take_over(self, now: float, plan: Plan | None) -> None:
        """Go on from what another pilot, or this pod as one, had learnt and shared out."""
        self._pilots, self._is_part = {}, False
        is_first = plan is None and not self.board.is_strict
        self._leases = Leases() if is_first else Leases(grows_from=now + SETTLES_S)
        if plan is None:
            return
        self._serial = max(self._serial, plan.serial)
        for name, portion in plan.portions.items():
            held = {pod: share.slots for pod, share in portion.shares.items()}
            self._pilots[name] = Pilot(portion.learner, None, held)

    def _hear(self, at: float, plan: Plan, lease_until: float) -> None:
        self.plan, self.plan_at = plan, at
        self._most = max(self._most, plan.most)
        for name, seat in self._seats().items():
            share = self._share_of(name)
            if share is not None:
                self._give(name, seat, share, lease_until)

    def _give(self, name: str, seat: Seat, share: Share, until: float) -> None:
        """Put a share in force; where it is a lease, until it runs out."""
        seat.apply(share)
        if self._is_leased:
            then = Share(0) if self.board.is_strict else without_lease(share, self._own_part(name))
            seat.until(until, then)
            self._holder.hold(name, share, until, then)

    def _record(self) -> Record:
        readings = self._readings()
        is_awake = self._is_awake(readings)
        self._ended = sum(reading.tally.ok + reading.tally.bad for reading in readings.values())
        return Record(
            VERSION,
            self.fleet,
            self.pod,
            "",
            readings,
            is_awake=is_awake,
            is_leaving=self.is_leaving,
            plan_id="" if self.plan is None else self.plan.id,
            holds=self._holder.holds(),
        )

    def _readings(self) -> dict[str, Reading]:
        return {name: seat.reading() for name, seat in self._seats().items()}

    # the operator's side

    @property
    def pods(self) -> int:
        """How many pods the plan in force is for."""
        if self.plan is None:
            return 0
        return max([self.plan.count, *(len(portion.shares) for portion in self.plan.portions.values())])

    @property
    def holds_lease(self) -> bool:
        """Whether this pod may use anything of the owner's totals by a lease that still runs."""
        return self._holder.left_s() > 0.0

    def total(self, name: str) -> tuple[int, float]:
        """Return slots and rate of the whole fleet for a limiter; 0 and 0.0 where nothing was decided."""
        portion = self.plan.portions.get(name) if self.plan is not None else None
        return (portion.slots, portion.rate) if portion is not None else (0, 0.0)

    def view(self) -> dict[str, Any]:
        """Return who holds what and who decides, for the operator."""
        plan = self.plan
        return {
            "fleet": self.fleet,
            "pod": self.pod,
            "is_pilot": self.is_pilot,
            "is_cut_off": self.is_cut_off,
            "holds_lease": self.holds_lease if self._is_leased else None,
            "pods": self.pods,
            "limiters": {
                name: {
                    "mode": portion.mode,
                    "slots": portion.slots,
                    "rate": portion.rate or None,
                    "shares": {
                        pod: {"slots": share.slots, "rate": round(share.rate, 2) or None}
                        for pod, share in sorted(portion.shares.items())
                    },
                    "leaving": portion.leaving,
                }
                for name, portion in ({} if plan is None else plan.portions).items()
            },
        }

    def decisions(self, name: str) -> list[tuple[float, str]]:
        """Return what was decided for a limiter: seconds ago and why, the newest first."""
        portion = self.plan.portions.get(name) if self.plan is not None else None
        learner = portion.learner if portion is not None else None
        if learner is None:
            return []
        age_s = self._monotonic() - self.plan_at
        return [(age_s + learner.t - at, because) for at, because in reversed(learner.notes)]

    def __repr__(self) -> str:
        return f"<Member {self.pod} of {self.fleet}{', the pilot' if self.is_pilot else ''}>"


def _has_left(record: Record) -> bool:
    """Whether a pod that stops holds nothing any more."""
    holds = [reading.inflight for reading in record.readings.values()]
    return record.is_leaving and not any([*holds, *(share.slots for share in record.holds.values())])


def _parting(record: Record) -> Record:
    """Return the record; of a pod that stops, with its calls under way as slots that are not to be shared out."""
    if not record.is_leaving:
        return record
    readings = {
        name: msgspec.structs.replace(
            reading, fixed=reading.inflight if reading.fixed is None else reading.fixed
        )
        for name, reading in record.readings.items()
    }
    return msgspec.structs.replace(record, readings=readings)
