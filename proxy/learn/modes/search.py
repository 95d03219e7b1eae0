"""SEARCH: twice as many slots, or half, while the belief expects most farther off than a third of a step.

    at a height ──seen enough──▶ the best within a step is far ──▶ there
                                 it is near, or lies between heights that were seen ──▶ HOLD at the best

Worked example: 8, 16 and 32 slots carried 66, 132 and 105 pages/s. After the second most is expected above, after the third at
18: that lies between two heights that were seen, so HOLD begins at 18.
"""

from __future__ import annotations

import math

from msgspec import Struct, field

from proxy.learn.decision import Decision
from proxy.learn.evidence.ground import Point
from proxy.learn.modes.hold import Hold
from proxy.learn.modes.looks import best_height
from proxy.learn.parameters import LOOKING, SEARCHING
from proxy.learn.scene import Scene


class Search(Struct, tag="search"):
    """Steps of one direction."""

    start: int
    points: list[Point] = []
    came_from: int = 0
    """The height that was held before, 0 for none."""
    now: Point = field(default_factory=Point)
    waited: int = 0
    level: int = 0
    is_again: bool = False
    """Whether this height is looked at anew."""

    def enter(self, s: Scene) -> Decision:
        """Begin where it was told to."""
        self.level = self.start
        return Decision(self.level)

    def step(self, s: Scene) -> Decision | Hold:
        """Go on, or settle."""
        if not s.is_clean:
            return Decision(self.level)
        self.now.add(s.window, s.slots)
        self.waited += 1
        is_settled = self.now.is_telling and self.now.is_settled and self.now.is_turned_over
        patience = SEARCHING.patience * (1 if is_settled else 4)
        if self.waited < patience and not (is_settled and self._has_seen_enough(s)):
            return Decision(self.level)
        here = self.now
        self.now, self.waited = Point(), 0
        if self.points:
            before = self.points[-1]
            variance = s.ground.variance(before) + s.ground.variance(here)
            s.belief.note(math.log(before.n), math.log(here.n), here.worth - before.worth, variance)
        self.points.append(here)
        following = self._next(s, here)
        is_near = abs(math.log(following / self.level)) < LOOKING.far
        if is_near or self._turns(following) or len(self.points) > SEARCHING.steps:
            return self._end(following)
        self.level, self.is_again = following, False
        return Decision(following, because=f"search: {_said(here)}; now {following}")

    def try_again(self) -> bool:
        """Look at this height anew, for the gates closed there and that may have been a burst; False the second time."""
        if self.is_again:
            return False
        self.now, self.waited, self.is_again = Point(), 0, True
        return True

    def _has_seen_enough(self, s: Scene) -> bool:
        return (
            self.now.ok > 0
            and self.waited >= SEARCHING.windows
            and s.ground.variance(self.now) < (SEARCHING.blur * math.log(SEARCHING.up)) ** 2
        )

    def _turns(self, following: int) -> bool:
        """Whether it went the other way before: what lies between has been seen from both sides."""
        if len(self.points) < 2:
            return False
        return (following - self.level) * (self.level - self.points[-2].n) < 0

    def _next(self, s: Scene, here: Point) -> int:
        """Return the best height within a step of this one; not far beyond what is wanted."""
        following = best_height(s, self.level, here)
        return max(min(self.level, following), min(following, math.ceil(1.02 * s.wanted)))

    def _end(self, home: int) -> Hold:
        seen = ", ".join(_said(point) for point in self.points)
        return Hold(home=home, opening=f"the search ends at {home}: {seen}", came_from=self.came_from)


def _said(point: Point) -> str:
    failed = f", {point.failing:.0%} failed" if point.failing >= 0.005 else ""
    return f"{point.n:.1f} in flight carried {point.per_s:.1f}/s{failed}"
