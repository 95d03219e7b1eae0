"""The limit that finds itself: how many attempts this pod should keep in flight, learned from how its attempts went.

What is maximised is goodput, for that is what the user wants under every kind of upstream. These move the limit:

    the ramp          after a start, up by a quarter a second until the upstream shows resistance        ramp.py
    the experiment    the elasticity of goodput, eta, from what all pods do at the same instants        experiment.py
    the leap          half as much again for a moment, all pods at once, to see whether there is more      leap.py
    the setback       suddenly slow: half the load for a moment, to see whether that is the load's        setback.py
    the ceiling       too many failures: a fifth less at once, then back along a cubic                    ceiling.py
    the gate          nothing but failures: outage.py holds everybody; here is learned what follows     pace.py
    refusals          fast and whatever is in flight: attempts start evenly, at a rate that follows them   refusals.py

and at the end of each pair of the experiment (steps.py), with z = eta - 0.5 and its standard error se, u = sqrt(limit):

    z > 0.25 + se       + 0.4 z u (1 + 1.5 streak)        clearly more is more
    z > 0.5 se          + 0.4 (z - 0.5 se) u               and latency is at its floor
    none of these       + 1.0 z20 u                        z20 > 0.5 se20: the same from 20 pairs at about the same limit
    z < -0.5 se         - limit * min(0.25, 0.2 |z|), thrice that where it is clear
    always              + 0.08 u * min(4, duty) / 3       pressure: small pods gain on large ones; less where answers are few
    contention          + 0.2 (u - limit / 1.7)            the same, stronger, where latency is above its floor and eta low
    failures            - 1.5 w limit * min(0.15, excess)  excess: share beyond the acquitted and 2 %, times the blame on load;
                                                           w: sqrt(limit / 2.9), from 0.6 to 1.6

Without evidence eta is believed to be high while latency is at its floor and about neutral while it is above (``_prior``).
Nothing grows that is not used up, and failures that do not answer to the load cost nothing (blame.py). The design and the figures
behind it are in docs/adaptive.md; every parameter was chosen in tests/sim.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Final

from proxy.admit.blame import Blame
from proxy.admit.ceiling import CUT, Ceiling
from proxy.admit.experiment import EPS, Elasticity, Half, Schedule
from proxy.admit.leap import LEAP, Leap
from proxy.admit.limit import Verdict
from proxy.admit.pace import Pace
from proxy.admit.ramp import BACK, HIGHEST, STEP, UNOPPOSED, UP, Ramp
from proxy.admit.refusals import Refusals
from proxy.admit.setback import DOWN, Setback
from proxy.admit.slots import Slots
from proxy.admit.steps import FREE, Growth, lasting_growth, levelling, penalty, pressure
from proxy.admit.traffic import JITTER_S, SECONDS, Traffic
from proxy.base.outcomes import AttemptOutcome

LOWEST: Final = 0.2
"""Below it a pod would learn too slowly to come back; 64 pods at it keep 13 in flight."""
UNKNOWN: Final = 0.45
"""What elasticity is believed to be, without evidence, where latency is above its floor."""
PROVEN: Final = -0.5
"""The same where slowness was shown to be the load's."""
SPARED_CUT: Final = 1.0
FEW: Final = 7.0
"""Successes a second under which every pair is an experiment, and remembered longer."""
UNHINDERED: Final = 1.1
"""Contention under which answers take what they take at best, for who holds one block of 32 against the lowest."""
ACQUIT_RATE: Final = 5.0
"""Successes a second under which there is too little to acquit by."""
FAILS_LITTLE: Final = 0.03
"""Unexplained failures above which only a proof lets the limit grow."""
CALM_DUTY: Final = 6
RESTART: Final = 0.85
SLOW_SINCE_START: Final = 1.5
STICKY: Final = 0.75
"""How far a limit must be from the whole number it is held at before it is held at another."""
WAY_DOWN: Final = 0.85
"""A step down below so much of the limit says that there is more to come."""
UNPAIRED: Final = 0.4
"""Share of the penalty for failures in a pair without experiment."""
LEAP_FROM_S: Final = 45.0
"""By then the ramp of every pod that started at the same time has ended."""
LEAP_AFTER_S: Final = 30.0
LEAP_SETTLED: Final = 0.25
"""Share of a half that settling may take for half of it to be enough for a leap."""
LEAP_FAILING: Final = 0.1
AFTER_LEAPS_S: Final = 20.0
BETWEEN: Final = 1.2
"""Where a row of leaps comes to rest: the way up ends somewhere between 1 and 1.5."""
SETBACK_AFTER_S: Final = 10.0
SWING: Final = 0.05
"""How much faster and slower attempts start in the halves of a pair while they start at a rate."""
ROOM: Final = 6.0
"""How many times what a rate keeps in flight on average the limit lets through, and one more."""
BLIP_S: Final = 3.0
"""An outage so short says nothing of a quota's length."""
NO_LOAD: Final = -2.7
"""Odds of the load's blame under which a rate has nothing to do with the failures."""
_TICK_S: Final = 0.25
_NOTES: Final = 200


class AdaptiveLimit:
    """The learning limit behind the Limit seam. Pure: fed outcomes and the clock, it opens no socket and sleeps nowhere.

    ``now`` is monotonic seconds and ``wall`` the Unix seconds of the same moment; ``salt`` names the upstream, the same on every
    pod. ``lowest`` and ``highest`` bound the limit; a lowest of 1 or less means as little as it takes.
    """

    is_plain: Final = False

    def __init__(
        self,
        *,
        now: float,
        wall: float,
        rng: random.Random,
        salt: bytes = b"",
        start: float = 1.0,
        lowest: float = LOWEST,
        highest: float = 256.0,
    ) -> None:
        self.limit = min(max(start, lowest), highest)
        self.value = max(1, int(self.limit))
        self.notes: deque[tuple[float, str]] = deque(maxlen=_NOTES)
        """Decisions: monotonic seconds and words, the newest last."""
        self.base_rate = 0.0
        """Share of failures that is nobody's fault here."""
        self._rng = rng
        self._wall_offset = wall - now
        self._lowest = lowest
        self._highest = highest
        self._whole = 0.0
        self._slots = Slots(now, self.limit)
        self._traffic = Traffic(now)
        self._ramp: Ramp | None = Ramp(now)
        self._schedule = Schedule(salt)
        self._elasticity = Elasticity()
        self._growth = Growth()
        self._leap = Leap()
        self._leap_ends_before_s = 0.0
        self._setback = Setback()
        self._blame = Blame()
        self._ceiling = Ceiling(now)
        self._pace = Pace()
        self._refusals = Refusals()
        self._limit_before_rate = self.limit
        self._number = -1
        self._phase = 0
        self._half: Half | None = None
        self._first: Half | None = None
        self._next_tick = now
        self._is_blocked = False
        self._was_reached = False
        self._is_few = True
        self._floor_at_start_s = math.inf
        self._began_at = now
        self._peak = 0
        self._alert_until = now + 60.0
        self._is_gated = False
        self._gated_at = -math.inf
        self._gated_limit = self.limit

    # what the limiter asks

    @property
    def inflight(self) -> int:
        """Attempts under way."""
        return self._slots.inflight

    def next_start_s(self, now: float) -> float:
        """Bring ``value`` up to date; 0.0 when an attempt may start, else the wait the learned pace asks for."""
        if now >= self._next_tick:
            self._tick(now)
        self._settle(now)
        self.value = self._slots.open_slots(now)
        return self._pace.wait_s(now)

    def next_change_s(self, now: float) -> float:
        """Return when ``value`` may rise by time alone."""
        return max(0.001, min(self._next_tick, self._slots.next_change_at(now)) - now)

    def on_start(self, now: float) -> None:
        """An attempt starts."""
        self._settle(now)
        half = self._half
        if self._refusals.rate and half is not None:
            half.was_binding = True  # the rate is what holds the traffic
        slots = self._slots
        slots.inflight += 1
        if slots.inflight > self._peak:
            self._peak = slots.inflight
        if not self._is_gated:
            self._pace.on_start(now, 1.0 + SWING * self._phase if self._refusals.rate else 1.0)

    def on_blocked(self, now: float) -> None:
        """Somebody waits: the limit is what holds the traffic."""
        self._is_blocked = self._was_reached = True
        half = self._half
        if half is not None:
            half.was_binding = True

    def on_outcome(self, outcome: AttemptOutcome, verdict: Verdict) -> None:
        """Learn from an attempt that ended. IGNORE frees its slot and teaches nothing."""
        now = outcome.ended_at
        self._settle(now)
        slots = self._slots
        slots.inflight -= 1
        if verdict is Verdict.IGNORE:
            return
        succeeded = verdict is Verdict.SUCCESS
        started_at = outcome.started_at
        took_s = outcome.latency_s
        traffic = self._traffic
        self._refusals.note(now, succeeded, took_s, traffic.latency_s, slots.inflight)
        traffic.note(now, succeeded, took_s)
        slots.usual_s = traffic.latency_s
        if succeeded:
            self._pace.on_success(now)
            self._setback.note_answer(started_at, took_s)
        else:
            until = started_at + traffic.latency_s * self._rng.uniform(0.7, 1.3)
            if until > now:
                slots.cool(until)
        ramp = self._ramp
        if ramp is not None:
            ramp.note(started_at, succeeded, took_s)
        half = self._half
        if half is not None:
            half.note(now, succeeded, now - started_at)  # Little's law goes by how long slots are held
        if self._is_gated or started_at <= self._ceiling.cut_at:
            return
        if self._leap.half is not None:
            if not succeeded and self._leap.is_hopeless():
                self._land()
            return
        if self._ceiling.is_alarming(now, succeeded, self._borne(now), self._pace.rate > 0.0):
            self._cut(now)

    # the gate

    def on_gate_closed(self, now: float) -> None:
        """Nothing but failures: everybody is held, probes apart."""
        self._land()
        before = self._setback.limit if self._setback.is_on else self.limit
        self._setback.is_on = False
        self._is_gated = True
        self._gated_at = now
        cut_lately = now - self._ceiling.lowered_at < 10.0
        self._gated_limit = max(before, self._ceiling.before_cuts if cut_lately else 0.0)
        self._spoil_half()
        if self._first is not None:
            self._first.is_clean = False

    def on_gate_opened(self, now: float) -> None:
        """An attempt went well again."""
        self._is_gated = False
        if self._refusals.rate and now - self._gated_at > BLIP_S:
            self._refusals.rate = 0.0
            self._pace.follow(now, 0.0)
            self._gated_limit = min(self._gated_limit, self._limit_before_rate)
        if not self._refusals.rate:
            self._say(now, self._pace.on_open(now))
        self._move(RESTART * self._gated_limit)
        self._ceiling.restart(now, 0.97 * self._gated_limit)
        if self._ramp is not None:
            self._ramp = Ramp(now)  # it was on its way up: from here, anew

    # the operator's side

    def set_bounds(self, lowest: float, highest: float) -> None:
        """Put other bounds in force; what was learned stays."""
        self._lowest = lowest
        self._highest = highest
        self._move(self.limit)

    def set_wall(self, now: float, wall: float) -> None:
        """Follow a clock that was put right."""
        self._wall_offset = wall - now

    def inside(self) -> dict[str, float]:
        """Return what it goes by, for gauges and /decisions."""
        return {
            "exact": self.limit,
            "elasticity": self._elasticity.value,
            "elasticity_error": self._elasticity.error,
            "pairs": float(self._elasticity.pairs),
            "blame": self._blame.value,
            "failing": self._traffic.failing,
            "acquitted": self.base_rate,
            "contention": self._traffic.contention(),
            "ceiling": self._ceiling.top,
            "pace": self._pace.rate or math.inf,
        }

    def __repr__(self) -> str:
        return f"<AdaptiveLimit {self.limit:.2f}, {self.inflight} in flight>"

    # time

    def _settle(self, now: float) -> None:
        inflight = self._slots.inflight
        passed_s = self._slots.settle(now)
        half = self._half
        if half is not None and passed_s > 0.0:
            half.stay(now, passed_s, inflight)

    def _tick(self, now: float) -> None:
        wall = now + self._wall_offset
        number = self._schedule.half_at(wall)
        if number != self._number:
            self._turn(now, number)
        until_end_s = self._schedule.end_of(self._number) - wall
        if self._leap.half is not None and until_end_s <= self._leap_ends_before_s:
            self._leave_leap(now)
        if self._leap.half is not None:
            until_end_s -= self._leap_ends_before_s
        self._next_tick = now + max(0.001, min(_TICK_S, until_end_s))
        if self._is_gated:
            return
        if self._ramp is not None:
            self._climb(now, wall, self._ramp)
        else:
            limit = self._ceiling.recovery(now, self.limit)
            if limit != self.limit and self._leap.half is None:
                self._move(limit)
            if self._setback.is_on:
                self._hear(now)
        if self._pace.rate:
            self._say(now, self._pace.grow(now))

    def _climb(self, now: float, wall: float, ramp: Ramp) -> None:
        verdict = ramp.verdict(now, wall, self.limit)
        self._traffic.floor_s = ramp.floor_s
        if not verdict:
            return
        if verdict == UP:
            if self._is_blocked:
                self._elasticity.fade(0.3)
                self._is_blocked = False
                self._move(min(max(HIGHEST, self.limit), self.limit * STEP))
            return
        self._end_ramp()
        if self._is_blocked and verdict != UNOPPOSED:
            self._move(self.limit * BACK)
        self._say(now, f"the way up ends at {self.limit:.2f} in flight: {verdict}")

    def _end_ramp(self) -> None:
        ramp = self._ramp
        if ramp is not None:
            if ramp.floor_s:
                self._floor_at_start_s = ramp.floor_s
            if ramp.rungs.is_acquitted:
                self.base_rate = ramp.rungs.steady
                self._blame.lean(ramp.rungs.odds)
        self._ramp = None
        self._traffic.forget_block()

    def _spoil_half(self) -> None:
        """Something else than the experiment moved the load in this half."""
        if self._half is not None:
            self._half.is_clean = False

    def _turn(self, now: float, number: int) -> None:
        """One half ends and the next begins."""
        ended, before = self._half, self._number
        follows = before == number - 1
        self._number = number
        self._half = None
        was_held = ended is not None and ended.was_binding
        is_running = self._ramp is None and not self._is_gated
        if self._leap.half is not None:
            self._end_leap(now)
        elif ended is not None and not self._setback.is_on:
            self._leap.note(ended)
            if self._setback.note(ended):
                self._alert_until = now + 30.0
        if is_running:
            self._traffic.note_block(now)
            if self._may_ask(now):
                self._ask(now)
        if number & 1:
            self._first = ended if follows else None
        else:
            self._end_pair(now, self._first if follows else None, ended)
            self._first = None
            if self._leap.half is None and not self._leap.has_passed and self._follow_latency(now):
                return
        if is_running and not self._setback.is_on and was_held and self._may_leap(now, number):
            self._begin_leap(now, self._leap_pause_s())
            return
        self._set_phase(self._schedule.phase_of(number) if is_running else 0)
        self._half = Half(self._phase, self._middle(), now + self._settling_s())

    def _settling_s(self) -> float:
        """Return how long a change of load takes to be what is seen."""
        return min(self._schedule.period_s / 2.0, 1.5 * self._traffic.latency_s)

    def _end_pair(self, now: float, first: Half | None, second: Half | None) -> None:
        if self._setback.is_on:
            pass  # what is seen now is the answer to another question
        elif first is not None and second is not None and first.phase and second.phase:
            self._take_pair(now, first, second)
        elif self._ramp is None and not self._is_gated:
            cost = self._penalty()
            if cost > 0.0:
                self._apply(now, -UNPAIRED * cost)
        if not self._is_gated:
            self._follow_refusals(now)
        self._follow_demand()
        self._choose_pairs(now)

    def _follow_refusals(self, now: float) -> None:
        """Start attempts evenly, at a rate, where it is a rate that is refused."""
        refusals, traffic = self._refusals, self._traffic
        had_rate = refusals.rate > 0.0
        if had_rate:
            self._say(
                now, refusals.turn(now, self.base_rate, self._blame.odds < NO_LOAD, self._pace.has_held())
            )
        elif self._is_refused(now):
            seen_s = min(float(SECONDS), max(1.0, now - self._began_at))
            self._say(now, refusals.begin(traffic.ok_per_s(now) * SECONDS / seen_s))
            self._ceiling.top = math.inf
            self._limit_before_rate = self.limit
        if refusals.rate or had_rate:
            self._pace.follow(now, refusals.rate)
            room = ROOM * refusals.rate * traffic.latency_s + 1.0
            self._move(max(self.limit, room) if refusals.rate else min(self.limit, self._limit_before_rate))

    def _is_refused(self, now: float) -> bool:
        traffic = self._traffic
        if self._pace.rate or self._ramp is not None:
            return False
        if traffic.contention() > UNHINDERED or traffic.ok_per_s(now) < ACQUIT_RATE:
            return False
        if self._blame.is_known and self._blame.value < 0.4:
            return False
        return self._refusals.look_like_a_rate(
            now, traffic.latency_s, traffic.failed_share(now) - self.base_rate
        )

    def _follow_latency(self, now: float) -> bool:
        """Take halves that are long enough for the latency; whether that changed them."""
        latency_s = self._traffic.latency_s
        if not latency_s or not self._schedule.adopt(latency_s):
            return False
        self._number = self._schedule.half_at(now + self._wall_offset)
        self._set_phase(0)
        return True

    # the leap, and the question after a setback

    def _may_leap(self, now: float, number: int) -> bool:
        leap = self._leap
        if self.limit * LEAP > self._highest:
            leap.has_passed = False
            return False
        return leap.has_passed or (
            leap.is_due(number)
            and not self._pace.rate
            and self._unexplained < LEAP_FAILING
            and now - self._ceiling.cut_at > LEAP_AFTER_S
            and now - self._began_at > LEAP_FROM_S
            and not self._setback.is_proven(now)
        )

    def _leave_leap(self, now: float) -> None:
        """The leap is over in the middle of a half; who passed leaps on."""
        self._end_leap(now)
        if self._leap.has_passed and self._may_leap(now, self._number):
            self._begin_leap(now, 0.0)
            return
        self._half = Half(0, self._middle(), now + self._settling_s())
        self._spoil_half()

    def _leap_pause_s(self) -> float:
        """Return how long before its half a leap ends: half of it, unless half is too short for answers that take long."""
        period_s = self._schedule.period_s
        return 0.5 * period_s if self._settling_s() < LEAP_SETTLED * period_s else 0.0

    def _begin_leap(self, now: float, ends_before_s: float) -> None:
        self._leap_ends_before_s = ends_before_s
        before = self.limit
        half = Half(0, before, now + self._settling_s())
        self._phase = 0
        self._leap.begin(half)
        self._half = half
        self._move(before * LEAP)

    def _end_leap(self, now: float) -> None:
        half = self._leap.half
        before = self._leap.end()
        if self._leap.has_passed:
            self._elasticity.fade(0.3)
            self._ceiling.top = math.inf
            self._say(
                now,
                f"leapt from {before:.2f} to {self.limit:.2f} in flight: 1 % more load moved goodput by "
                f"{self._leap.elasticity:.2f} %",
            )
            return
        is_row = self._leap.passed > 1
        if is_row:
            self._alert_until = now + AFTER_LEAPS_S
        if half is not None and half.is_clean:
            self._move(BETWEEN * before if is_row else before)

    def _land(self) -> None:
        """Go back to where the leap under way began."""
        half = self._leap.half
        if half is not None and half.is_clean:
            half.is_clean = False
            self._move(half.limit)

    def _may_ask(self, now: float) -> bool:
        is_calm = now - self._ceiling.cut_at > SETBACK_AFTER_S and not self._pace.rate
        return (
            is_calm
            and self.limit > 2.0 * self._lowest
            and not self._setback.is_on
            and self._setback.is_due(now)
        )

    def _ask(self, now: float) -> None:
        self._setback.begin(now, self.limit)
        self._leap.has_passed = False
        self._say(
            now,
            f"answers are suddenly slow: {self.limit:.2f} in flight halved, to see whether that is the load's",
        )
        self._move(DOWN * self.limit)

    def _hear(self, now: float) -> None:
        """See what half the load did."""
        setback = self._setback
        if self._ceiling.cut_at > setback.began_at:
            setback.is_on = False
            return
        if not setback.has_answer(now):
            return
        if not setback.end(now):
            self._move(setback.limit)
        else:
            self._move(setback.factor * self.limit)
        self._spoil_half()
        self._leap.forget()
        self._elasticity.fade(0.3)
        self._say(
            now,
            f"{self.limit:.2f} in flight: half of {setback.limit:.2f} moved goodput as if 1 % more load moved it by "
            f"{setback.elasticity:.2f} %",
        )

    def _follow_demand(self) -> None:
        """Bring a limit that nobody reached down to what was in flight, where there is contention: it must bind to learn."""
        peak = float(self._peak)
        self._peak = self._slots.inflight
        traffic = self._traffic
        is_near_floor = (
            traffic.contention() < FREE
            and traffic.latency_s < SLOW_SINCE_START * self._floor_at_start_s + JITTER_S
        )
        is_harmless = is_near_floor and (self._blame.value < 0.3 or self._unexplained < 0.03)
        is_free = self._ramp is None and not self._is_gated and not self._was_reached
        if is_free and 0.0 < peak < self.limit and not is_harmless:
            self._move(max(peak, 0.85 * self.limit))  # an app that rests a while comes back to most of it
        self._was_reached = False

    def _choose_pairs(self, now: float) -> None:
        """Experiment in every pair where answers are few or news is expected, in some where all is calm."""
        is_few = self._is_few = self._traffic.ok_per_s(now) < (1.25 * FEW if self._is_few else FEW)
        self._schedule.duty = 1 if is_few or now < self._alert_until else CALM_DUTY
        self._elasticity.remember(long=is_few)

    # decisions

    @property
    def _unexplained(self) -> float:
        """Share of failures beyond the acquitted."""
        return self._traffic.failing - self.base_rate

    def _penalty(self) -> float:
        """Return what failures cost the limit, in attempts in flight: nothing where it is a rate that is refused."""
        return 0.0 if self._refusals.rate else penalty(self.limit, self._unexplained, self._blame.value)

    def _prior(self, now: float) -> float:
        """What is believed of the elasticity without evidence: no contention, no harm."""
        least = PROVEN if self._setback.is_proven(now) else UNKNOWN
        return max(least, 0.8 - 2.5 * math.log(max(self._traffic.contention(), 1.0)))

    def _take_pair(self, now: float, first: Half, second: Half) -> None:
        high, low = (first, second) if first.phase > 0 else (second, first)
        elasticity = self._elasticity
        if not elasticity.take(high, low, self.base_rate):
            return
        self._blame.take(high, low)
        elasticity.estimate(self._prior(now))
        self._acquit(now)
        if self._refusals.rate:
            return  # it is not the limit that holds the traffic
        contention = self._traffic.contention()
        limit, value = self.limit, elasticity.value
        unit = math.sqrt(limit)
        unexplained = self._unexplained
        step = self._growth.step(value, elasticity.error, limit, unit, contention)
        if step <= 0.0 and not self._is_few and unexplained < FAILS_LITTLE:
            step += lasting_growth(value, elasticity.lasting, elasticity.lasting_error, unit)
        step += pressure(unit, self._schedule.duty, self._is_few)
        step -= self._penalty()
        step += levelling(value, limit, unit, contention, unexplained)
        self._apply(now, step)

    def _apply(self, now: float, step: float) -> None:
        limit = self.limit
        wanted = limit + step
        if step > 0.0:
            if not self._is_blocked or self._pace.rate:
                return
            wanted = min(wanted, max(limit, self._ceiling.cap(now)))
        self._is_blocked = False
        wanted = min(max(wanted, self._lowest), self._highest)
        if wanted < WAY_DOWN * limit:
            self._alert_until = max(self._alert_until, now + 6.0)
        if wanted != limit:
            self._elasticity.note_move(wanted / limit)
            self._move(wanted)
            self._say_moved(now, limit)

    def _acquit(self, now: float) -> None:
        """Take failures that do not answer to the load off the account, and put them back when they begin to."""
        blame, failing, base = self._blame, self._traffic.failing, self.base_rate
        if failing < base:
            self.base_rate += 0.3 * (failing - base)
        elif failing < 0.5 and blame.is_disproved(failing) and self._may_acquit(now):
            if failing > base + 0.03:
                words = f"{failing:.1%} of the attempts fail whatever the load ({blame.describe()})"
                self._say(now, f"{words}: not held against it")
            self.base_rate += 0.5 * (failing - base)
        elif blame.value > 0.9:
            self.base_rate *= 0.7
        if self._unexplained > 0.03 and blame.value < 0.9:
            self._alert_until = max(self._alert_until, now + 15.0)

    def _may_acquit(self, now: float) -> bool:
        """Whether silence of the arms means anything."""
        return not (
            self._blame.is_clustered
            or self._pace.rate
            or now - self._gated_at < 60.0
            or self._traffic.contention() > 1.3
            or self._traffic.ok_per_s(now) < ACQUIT_RATE
        )

    def _borne(self, now: float) -> float:
        """Return the share of failures that is no reason to cut."""
        base, failing = self.base_rate, self._traffic.failing
        if failing > base and self._may_acquit(now):
            base += (failing - base) * (1.0 - self._blame.value)
        return base if self._ramp is None else max(base, self._ramp.borne)

    def _cut(self, now: float) -> None:
        limit = self.limit
        traffic = self._traffic
        share_failed = traffic.failed_share(now)
        if self._refusals.rate:
            self._ceiling.note_alarm(now, traffic.latency_s)
            self._refusals.cut(traffic.ok_per_s(now))
            self._pace.follow(now, self._refusals.rate)
            return
        least = self._ceiling.cut(now, limit, share_failed, self._lowest, traffic.latency_s)
        if share_failed < 0.2:
            least = max(least, min(SPARED_CUT, limit))
        self._move(min(limit, max(least, CUT * min(limit, self._peak + 0.5))))
        self._peak = self.inflight
        self._elasticity.fade(0.3)
        self._spoil_half()
        if self._ramp is not None:
            self._end_ramp()
        self._pace.cut(now, traffic.ok_per_s(now))
        self._say(
            now,
            f"cut from {limit:.2f} to {self.limit:.2f} in flight: {share_failed:.0%} of the attempts failed",
        )

    def _move(self, limit: float) -> None:
        self.limit = min(max(limit, self._lowest), self._highest)
        self._slots.set_limit(self._middle() * (1.0 + EPS * self._phase))

    def _middle(self) -> float:
        """Return what is kept in flight, the experiment aside: the whole number nearest to the limit, where that is calm.

        Eight pods with a part-time slot each have 1.2 more or fewer in flight than they mean to, all the time, by chance.
        """
        limit = self.limit
        if limit < 0.9 or self._is_few:
            self._whole = 0.0
            return limit
        if (
            self._ramp is not None
            or self._leap.half is not None
            or self._ceiling.is_recovering(self._slots.at)
        ):
            return limit
        if not self._whole or abs(limit - self._whole) > STICKY:
            self._whole = max(1.0, float(round(limit)))
        return limit if self._phase and self._schedule.duty == 1 else self._whole

    def _set_phase(self, phase: int) -> None:
        self._phase = phase
        self._move(self.limit)

    def _say_moved(self, now: float, before: float) -> None:
        if abs(self.limit - before) > 0.05 * before:
            elasticity = self._elasticity
            self._say(
                now,
                f"{before:.2f} to {self.limit:.2f} in flight: 1 % more load moves goodput by "
                f"{elasticity.value:.2f} ± {elasticity.error:.2f} %, {self._traffic.failing:.1%} fail",
            )

    def _say(self, now: float, text: str) -> None:
        if text:
            self.notes.append((now, text))
