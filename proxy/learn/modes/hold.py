"""HOLD: the best height known, with short visits elsewhere to see whether it still is.

    at home ──a look promises more than it costs──▶ there ──seen enough──▶ back home ──seen enough──▶ judge ──▶ at home
                                                                                       far from home ├──▶ SEARCH
                                                                          refusals follow the rate └──▶ PACE

Every visit is A-B-A: some windows here, some there, and here again. What is compared is there with the mean of the two, so that a
change that came meanwhile is not taken for the visit's doing.

    up, down    the belief gains a comparison. Home is where it expects most; where that is far off, a SEARCH goes there
    half        answers took a quarter longer at once, or failed slowly: if half the load is worth more, a SEARCH begins below
    room        refusals go on while latency is at its floor: as few slots as are worked on; where those refusals stay away, stay
    rate        fewer slots did not help, or they are as few already: start attempts at the rate that was carried; where refusals
                stay away, PACE begins

Which visit: the alarm first, then what refusals call for, then what promises most (``looks``). A look that found nothing is
repeated after a pause that doubles. Whether far more fails than is usual is told by two windows: a quota of a second fails in
every other one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from proxy.learn.decision import Decision
from proxy.learn.evidence.belief import expected
from proxy.learn.evidence.ground import Ground, Point, joined
from proxy.learn.evidence.visit import Visit
from proxy.learn.modes.looks import best_height, choose, look_at_refusals, rate_visit, strain_of
from proxy.learn.parameters import HOLDING, LOOKING, SEARCHING, SIGHT
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
    visit: Visit | None = None
    latest: list[Point] = []
    """The last two windows of a visit."""
    trouble: list[Point] = []
    """The last windows in a row in which far more failed than is usual."""
    looks: int = 0
    """How often half the load was tried in that."""
    settled_at: float = 0.0

    def enter(self, s: Scene) -> Decision:
        """Go there."""
        was_vain = self.came_from > 0 and abs(math.log(self.home / self.came_from)) < HOLDING.vain
        s.caution.alarm.begin(s.t, HOLDING.pause_longest_s, was_vain=was_vain)
        self.settled_at = s.t
        return Decision(self.home, because=self.opening)

    def step(self, s: Scene) -> Decision | Search | Pace:
        """Watch, and look around."""
        if s.is_clean:
            self.latest = [*self.latest[-1:], s.point()]
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
            self._move(s, lower, why)
        elif self.visit is not None and self.visit.kind == "up":
            s.caution.hits += 1
            if s.caution.hits >= 2:
                s.caution.build_wall(s.t, self.visit.n)
        self.visit, self.recent, self.latest = None, [], []
        return why

    # at home

    def _at_home(self, s: Scene) -> Decision | Search | None:
        if self._is_disturbed(s):
            return self._endure(s)
        self.looks, self.trouble = 0, []
        self._watch(s)
        here = joined(self.recent[-_BASE:])
        if here.ok < SIGHT.few:
            here = joined(self.recent)
            if here.ok < SIGHT.few and here.windows < _LONGEST_BASE:
                return None
        return self._alarmed(s, here) or self._look(s, here)

    def _is_disturbed(self, s: Scene) -> bool:
        """Whether far more fails here than is usual."""
        w, usual = joined(self.latest), s.ground.failing
        sd = math.sqrt(max(usual, 0.01) * (1 - usual) / max(1, w.attempts))
        return w.failing - usual > max(HOLDING.burst_share, HOLDING.alarm_sd * sd)

    def _endure(self, s: Scene) -> Decision | None:
        """Trouble: nothing is learned while it lasts. Half the load shows whether load is to blame; if not, it becomes usual."""
        s.ground.note_failures(s.window)
        self.trouble = [*self.trouble[1 - HOLDING.burst_windows :], s.point()]
        if len(self.trouble) < HOLDING.burst_windows or s.t < s.caution.alarm.until:
            return None
        self.looks += 1
        if self.looks > HOLDING.looks or self.home <= 1:
            s.ground.accept(joined(self.trouble))
            return None
        return self._half(s, joined(self.trouble[-2:]))

    def _watch(self, s: Scene) -> None:
        point = s.point()
        self.recent = [*self.recent[1 - _LONGEST_BASE :], point]
        before, last = joined(self.recent[-4:-2]), joined(self.recent[-2:])
        if before.ok and last.ok:
            s.ground.note_pair(before, last)
        s.ground.note_failures(s.window)
        if self.strain is None:
            self.strain = point.strain
        elif not self._turn(s.ground, self.recent):
            self.strain += HOLDING.usual * (point.strain - self.strain)
        s.belief.spread(LOOKING.drift * math.sqrt(s.window.span_s))

    def _turn(self, ground: Ground, points: list[Point]) -> int:
        """Return 1 or -1 where the last two windows lie clearly above or below the usual strain, else 0."""
        last = joined(points[-2:])
        rise = last.strain - (last.strain if self.strain is None else self.strain)
        sure = HOLDING.alarm_sd * math.sqrt(ground.variance(last))
        if last.windows < 2 or last.ok < 0.5 * SIGHT.few or abs(rise) < max(HOLDING.alarm, sure):
            return 0
        return 1 if rise > 0 else -1

    def _alarmed(self, s: Scene, here: Point) -> Decision | Search | None:
        """Look at once where answers became slow or fast."""
        turn = self._turn(s.ground, self.recent)
        if not turn or s.t < s.caution.alarm.until:
            return None
        lately = joined(self.recent[-2:])
        s.belief.spread(LOOKING.jump)  # what is known was known of another upstream
        if turn > 0 and self.home > 1:
            return self._half(s, lately)
        self.strain = lately.strain
        s.caution.alarm.begin(s.t, HOLDING.pause_longest_s, was_vain=True)
        return self._search(lately, self.home * SEARCHING.gentle) if turn < 0 and here.is_short else None

    def _look(self, s: Scene, here: Point) -> Decision | Search | None:
        """Begin a visit or a search, if there is reason for one."""
        visit = self._refused(s)
        if visit is not None:
            return self._begin(s, visit)
        ok_per_window = joined(self.recent).ok / len(self.recent)
        n = choose(s, self.home, here, ok_per_window)
        return (
            None
            if n is None
            else self._begin(s, Visit("up" if n > self.home else "down", n, self.home, here))
        )

    def _refused(self, s: Scene) -> Visit | None:
        may = s.t >= max(s.caution.pacing.until, self.settled_at + HOLDING.pause_s)
        return look_at_refusals(s, self.home, self.recent) if may else None

    def _half(self, s: Scene, before: Point) -> Decision:
        return self._begin(s, Visit("half", max(1, round(self.home / 2)), self.home, before, rounds=2))

    def _begin(self, s: Scene, visit: Visit) -> Decision:
        self.latest, self.visit = [], visit
        return Decision(visit.n, visit.rate)

    # away

    def _away(self, s: Scene, visit: Visit) -> Decision | Search | Pace | None:
        point = self.latest[-1]
        is_plain = visit.kind == "down" or (visit.kind == "up" and visit.is_back)
        is_burst = visit.kind == "down" and not visit.is_back and self._is_disturbed(s)
        if is_burst or (is_plain and self._turn(s.ground, self.latest) > 0):
            # Something else happened: what was under way says nothing.
            self.visit, self.recent = None, list(self.latest)
        elif not visit.is_back:
            if point.is_settled or visit.there.windows or visit.unsettled >= SIGHT.longest_settling:
                visit.there.add(s.window, s.slots)
                visit.is_back = visit.has_seen_enough(s.ground)
                self.latest = []
            visit.unsettled += 1
        elif not visit.windows and visit.kind != "half" and self._is_disturbed(s):
            # A burst after the visit is not the visit's doing; one that stays makes what was under way worthless.
            visit.troubled += 1
            if visit.troubled > HOLDING.burst_windows:
                self.visit, self.recent = None, []
        else:
            visit.after.add(s.window, s.slots)
            if visit.is_back_for_long:
                self.visit, self.recent, self.latest = None, [visit.after], []
                judges = {"half": self._after_half, "rate": self._after_refused, "room": self._after_refused}
                return judges.get(visit.kind, self._after)(s, visit)
        return None

    def _after(self, s: Scene, visit: Visit) -> Decision | Search:
        """Go where most is to be expected now."""
        here = visit.here
        if abs(visit.step) < LOOKING.least:
            return Decision(self.home)
        s.belief.note(math.log(here.n), math.log(visit.there.n), visit.gain, visit.variance(s.ground))
        strain = strain_of(s)
        n = best_height(s, self.home, here, strain)
        if n > self.home:
            n = max(self.home, s.caution.below_wall(s.t, n))
        if abs(math.log(n / self.home)) > LOOKING.far:
            return self._search(here, n)
        u = math.log(here.n)
        mean, spread = expected(s.belief.weights(u, strain), u, u + math.log(n / here.slots_for(self.home)))
        if n == self.home or mean < LOOKING.moves:
            return Decision(self.home)
        said = f"{n} slots look {mean:.1%} better than {self.home}, give or take {math.sqrt(spread):.1%}"
        return self._move(s, n, said)

    def _after_half(self, s: Scene, visit: Visit) -> Decision | Search:
        gain, variance = visit.gain_counted, visit.variance(s.ground)
        sd = math.sqrt(variance)
        is_load = gain > max(SEARCHING.better, SEARCHING.sure * sd)
        if is_load and visit.rounds > 1 and gain < HOLDING.alarm_sd * sd:
            return self._begin(s, Visit("half", visit.n, self.home, visit.after))
        s.caution.alarm.begin(s.t, HOLDING.pause_longest_s, was_vain=not is_load)
        s.belief.note(math.log(visit.here.n), math.log(visit.there.n), gain, variance)
        if is_load:
            return self._search(visit.there, visit.n / SEARCHING.up)
        self.strain = visit.after.strain
        return Decision(self.home)

    def _after_refused(self, s: Scene, visit: Visit) -> Decision | Pace:
        """Fewer slots, or a rate, where refusals stayed away there, came back here, and no page was lost for that."""
        from proxy.learn.modes.pace import Pace

        there = visit.there
        here = min(visit.before.refusing, visit.after.refusing)
        is_it = there.carried > visit.here.carried and there.refusing < here / 2
        if visit.kind == "room" and not is_it:
            return self._begin(s, rate_visit(s, self.home, visit.after))
        is_rate = is_it and visit.kind == "rate"
        s.caution.pacing.begin(s.t, HOLDING.pause_longest_s, was_vain=not is_rate)
        if is_rate:
            return Pace(rate=visit.rate, home=self.home, usual=there.refusing)
        if not is_it:
            return Decision(self.home)
        said = f"{visit.n} slots: {there.refusing:.0%} were refused, {here:.0%} with {self.home}"
        return self._move(s, visit.n, said)

    def _search(self, here: Point, start: float) -> Search:
        from proxy.learn.modes.search import Search

        return Search(start=max(1, round(start)), points=[here], came_from=self.home)

    def _move(self, s: Scene, n: int, why: str) -> Decision:
        """Take another height."""
        self.home, self.recent, self.latest, self.settled_at = n, [], [], s.t
        return Decision(n, because=why)
