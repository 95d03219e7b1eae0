"""PACE: attempts start at a rate, for a rate is what is short.

rate        start (1 + 0.1 (t / scale)^3) while no more than 3 % are refused
            refused more since the last step, one not counted: 0.99 of what was carried, at least 0.8 of the rate
            a scale is 4 s, or as long as 20 attempts take
quota       known from two stretches between openings that carried the same: what is left of it over what is left of the time,
            for one stretch; then as above with the stretch as scale
ends        latency well above its floor, steps down to half of the first rate, or a rate that binds nobody: HOLD
"""

from __future__ import annotations

from msgspec import Struct, field

from proxy.learn.decision import Decision
from proxy.learn.evidence.ground import Point, joined, tail
from proxy.learn.modes.hold import Hold
from proxy.learn.modes.looks import room
from proxy.learn.parameters import PACING, SIGHT
from proxy.learn.scene import Scene

_LATELY = 4
_MEMORY = 128


class Pace(Struct, tag="pace"):
    """A rate in starts a second; ``home`` is the height that was held before."""

    rate: float
    home: int
    usual: float = 0.0
    """Share refused whatever the rate."""
    quota: float = 0.0
    """Pages of one stretch, 0.0 where no stretch is known."""
    opened_at: float = 0.0
    spent: float = 0.0
    scale_s: float = PACING.scale_s
    base: float = 0.0
    since: float = 0.0
    began: float = 0.0
    unused: int = 0
    lately: list[Point] = []
    there: Point = field(default_factory=Point)
    waited: int = 0
    paced: Point = field(default_factory=Point)

    def enter(self, s: Scene) -> Decision:
        """Begin at the rate that was seen."""
        self.base, self.began, self.since = self.rate, self.rate, s.t
        s.caution.free.until = max(s.caution.free.until, s.t + PACING.free_s)
        if self.quota:
            about = f"about {self.quota:.0f} every {self.scale_s:.0f} s"
            return self._decide(s, f"a quota of {about}: what fails comes after so many, whatever the load")
        return self._decide(s, f"refusals follow the rate: attempts start at {self.rate:.1f}/s")

    def step(self, s: Scene) -> Decision | Hold:
        """Follow the refusals."""
        w = s.window
        point = s.point()
        self.lately = [*self.lately[1 - _MEMORY :], point]
        self.spent += w.ok
        four = tail(self.lately, _LATELY)
        # What began before the last step down ends in the window after it.
        fresh = round((s.t - self.since) / SIGHT.period_s) - 1
        seen = tail(self.lately[max(0, len(self.lately) - fresh) :], 2) if fresh > 0 else Point()
        refused = seen.refusing - self.usual
        is_refused = seen.fast > (self.usual + PACING.borne_share) * seen.attempts + PACING.chance
        because = ""
        if not self.quota and s.t >= s.caution.free.until:
            return self._try_free(s, point)
        if self.quota and s.t - self.opened_at < self.scale_s - 1.0:
            self._spend(s)
        elif is_refused:
            because = self._step_down(s, refused, four)
        else:
            if seen.attempts >= SIGHT.few:
                self.usual += SIGHT.usual * (seen.refusing - self.usual)
            growth = PACING.quota_growth if self.quota else PACING.growth
            scale_s = max(self.scale_s, SIGHT.few / self.base)
            self.rate = self.base * (1 + growth * ((s.t - self.since) / scale_s) ** 3)
        self.unused = self.unused + 1 if four.per_s * PACING.unused < self.rate and not is_refused else 0
        is_slow = s.ground.steady_s > PACING.slow * s.ground.floor_s > 0.0
        is_vain = self.rate < PACING.lowest * self.began
        if is_slow or is_vain or self.unused >= 20:
            why = (
                "answers became slow"
                if is_slow
                else "refusals do not follow the rate"
                if is_vain
                else "it binds nobody"
            )
            s.caution.bar_pacing(s.t)
            return Hold(home=self.home, opening=f"no rate any more: {why}")
        return self._decide(s, because)

    def _try_free(self, s: Scene, point: Point) -> Decision | Hold:
        """Now and then: the height that was held before, without a rate. Where more comes of it, it was no rate."""
        self.waited += 1
        if self.waited > 2:
            self.there.add(s.window, s.slots)
        else:
            self.paced = joined(self.lately[-_LATELY - 2 : -2]) if self.waited == 1 else self.paced
        if self.there.windows < _LATELY:
            return Decision(self.home)
        gain = self.there.carried - self.paced.carried
        is_better = gain > PACING.borne_share and self.there.refusing < PACING.borne_share
        s.caution.free.begin(s.t, PACING.bar_longest_s, was_vain=not is_better, shortest_s=PACING.free_s)
        self.there, self.waited = Point(), 0
        self.since = s.t
        if is_better:
            s.caution.bar_pacing(s.t)
            return Hold(home=self.home, opening="without the rate more is carried: it was none")
        return self._decide(s, "")

    def _spend(self, s: Scene) -> None:
        """Spread what is left of a known quota over what is left of its stretch."""
        even = self.quota / self.scale_s
        left = (self.quota - self.spent) / (self.scale_s - (s.t - self.opened_at))
        self.rate = max(0.2 * even, min(PACING.safe * left, 1.2 * even))
        self.base, self.since = PACING.safe * even, s.t

    def _step_down(self, s: Scene, refused: float, four: Point) -> str:
        windows = max(_LATELY, round(self.scale_s / SIGHT.period_s))
        carried = max(four.per_s, joined(self.lately[-windows:]).per_s)
        self.rate = max(0.2, PACING.most * self.rate, min(self.rate, PACING.safe * carried))
        self.base, self.since = self.rate, s.t
        return f"{refused:.0%} were refused: {self.rate:.1f}/s"

    def _decide(self, s: Scene, because: str) -> Decision:
        return Decision(room(s, self.home, self.rate), self.rate, because)
