"""What was tried in vain, and when it may be tried again. It outlives the modes."""

from __future__ import annotations

from msgspec import Struct, field

from proxy.learn.parameters import HOLDING, PACING


class Pause(Struct):
    """When a look of one kind may come again; doubles while nothing comes of it."""

    until: float = 0.0
    length_s: float = HOLDING.pause_s

    def begin(
        self, t: float, longest_s: float, *, was_vain: bool, shortest_s: float = HOLDING.pause_s
    ) -> None:
        """Pause from now on."""
        self.length_s = min(longest_s, 2.0 * self.length_s) if was_vain else shortest_s
        self.until = t + self.length_s


class Caution(Struct):
    """Pauses between looks of each kind, and the height at which the outage gates closed."""

    alarm: Pause = field(default_factory=Pause)
    pacing: Pause = field(default_factory=Pause)
    free: Pause = field(default_factory=lambda: Pause(length_s=PACING.free_s / 2))
    wall: int = 1 << 30
    wall_pause: Pause = field(default_factory=lambda: Pause(length_s=HOLDING.wall_s / 2))
    hits: int = 0
    """Visits higher up in a row in which the gates closed."""

    def build_wall(self, t: float, n: int) -> None:
        """Do not look beyond so many slots for a while."""
        self.wall, self.hits = n, 0
        self.wall_pause.begin(t, HOLDING.wall_longest_s, was_vain=True)

    def may_go(self, t: float, n: int) -> bool:
        """Whether so many slots may be tried."""
        return n < self.wall or t >= self.wall_pause.until

    def below_wall(self, t: float, n: int) -> int:
        """Return so many slots, or as many as may be tried."""
        return n if self.may_go(t, n) else self.wall - 1

    def bar_pacing(self, t: float) -> None:
        """Start attempts at no rate for a while."""
        self.pacing.length_s = max(self.pacing.length_s, PACING.bar_s / 2)
        self.pacing.begin(t, PACING.bar_longest_s, was_vain=True)
