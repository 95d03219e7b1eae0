"""Which height to look at, and which to take, as far as the belief tells."""

from __future__ import annotations

import math

from proxy.learn.evidence.belief import best, expected, promise
from proxy.learn.evidence.ground import Point, tail
from proxy.learn.evidence.visit import Visit
from proxy.learn.parameters import HOLDING, LOOKING, SEARCHING, SIGHT
from proxy.learn.scene import Scene

_RATIOS = [math.exp(side * step) for side in (-1, 1) for step in LOOKING.steps]


def strain_of(s: Scene) -> float | None:
    """Return ln of the latency over its floor, None while no floor is known."""
    if not s.ground.floor_s:
        return None
    return max(0.0, math.log(s.ground.steady_s / s.ground.floor_s))


def choose(s: Scene, home: int, here: Point, ok_per_window: float) -> int | None:
    """Return the height whose visit promises more than it costs, None where none does.

    A visit costs what is lost while it lasts. It promises what can be won by going there, if it shows that, for some time.
    """
    u, base = math.log(here.n), here.slots_for(home)
    weights = s.belief.weights(u, strain_of(s))
    one = s.ground.variance(Point(ok=ok_per_window, windows=1))
    chosen, most = None, LOOKING.worth_it
    for ratio in _RATIOS:
        n = _height(s, home, here, base, ratio)
        step = math.log(n / base)
        if n == home or abs(step) < LOOKING.least:
            continue
        windows = min(HOLDING.visit_windows, max(2, math.ceil(one / (HOLDING.blur * step) ** 2)))
        mean, spread = expected(weights, u, u + step)
        took_s = SIGHT.period_s * (2 * s.ground.settling + 1.5 * windows + 2)
        horizon_s = max(LOOKING.horizon_s, LOOKING.visits * took_s)
        value = horizon_s * promise(mean, spread, 1.5 * one / windows) + took_s * min(0.0, mean)
        if value > most:
            chosen, most = n, value
    return chosen


def _height(s: Scene, home: int, here: Point, base: float, ratio: float) -> int:
    """Return the slots to look at for a ratio; ``home`` where there is nothing to see."""
    if ratio < 1:
        return max(1, min(home - 1, round(base * ratio)))
    n = min(max(home + 1, round(home * ratio)), math.ceil(1.02 * s.wanted))
    return n if n > home and here.is_short and s.caution.may_go(s.t, n) else home


def best_height(s: Scene, slots: int, here: Point, strain: float | None = None) -> int:
    """Return the slots, at most twice and at least half of those in use, at which most is to be expected."""
    u, base = math.log(here.n), here.slots_for(slots)
    most = math.log(SEARCHING.up)
    weights = s.belief.weights(u, strain)
    top = best(weights, max(0.0, u - most), u + (most if here.is_short else 0.0))
    if not here.is_short and top > u - LOOKING.least:
        return slots  # slots that lie idle cost nothing, and a pod may want them the next moment
    return max(1, round(base * math.exp(top - u)))


def look_at_refusals(s: Scene, home: int, recent: list[Point]) -> Visit | None:
    """Return a look at fewer slots, or at a rate, where refusals at the door go on while latency is at its floor.

    It lasts as long as what it is held against.
    """
    here = tail(recent, HOLDING.refused_windows)
    is_telling = here.ok > 0 and here.fast >= HOLDING.refused_few
    if not is_telling or here.refusing < HOLDING.refused_share or s.ground.is_contended:
        return None
    worked_on = max(1, math.ceil(here.per_s * s.ground.latency_s))
    if math.log(home / worked_on) > HOLDING.vain:
        return Visit("room", worked_on, home, here, windows=here.windows)
    return rate_visit(s, home, here)


def rate_visit(s: Scene, home: int, here: Point) -> Visit:
    """Return a look at the rate that was carried here."""
    return Visit("rate", room(s, home, here.per_s), home, here, here.per_s, windows=here.windows)


def room(s: Scene, home: int, rate: float) -> int:
    """Return the slots that let a rate be used up: half as many again as are in use on average, and no less than the height."""
    return max(home, s.window.pods, math.ceil(HOLDING.room * rate * (s.ground.floor_s or s.ground.latency_s)))
