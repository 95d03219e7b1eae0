"""What a mode is shown at each step."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.learn.evidence.belief import Belief
from proxy.learn.evidence.caution import Caution
from proxy.learn.evidence.ground import Ground, Point
from proxy.learn.evidence.tally import Window


@dataclass(slots=True)
class Scene:
    """One step: the window that ended, and what is known. ``t`` is seconds of learning so far."""

    t: float
    window: Window
    is_clean: bool
    """Whether slots and rate had been the same long enough for the window to show nothing else."""
    ground: Ground
    caution: Caution
    belief: Belief
    slots: int
    """What was in force during the window."""
    wanted: int
    """The most calls that were waiting or under way lately."""

    def point(self) -> Point:
        """Return what was seen in the window."""
        point = Point()
        point.add(self.window, self.slots)
        return point
