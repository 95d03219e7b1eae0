"""What all pods together may use of one upstream: the only thing that decides, for one limiter.

    SEARCH ──top──▶ HOLD ──more is clearly better──▶ SEARCH up     modes/search.py, modes/hold.py
                    HOLD ──half the load is worth more──▶ SEARCH down
                    HOLD ──refusals follow the rate──▶ PACE ──they do not──▶ HOLD       modes/pace.py
    any ──half of the gates closed──▶ (nothing moves) ──open──▶ the same, or PACE where a quota is seen

Fed a window twice a second; what it knows is one value that any pod can go on from (``Learner`` is encoded as it stands).
"""

from __future__ import annotations

from msgspec import Struct, field

from proxy.learn.decision import Decision
from proxy.learn.evidence.belief import Belief
from proxy.learn.evidence.caution import Caution
from proxy.learn.evidence.ground import Ground
from proxy.learn.evidence.tally import Counted, Window
from proxy.learn.modes.hold import Hold
from proxy.learn.modes.pace import Pace
from proxy.learn.modes.search import Search
from proxy.learn.parameters import PACING, SIGHT
from proxy.learn.scene import Scene

_PAST = 32
_NOTES = 40
_WANT_FADES = 0.8


class Stretch(Counted):
    """From one opening of the gates to the next."""

    opened_at: float = 0.0
    closed_at: float = -1.0
    length_s: float = 0.0


class Learner(Struct):
    """State of the learning for one limiter. Times are seconds of learning."""

    start: int
    mode: Search | Hold | Pace | None = None
    t: float = 0.0
    slots: int = 0
    rate: float = 0.0
    wanted: float = 0.0
    past: list[tuple[int, bool, bool]] = []
    """Slots, whether at a rate, and whether gates were closed, of the last windows."""
    ground: Ground = field(default_factory=Ground)
    caution: Caution = field(default_factory=Caution)
    belief: Belief = field(default_factory=Belief)
    stretch: Stretch = field(default_factory=Stretch)
    last: Stretch | None = None
    is_shut: bool = False
    notes: list[tuple[float, str]] = []
    """Decisions with their reasons, by seconds of learning, the newest last."""

    def step(self, window: Window) -> Decision:
        """Take in a window; return what is in force from now on."""
        self.t += window.span_s or SIGHT.period_s
        # Where calls wait although slots lie idle in other pods, more slots in all are wanted.
        wanted = max(window.wanted, self.slots + window.waiting if window.waiting else 0)
        self.wanted = max(float(wanted), _WANT_FADES * self.wanted)
        scene = self._scene(window)
        decision = self._decide(scene)
        self.past = [
            *self.past[1 - _PAST :],
            (decision.slots, bool(decision.rate), window.shut > SIGHT.shut_share),
        ]
        self.slots, self.rate = decision.slots, decision.rate
        self._say(decision.because)
        return decision

    def _say(self, because: str) -> None:
        if because:
            self.notes = [*self.notes[1 - _NOTES :], (self.t, because)]

    @classmethod
    def at(cls, slots: int) -> Learner:
        """Return a learner that goes on from a height that was found elsewhere."""
        return cls(start=slots, mode=Hold(home=slots), slots=slots)

    @property
    def resting(self) -> int:
        """The height that is held, whatever is being looked at."""
        if isinstance(self.mode, Hold | Pace):
            return self.mode.home
        if isinstance(self.mode, Search) and self.mode.came_from:
            return self.mode.came_from
        return max(1, self.slots)

    @property
    def name(self) -> str:
        """The mode's name."""
        return "stop" if self.is_shut else type(self.mode).__name__.lower()

    def _scene(self, w: Window) -> Scene:
        missed = max(0, round(w.span_s / SIGHT.period_s) - 1)
        needed = min(_PAST, 2 + self.ground.settling + missed)
        recent = self.past[-needed:]
        is_clean = (
            len(set(recent)) == 1
            and len(recent) == needed
            and not recent[0][2]
            and w.shut <= SIGHT.shut_share
            and (w.attempts > 0 or w.n > 0.5)
        )
        return Scene(
            self.t,
            w,
            is_clean,
            self.ground,
            self.caution,
            self.belief,
            max(1, self.slots),
            round(self.wanted),
        )

    def _decide(self, s: Scene) -> Decision:
        if self.mode is None:
            return self._turn(Search(start=self.start), s)
        was_shut, self.is_shut = self.is_shut, s.window.shut_now >= 0.5
        self._count(s, was_shut)
        if self.is_shut:
            return Decision(max(1, self.slots), self.rate)
        if was_shut:
            opened = self._opened(s)
            if opened is not None:
                return self._turn(opened, s)
        if s.window.shut <= SIGHT.shut_share:
            self.ground.note(s.window)
        assert self.mode is not None
        following = self.mode.step(s)
        while not isinstance(following, Decision):
            following = self._turn(following, s)
        return following

    def _turn(self, mode: Search | Hold | Pace, s: Scene) -> Decision:
        if isinstance(mode, Pace):
            mode.opened_at = s.t
        self.mode = mode
        return mode.enter(s)

    # outages and quotas

    def _count(self, s: Scene, was_shut: bool) -> None:
        self.stretch.count(s.window)
        if self.is_shut and not was_shut:
            self.stretch.closed_at = s.t

    def _opened(self, s: Scene) -> Search | Hold | Pace | None:
        """The gates opened: two stretches that carried the same, and ended in refusals at the door, are a quota's."""
        ended, before = self.stretch, self.last
        ended.length_s = s.t - ended.opened_at
        self.stretch, self.last = Stretch(opened_at=s.t), ended
        if isinstance(self.mode, Pace):
            return self._paced(s, self.mode)
        flapped = before is not None and _flapped(before) and _flapped(ended)
        if isinstance(self.mode, Search):
            return self._cut_short(s, self.mode)
        if isinstance(self.mode, Hold):
            self._say(self.mode.interrupt(s, flapped=flapped))
        if (
            before is None
            or s.t < self.caution.pacing.until
            or not (_is_refused(before) and _is_refused(ended))
        ):
            return None
        if not (
            abs(before.ok - ended.ok) <= PACING.alike / 2 * ended.ok
            and _alike(before.length_s, ended.length_s)
        ):
            return None
        home = self.mode.home if isinstance(self.mode, Hold) else max(1, self.slots)
        rate = ended.ok / ended.length_s
        return Pace(rate=rate, home=home, quota=ended.ok, scale_s=max(PACING.scale_s, ended.length_s))

    def _cut_short(self, s: Scene, search: Search) -> Search | Hold | None:
        """The gates closed during a search: that height may be too much, or it was an outage."""
        if search.try_again():
            return None
        if not search.points:
            return Search(start=max(1, search.level // 2))
        self.caution.build_wall(s.t, search.level)
        home = max(1, min(search.level - 1, round(search.points[-1].n / search.points[-1].use)))
        return Hold(home=home, opening=f"the gates closed at {search.level}", came_from=search.came_from)

    def _paced(self, s: Scene, pace: Pace) -> Hold | None:
        """It closed although attempts were paced: with less than the quota spent, it is none."""
        is_short = pace.quota and pace.spent < 0.9 * pace.quota
        pace.opened_at, pace.spent = s.t, 0.0
        if not is_short:
            return None
        self.caution.bar_pacing(s.t)
        return Hold(home=pace.home, opening="it fails as before at a slower pace: no quota")


def _is_refused(stretch: Stretch) -> bool:
    return stretch.fast > 0.8 * stretch.bad > 0 and stretch.ok >= 20 and stretch.length_s > PACING.shortest_s


def _flapped(stretch: Stretch) -> bool:
    return stretch.closed_at - stretch.opened_at < SIGHT.flaps_s


def _alike(a: float, b: float) -> bool:
    return abs(a - b) <= PACING.alike * max(a, b)
