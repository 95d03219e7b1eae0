"""Where pods meet. Three kinds behind one seam: alone, peers that read each other, and a Redis that all write to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

from proxy.fleet.record import Plan, Record


@dataclass(slots=True)
class Seen:
    """What a turn at the board showed."""

    is_pilot: bool
    records: dict[str, Record] = field(default_factory=dict)
    """All that could be read, by pod; the pilot's only."""
    plan: Plan | None = None
    """The plan in force; for a new pilot the one to go on from."""
    plan_age_s: float = 0.0
    """How old the plan is."""
    is_reached: bool = True
    """Whether anybody else could be read, where there is somebody else."""
    is_whole: bool = False
    """Whether the records are of all pods there are: who is not among them has gone, and its lease has run out."""
    missing: int = 0
    """How many pods are named and could not be read; the pilot's only."""
    lease_s: float = math.inf
    """How long a lease that the plan gives runs, from when the turn began."""


class Board(Protocol):
    """Carries records to the pilot and plans to the pods. Never raises for what others do.

    ``is_strict``: a plan is taken from one pilot at a time, so that a pod without a lease may have nothing of the owner's totals.
    """

    is_strict: bool

    async def open(self) -> None:
        """Get ready."""

    async def turn(self, record: Record) -> Seen:
        """Show this pod's record, and return what there is to see."""

    async def publish(self, plan: Plan) -> bool:
        """Show the plan of this pod, which is the pilot; return whether it is in force."""

    async def leave(self, record: Record) -> None:
        """Show the record of a pod that stops, as often as it changes: its share is given out at once."""

    async def close(self) -> None:
        """Stop."""


class Alone:
    """A pod by itself is its own pilot."""

    is_strict = False

    async def open(self) -> None:
        """Nothing to do."""

    async def turn(self, record: Record) -> Seen:
        """Return the pod's own record."""
        return Seen(is_pilot=True, records={record.pod: record}, is_whole=True)

    async def publish(self, plan: Plan) -> bool:
        """Return True; nobody reads it."""
        return True

    async def leave(self, record: Record) -> None:
        """Nobody listens."""

    async def close(self) -> None:
        """Nothing to do."""
