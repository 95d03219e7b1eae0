"""How far a limit moves for what the experiment says: the terms of the sum in ``adaptive``, as functions.

``unit`` is sqrt(limit): a step in it is more of a small limit than of a large one, which is what lets pods grow equal without
talking to one another (additive increase would be too much at 3 in flight, multiplicative keeps every inequality).
"""

from __future__ import annotations

import math
from typing import Final

FREE: Final = 1.15
"""Contention under which latency is at its floor."""
NEUTRAL: Final = 0.5
"""The elasticity at which the experiment alone asks for nothing; pressure moves the rest point to about 0.1."""
_GROW: Final = 0.4
_STREAK_GAIN: Final = 1.5
_LASTING_GROW: Final = 1.0
_LASTING_SURE: Final = 0.5
_SHRINK: Final = 0.2
_PRESSURE: Final = 0.08
_PRESSURE_SLOW: Final = 0.02
_LEVEL: Final = 0.2
_LEVEL_AT: Final = 1.7
_LEVEL_BELOW: Final = 0.45
_EXCESS: Final = 1.5
_TOLERANCE: Final = 0.02
_SPARED: Final = 0.2
_LIGHTEST: Final = 0.6
_HEAVIEST: Final = 1.6
_MIDDLE: Final = 2.9
"""Where levelling balances, too: sqrt(2.9) is 2.9 / 1.7."""


class Growth:
    """What the elasticity alone asks for; faster where it asks for more again and again."""

    def __init__(self) -> None:
        self._streak = 0

    def step(self, value: float, error: float, limit: float, unit: float, contention: float) -> float:
        """Return it in attempts in flight, for an elasticity of ``value`` ± ``error``."""
        z = value - NEUTRAL
        self._streak = min(4, self._streak + 1) if z > 0.1 else 0
        if z > 0.25 + error:
            return _GROW * (1.0 + _STREAK_GAIN * self._streak) * z * unit
        if z > 0.5 * error and contention < FREE:
            return _GROW * (z - 0.5 * error) * unit
        if z < -0.5 * error:
            is_clear = z < -0.3 and z < -2.0 * error
            return -limit * min(0.25, (3.0 if is_clear else 1.0) * _SHRINK * -z)
        return 0.0


def lasting_growth(value: float, lasting: float, error: float, unit: float) -> float:
    """Return what many pairs at one limit ask for where the latest few, ``value``, are in favour but no proof.

    Where single answers differ widely (pages that are dearer the deeper they lie) a few pairs never prove anything, and latency
    above its floor says nothing; ``lasting`` ± ``error`` is what 20 pairs say.
    """
    z = lasting - NEUTRAL
    return _LASTING_GROW * z * unit if value > NEUTRAL and z > _LASTING_SURE * error else 0.0


def pressure(unit: float, duty: int, is_slow: bool) -> float:
    """Return the steady push upwards, the same over time up to one pair in four.

    It is weaker where there is little to see, except for who has less than one in flight: it has little to see for that.
    """
    share = _PRESSURE_SLOW * duty if is_slow and unit >= 1.0 else _PRESSURE * min(4, duty)
    return share / 3.0 * unit


def penalty(limit: float, unexplained: float, blame: float) -> float:
    """Return what failures cost: ``unexplained`` is their share beyond the acquitted, ``blame`` the load's part in them.

    Pods see the same failures, so who has more of the upstream gives more of it back: its share grows with sqrt(limit).
    """
    excess = (unexplained - _TOLERANCE) * blame
    if excess <= 0.0:
        return 0.0
    weight = min(_HEAVIEST, max(_LIGHTEST, math.sqrt(limit / _MIDDLE)))
    return weight * _EXCESS * max(0.0, limit - _SPARED) * min(0.15, excess)


def levelling(value: float, limit: float, unit: float, contention: float, unexplained: float) -> float:
    """Return the pull towards the middle where pods are in each other's way: small ones up, large ones down.

    It is scaled by sqrt(limit) against the limit, so it balances at 2.9 in flight; the other terms move the fleet's sum.
    """
    if contention <= FREE:
        return 0.0
    pull = unit - limit / _LEVEL_AT
    if pull > 0.0 and unexplained > 0.06:
        return 0.0
    weight = max(0.0, min(1.0, (_LEVEL_BELOW - value) / 0.3))
    return _LEVEL * weight * min(1.0, (contention - FREE) / 0.35) * pull
