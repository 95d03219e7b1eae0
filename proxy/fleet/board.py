"""Where pods meet. Two kinds behind one seam: alone, and peers that read each other."""

from __future__ import annotations

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


class Board(Protocol):
    """Carries records to the pilot and plans to the pods. Never raises for what others do."""

    async def open(self) -> None:
        """Get ready."""

    async def turn(self, record: Record) -> Seen:
        """Show this pod's record, and return what there is to see."""

    def publish(self, plan: Plan) -> None:
        """Show the plan of this pod, which is the pilot."""

    async def leave(self, record: Record) -> None:
        """Show the record of a pod that stops, as often as it changes: its share is given out at once."""

    async def close(self) -> None:
        """Stop."""


class Alone:
    """A pod by itself is its own pilot."""

    async def open(self) -> None:
        """Nothing to do."""

    async def turn(self, record: Record) -> Seen:
        """Return the pod's own record."""
        return Seen(is_pilot=True, records={record.pod: record})

    def publish(self, plan: Plan) -> None:
        """Nobody reads it."""

    async def leave(self, record: Record) -> None:
        """Nobody listens."""

    async def close(self) -> None:
        """Nothing to do."""
