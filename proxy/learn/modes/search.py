"""SEARCH: twice as many slots, or half, while that brings something; then to the top of a tent.

    up      slots x 2 (from a height that was good: x 1.5, x 2) while worth rises by more than 0.35 ln(ratio)
    down    slots x 1/2 while worth rises by more than 0.25
    end     the last three points (n, worth) lie on a tent whose sides have slopes 1 and -1; with the outer two a < b
                top = clamp(sqrt(a b) exp((worth_b - worth_a) / 2), a, b)
            and HOLD begins there. Where the first step was no better: back to where it began.

Worked example: 8, 16 and 32 slots are worth 4.2, 4.9 and 4.4 (a kink at 20): top = sqrt(8 * 32) exp((4.4 - 4.2) / 2) = 17.7
"""

from __future__ import annotations

import math

from msgspec import Struct, field

from proxy.learn.decision import Decision
from proxy.learn.evidence.ground import Point
from proxy.learn.modes.hold import Hold
from proxy.learn.parameters import SEARCHING
from proxy.learn.scene import Scene


class Search(Struct, tag="search"):
    """Steps of one direction. ``side`` is 1 for up and -1 for down."""

    start: int
    side: int = 1
    factor: float = SEARCHING.up
    is_first: bool = False
    """Whether nothing is known yet: there is little to lose by one step more."""
    points: list[Point] = []
    came_from: int = 0
    """The height that was held before, 0 for none."""
    now: Point = field(default_factory=Point)
    waited: int = 0
    level: int = 0

    def enter(self, s: Scene) -> Decision:
        """Begin where it was told to."""
        self.level = self.start
        return Decision(self.level)

    def step(self, s: Scene) -> Decision | Hold | Search:
        """Go on, or settle."""
        if not s.is_clean:
            return Decision(self.level)
        self.now.add(s.window, s.slots)
        self.waited += 1
        patience = SEARCHING.patience * (1 if self.now.is_settled and self.now.is_turned_over else 2)
        if self.waited < patience and not (
            self._has_seen_enough(s) and self.now.is_settled and self.now.is_turned_over
        ):
            return Decision(self.level)
        self.points.append(self.now)
        self.now, self.waited = Point(), 0
        following = self._next(s)
        if following is None:
            return self._end(s)
        self.level = following
        how = "up" if self.side > 0 else "down"
        return Decision(following, because=f"search {how}: {_said(self.points[-1])}; now {following}")

    def _has_seen_enough(self, s: Scene) -> bool:
        step = math.log(self.factor if self.side > 0 else 1 / SEARCHING.down)
        return (
            self.now.ok > 0
            and self.waited >= SEARCHING.windows
            and s.ground.variance(self.now) < (SEARCHING.blur * step) ** 2
        )

    def _next(self, s: Scene) -> int | None:
        """Return the next height, None when this was the last."""
        if len(self.points) > 1:
            before, here = self.points[-2:]
            rise = here.worth - before.worth
            sd = math.sqrt(s.ground.variance(before) + s.ground.variance(here))
            if self.side < 0:
                goes_on = rise > max(SEARCHING.better, SEARCHING.sure * sd)
            else:
                doubt = SEARCHING.hope * sd if self.is_first else 0.0
                step = math.log(here.n / before.n)
                is_used = step > 0.5 * math.log(self.level / max(1, round(before.n / before.use)))
                goes_on = here.is_short and (not is_used or rise + doubt > SEARCHING.gain * step)
            if not goes_on:
                return None
        if self.side < 0:
            following = max(1, round(self.level * SEARCHING.down))
        else:
            following = min(round(self.level * self.factor), max(self.level, math.ceil(1.02 * s.wanted)))
            following = max(following, min(self.level + 1, s.wanted))
            self.factor = min(SEARCHING.up, self.factor * self.factor)
        return None if following == self.level else following

    def _end(self, s: Scene) -> Hold | Search:
        points = self.points[-3:]
        if self.is_first and self.side > 0 and len(points) == 2 and points[1].worth < points[0].worth:
            lower = max(1, round(self.start * SEARCHING.down))
            if lower < self.start:
                return Search(start=lower, side=-1, is_first=True, points=points[:1])
        top = points[0].n
        if len(points) > 2 or (len(points) == 2 and (self.is_first or self._is_better(*points))):
            top = tent(points)
        home = max(1, round(top / min(points, key=lambda p: abs(p.n - top)).use))
        seen = ", ".join(_said(point) for point in self.points)
        moved_down = self.side < 0 and not self.is_first and home < 0.8 * self.points[0].n
        return Hold(
            home=home,
            opening=f"the search ends at {home}: {seen}",
            came_from=self.came_from,
            recheck_at=0.0 if moved_down else None,
        )

    def _is_better(self, before: Point, here: Point) -> bool:
        return here.worth - before.worth > (SEARCHING.better if self.side < 0 else 0.0)


def tent(points: list[Point]) -> float:
    """Return the top of a tent over the outermost of the points, of slopes 1 and -1."""
    a, b = min(points, key=lambda p: p.n), max(points, key=lambda p: p.n)
    top = math.sqrt(max(a.n, 0.1) * max(b.n, 0.1)) * math.exp((b.worth - a.worth) / 2)
    return min(max(top, a.n), b.n)


def _said(point: Point) -> str:
    failed = f", {point.failing:.0%} failed" if point.failing >= 0.005 else ""
    return f"{point.n:.1f} in flight carried {point.per_s:.1f}/s{failed}"
