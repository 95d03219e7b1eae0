"""HOLD: the best height known, with short visits elsewhere to see whether it still is.

Every visit is A-B-A: some windows here, some there, and here again; what is compared is there with the mean of the two, so that a
change that came meanwhile is not taken for the visit's doing.

    up, down    what worth does above and below: two slopes, d worth / d ln n. Visited while slope + 0.6 sd promises something,
                up also now and then. Clear: there it goes on as a SEARCH. Likely: one step that way
    half        answers took a quarter longer at once, or failed slowly: if half the load is worth more, a SEARCH down begins
    rate        refusals go on while latency is at its floor: start attempts at the rate that was carried; where more comes of
                that, PACE begins

The step of a visit is 8 %, more where pages are few: what is to be seen must stand out from chance. Which visit: the alarm
first, then refusals, then the slopes. A look that found nothing is repeated after a pause that doubles.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct, field

from proxy.learn.decision import Decision
from proxy.learn.evidence.ground import Ground, Point, joined
from proxy.learn.evidence.visit import Slope, Visit
from proxy.learn.parameters import HOLDING, SEARCHING, SIGHT
from proxy.learn.scene import Scene

if TYPE_CHECKING:
    from proxy.learn.modes.pace import Pace
    from proxy.learn.modes.search import Search

_BASE = 4
_LONGEST_BASE = 10
"""Windows here that a visit is held against, before it: more where pages are few."""


class Hold(Struct, tag="hold"):
    """A height and what is known around it."""

    home: int
    opening: str = ""
    came_from: int = 0
    """The height that was held before, 0 for none."""
    recent: list[Point] = []
    """The last clean windows here, the newest last."""
    strain: float | None = None
    """Usual strain here: ln of the latency."""
    above: Slope = field(default_factory=Slope)
    below: Slope = field(default_factory=Slope)
    visit: Visit | None = None
    latest: list[Point] = []
    """The last two windows of a visit."""
    trouble: list[Point] = []
    """The last windows in a row in which far more failed than is usual."""
    looks: int = 0
    """How often half the load was tried in that."""
    settled_at: float = 0.0
    recheck_at: float | None = None
    """When to search upwards after a way down: what fell may be back."""

    def enter(self, s: Scene) -> Decision:
        """Go there."""
        was_vain = self.came_from > 0 and abs(math.log(self.home / self.came_from)) < HOLDING.vain
        s.caution.leap.begin(s.t, HOLDING.leap_longest_s, was_vain=was_vain, shortest_s=HOLDING.leap_s)
        s.caution.alarm.begin(s.t, HOLDING.pause_longest_s, was_vain=was_vain)
        self.settled_at = s.t
        if self.recheck_at is not None:
            self.recheck_at = s.t + HOLDING.pause_s
        return Decision(self.home, because=self.opening)

    def step(self, s: Scene) -> Decision | Search | Pace:
        """Watch, and look around."""
        if s.is_clean:
            found = self._at_home(s) if self.visit is None else self._away(s, self.visit)
            if found is not None:
                return found
        visit = self.visit
        if visit is None or visit.is_back:
            return Decision(self.home)
        return Decision(visit.n, visit.rate)

    def interrupt(self, s: Scene, *, flapped: bool) -> str:
        """The gates closed and opened: what was under way says nothing. Where they keep closing, this is too much.

        Return what was decided, in words; "" for nothing.
        """
        why = ""
        if flapped and self.home > 1:
            lower = max(1, round(self.home * HOLDING.yields))
            why = f"the outage gates keep closing at {self.home}: {lower}"
            s.caution.build_wall(s.t, self.home)
            self._move(s, lower, math.log(HOLDING.yields), why)
        elif self.visit is not None and self.visit.kind == "up":
            s.caution.hits += 1
            if s.caution.hits >= 2:
                s.caution.build_wall(s.t, self.visit.n)
        self.visit, self.recent = None, []
        return why

    def _at_home(self, s: Scene) -> Decision | Search | None:
        if self._is_disturbed(s):
            return self._endure(s)
        self.looks, self.trouble = 0, []
        self._watch(s)
        return self._look(s)

    def _away(self, s: Scene, visit: Visit) -> Decision | Search | Pace | None:
        point = s.point()
        self.latest = [*self.latest[-1:], point]
        is_plain = visit.kind == "down" or (visit.kind == "up" and visit.is_back)
        if is_plain and self._rise(s.ground, self.latest) > 0:
            # Something else happened: what was under way says nothing.
            self.visit, self.recent = None, self.latest
        elif not visit.is_back:
            if point.is_settled or visit.there.windows or visit.unsettled >= SIGHT.longest_settling:
                visit.is_back = self._has_seen_enough(s, visit)
            visit.unsettled += 1
        elif visit.kind == "half" or not self._is_disturbed(s):
            visit.after.add(s.window, s.slots)
            if self._is_back_for_long(visit):
                return self._judge(s, visit)
        return None

    # watching

    def _is_disturbed(self, s: Scene) -> bool:
        """Whether far more fails here than is usual."""
        w, usual = s.window, s.ground.failing
        sd = math.sqrt(max(usual, 0.01) * (1 - usual) / max(1, w.attempts))
        return w.failing - usual > max(HOLDING.burst_share, HOLDING.alarm_sd * sd)

    def _endure(self, s: Scene) -> Decision | None:
        """Trouble: nothing is learned while it lasts. Half the load shows whether load is to blame; if not, it becomes usual."""
        s.ground.note_failures(s.window)
        point = s.point()
        self.trouble = [*self.trouble[1 - HOLDING.burst_windows :], point]
        if len(self.trouble) < HOLDING.burst_windows or s.t < s.caution.alarm.until:
            return None
        self.looks += 1
        if self.looks > HOLDING.looks or self.home <= 1:
            s.ground.accept(joined(self.trouble))
            return None
        return self._begin(s, "half", max(1, round(self.home / 2)), joined(self.trouble[-2:]), rounds=2)

    def _watch(self, s: Scene) -> None:
        w = s.window
        point = s.point()
        if self.recent and w.ok and self.recent[-1].ok:
            s.ground.note_pair(self.recent[-1], point)
        self.recent = [*self.recent[1 - _LONGEST_BASE :], point]
        s.ground.note_failures(w)
        if self.strain is None:
            self.strain = point.strain
        elif not self._is_alarming(s.ground):
            self.strain += HOLDING.usual * (point.strain - self.strain)
        per_s = max(1.0, w.ok / SIGHT.period_s)
        fade = math.exp(-SIGHT.period_s / max(HOLDING.memory_s, HOLDING.memory_pages / per_s))
        self.above.fade(fade)
        self.below.fade(fade)

    def _is_alarming(self, ground: Ground) -> int:
        """Return 1 when answers became slow at once, -1 when fast, else 0."""
        return self._rise(ground, self.recent[-2:])

    def _rise(self, ground: Ground, latest: list[Point]) -> int:
        """Return 1 or -1 where the last two windows lie clearly above or below the usual strain."""
        last = joined(latest)
        rise = last.strain - (last.strain if self.strain is None else self.strain)
        sure = HOLDING.alarm_sd * math.sqrt(ground.variance(last))
        if last.windows < 2 or last.ok < 0.5 * SIGHT.few or abs(rise) < max(HOLDING.alarm, sure):
            return 0
        return 1 if rise > 0 else -1

    def _has_seen_enough(self, s: Scene, visit: Visit) -> bool:
        there = visit.there
        there.add(s.window, s.slots)
        if visit.rate:
            return there.windows >= visit.windows
        if not there.is_turned_over and there.windows < 2 * visit.windows:
            return False
        sd = math.sqrt(s.ground.variance(there))
        return sd < HOLDING.blur * abs(math.log(visit.n / visit.home)) or there.windows >= visit.windows

    def _is_back_for_long(self, visit: Visit) -> bool:
        """Whether what is seen here again weighs as much as half of what was seen there."""
        there, after = visit.there, visit.after
        if visit.rate:
            return after.windows >= there.windows
        return (
            2 * after.windows >= there.windows
            and (after.is_turned_over or after.windows >= there.windows)
            and (2 * after.ok >= there.ok or after.windows >= 2 * there.windows)
        )

    # where to look

    def _look(self, s: Scene) -> Decision | Search | None:
        """Begin a visit or a search, if there is reason for one."""
        lately = joined(self.recent[-2:])
        here = joined(self.recent[-_BASE:])
        if here.ok < SIGHT.few:
            here = joined(self.recent)
            if here.ok < SIGHT.few and here.windows < _LONGEST_BASE:
                return None
        turn = self._is_alarming(s.ground)
        if turn and s.t >= s.caution.alarm.until:
            # What is known of the slopes is known of another upstream.
            self.above.fade(HOLDING.surprise)
            self.below.fade(HOLDING.surprise)
            if turn > 0 and self.home > 1:
                return self._begin(s, "half", max(1, round(self.home / 2)), lately, rounds=2)
            self.strain = lately.strain
            s.caution.alarm.begin(s.t, HOLDING.pause_longest_s, was_vain=True)
            if turn < 0 and here.is_short:
                return self._search_up(self._step_to(s, here, 1), lately)
        refused = self._refused(s.ground)
        if refused and s.t >= s.caution.refusal.until and self.home > 1:
            s.caution.refusal.begin(s.t, HOLDING.pause_longest_s, was_vain=True)
            self.below.fade(HOLDING.surprise)
            lower = max(1, min(self.home - 1, round(self.home * max(HOLDING.yields, 1 - refused / 2))))
            return self._begin(s, "down", lower, lately)
        is_due = s.t >= max(s.caution.pacing.until, self.settled_at + HOLDING.pause_s)
        if (
            here.refusing > HOLDING.refused_share / 2
            and here.fast >= 5
            and is_due
            and not s.ground.is_contended
        ):
            return self._begin(s, "rate", room(s, self.home, here.per_s), here, rate=here.per_s, windows=5)
        if self.recheck_at is not None and s.t >= self.recheck_at and here.is_short:
            self.recheck_at = None
            return self._search_up(self._step_to(s, here, 1), here)
        easier = (here.strain if self.strain is None else self.strain) - here.strain
        is_easier = easier > max(HOLDING.easier, HOLDING.surprised_sd * math.sqrt(s.ground.variance(here)))
        if here.is_short and (is_easier or s.t >= s.caution.leap.until):
            leap = max(self._step_to(s, here, 1), round(self.home * HOLDING.leap))
            if s.caution.may_go(s.t, leap):
                return self._begin(s, "up", leap, here)
        side = self._side(s, here)
        return (
            self._begin(s, "up" if side > 0 else "down", self._step_to(s, here, side), here) if side else None
        )

    def _begin(
        self, s: Scene, kind: str, n: int, before: Point, *, rate: float = 0.0,
        windows: int = HOLDING.visit_windows, rounds: int = 1,
    ) -> Decision:  # fmt: skip
        self.latest = []
        self.visit = Visit(kind, n, self.home, before, rate, windows=windows, rounds=rounds, began_at=s.t)
        return Decision(n, rate)

    def _refused(self, ground: Ground) -> float:
        """Return the share refused at the door beyond the usual, 0.0 where that may be chance."""
        last = joined(self.recent[-2:])
        if last.windows < 2 or last.fast < 3:
            return 0.0
        usual = ground.refusing
        sd = math.sqrt(max(usual, 0.01) * (1 - usual) / last.attempts)
        beyond = last.refusing - usual
        return beyond if beyond > max(HOLDING.refused_share, 3 * sd) else 0.0

    def _step(self, s: Scene) -> float:
        """Return the length (ln) of a visit's step: what chance leaves to be seen in the longest visit."""
        per_window = joined(self.recent).ok / len(self.recent)
        full = Point(ok=per_window * HOLDING.visit_windows, windows=HOLDING.visit_windows)
        return min(
            HOLDING.longest_step,
            max(HOLDING.step, math.sqrt(1.5 * s.ground.variance(full)) / HOLDING.contrast),
        )

    def _step_to(self, s: Scene, here: Point, side: int) -> int:
        ratio = math.exp(self._step(s))
        if side > 0:
            return max(self.home + 1, round(self.home * ratio))
        return max(1, min(self.home - 1, round(min(self.home, here.n / max(here.use, 0.5)) / ratio)))

    def _side(self, s: Scene, here: Point) -> int:
        """Return which side to visit: 1 above, -1 below, 0 none."""
        best, most = 0, 0.0
        above = self._step_to(s, here, 1)
        if here.is_short and s.caution.may_go(s.t, above):
            slope, sd = self.above.known(s.ground.is_contended)
            if slope + HOLDING.optimism * sd > most:
                best, most = 1, slope + HOLDING.optimism * sd
        if self.home > 1 and (here.is_short or s.ground.is_contended or here.failing > HOLDING.refused_share):
            slope, sd = self.below.known(s.ground.is_contended)
            if HOLDING.optimism * sd - slope > most:
                best = -1
        return best

    # what came of a visit

    def _judge(self, s: Scene, visit: Visit) -> Decision | Search | Pace:
        """Compare there with here, before and after."""
        self.visit = None
        there, before, after = visit.there, visit.before, visit.after
        here = joined([before, after])
        gain = there.worth - (before.worth + after.worth) / 2
        variance = s.ground.variance(there) + (s.ground.variance(before) + s.ground.variance(after)) / 4
        self.recent = [after]
        judges = {
            "up": self._after_up,
            "down": self._after_down,
            "half": self._after_half,
            "rate": self._after_rate,
        }
        return judges[visit.kind](s, visit, here, gain, variance)

    def _after_up(
        self, s: Scene, visit: Visit, here: Point, gain: float, variance: float
    ) -> Decision | Search | Pace:
        there = visit.there
        step = math.log(max(there.n, 0.1) / max(here.n, 0.1))
        is_clear = False
        if step > 0.5 * math.log(visit.n / visit.home):
            self._note_wall(s, visit, here)
            self.above.note(step, gain, variance)
            slope, sd = self.above.known(s.ground.is_contended)
            is_clear = slope > HOLDING.clear and gain > max(
                HOLDING.clear * step, HOLDING.sure * math.sqrt(variance)
            )
        away_s = HOLDING.leap_rare * (s.t - visit.began_at)
        s.caution.leap.begin(
            s.t, max(HOLDING.leap_longest_s, away_s), was_vain=not is_clear, shortest_s=HOLDING.leap_s
        )
        if is_clear:
            return self._search_up(visit.n, here, max(SEARCHING.gentle, visit.n / visit.home))
        slope, sd = self.above.known(s.ground.is_contended)
        if self.above.weight and slope > HOLDING.sure * sd:
            return self._move(s, visit.n, step, f"more is better: {_said(slope, sd)}")
        return Decision(self.home)

    def _after_down(
        self, s: Scene, visit: Visit, here: Point, gain: float, variance: float
    ) -> Decision | Search | Pace:
        step = math.log(max(visit.there.n, 0.1) / max(here.n, 0.1))
        if step > 0.5 * math.log(visit.n / visit.home):
            return Decision(self.home)
        self.below.note(step, gain, variance)
        slope, sd = self.below.known(s.ground.is_contended)
        if gain > max(-HOLDING.clear * step, HOLDING.sure * math.sqrt(variance)) and slope < -HOLDING.clear:
            return self._search_down(visit, here)
        if slope < -HOLDING.sure * sd:
            s.caution.refusal.until = s.t
            if here.refusing - visit.there.refusing > HOLDING.refused_share / 2:
                s.caution.build_wall(s.t, self.home)
            return self._move(s, visit.n, step, f"less is better: {_said(slope, sd)}")
        return Decision(self.home)

    def _search_up(self, start: int, here: Point, factor: float = SEARCHING.gentle) -> Search:
        from proxy.learn.modes.search import Search

        return Search(start=start, factor=factor, points=[here], came_from=self.home)

    def _search_down(self, visit: Visit, here: Point) -> Search:
        from proxy.learn.modes.search import Search

        start = max(1, round(visit.n * SEARCHING.down))
        return Search(start=start, side=-1, points=[here, visit.there], came_from=self.home)

    def _note_wall(self, s: Scene, visit: Visit, here: Point) -> None:
        """Refusals that began higher up, twice in a row, are a wall."""
        there = visit.there
        sd = math.sqrt(max(here.refusing, 0.01) / max(1.0, there.attempts))
        if there.fast >= 2 and there.refusing - here.refusing > max(HOLDING.refused_share, 2 * sd):
            s.caution.hits += 1
        else:
            s.caution.hits = 0
        if s.caution.hits >= 2:
            s.caution.build_wall(s.t, visit.n)

    def _after_half(
        self, s: Scene, visit: Visit, here: Point, gain: float, variance: float
    ) -> Decision | Search | Pace:
        # Pages that were counted: right after a step down the latencies are still those of calls sent before it.
        gain = visit.there.carried - (visit.before.carried + visit.after.carried) / 2
        sd = math.sqrt(variance)
        is_load = gain > max(SEARCHING.better, SEARCHING.sure * sd)
        if is_load and visit.rounds > 1 and gain < HOLDING.alarm_sd * sd:
            return self._begin(s, "half", visit.n, visit.after)
        s.caution.alarm.begin(s.t, HOLDING.pause_longest_s, was_vain=not is_load)
        if is_load:
            return self._search_down(visit, here)
        self.strain = visit.after.strain
        return Decision(self.home)

    def _after_rate(
        self, s: Scene, visit: Visit, here: Point, gain: float, variance: float
    ) -> Decision | Search | Pace:
        from proxy.learn.modes.pace import Pace

        there, fewer = visit.there, here.refusing - visit.there.refusing
        is_rate = there.carried > here.carried and fewer > here.refusing / 2
        s.caution.pacing.begin(s.t, HOLDING.pause_longest_s, was_vain=not is_rate)
        if not is_rate:
            return Decision(self.home)
        return Pace(rate=visit.rate, home=self.home, usual=visit.there.refusing)

    def _move(self, s: Scene, n: int, step: float, why: str) -> Decision:
        """Take another height: what is known of the slopes was known of this one."""
        self.home, self.recent = n, []
        self.settled_at = s.t
        share = math.exp(-abs(step) / HOLDING.stale)
        self.above.fade(share)
        self.below.fade(share)
        return Decision(n, because=why)


def room(s: Scene, home: int, rate: float) -> int:
    """Return the slots that let a rate be used up: half as many again as are in use on average, and no less than the height."""
    return max(home, s.window.pods, math.ceil(HOLDING.room * rate * (s.ground.floor_s or s.ground.latency_s)))


def _said(slope: float, sd: float) -> str:
    return f"10 % more carry {slope / 10:.1%} more, give or take {sd / 10:.1%}"
