"""Who goes next: the queue behind a limiter, fair between the app's connections, with three priorities.

Within a priority the turn is whose connection has had nothing for longest. A connection of the app carries one call at a time,
so one moment says what it has had, and nothing needs to be kept about it here:

    since = when the connection's last answer ended, or when it was opened
    next  = the smallest since; of equal ones, the first to come

- Who comes back at once is behind everyone who waits: the order of arrival.
- Who was quiet goes ahead of those that were served meanwhile. A new connection has no such claim, so that opening one for
  every call gains nothing.
- A retry has the since of its call, which is older than that of whoever was served since: it goes ahead of them.
- Nobody starves: to overtake, a connection must have been idle since before. It can do so with one call, retries included.

Between priorities it is weighted fair queueing: with a virtual clock ``now``,

    due  = now + 16 / weight          weight: high 16, normal 4, low 1; set when the first comes and after each turn
    next = the priority with the smallest due, the higher one of two; now = its due

While all wait, 21 turns are 16 of high, 4 of normal and 1 of low, and low waits for 21 others at most; turns of a priority in
which nobody waits go to the others by weight. Who leaves takes no turn and costs none.

Worked example: two high, two normal and one low come at 0. Due at 1, 4 and 16: high, then again at 2, normal at 4, normal
at 8, low at 16.

Places are kept in order in a list. At 1024 waiting a push and a pop cost 0.4 µs, at 100,000 20 µs (one memory move);
a heap would not tell how many are ahead, from which the wait is predicted.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, Generic, TypeVar

from proxy.base.wishes import Priority

Place = tuple[float, int]
"""Place in a line: -since and minus the number of arrival, so that the next one stands at the list's end."""


_STRIDES: Final = {Priority.HIGH: 1, Priority.NORMAL: 4, Priority.LOW: 16}
"""The virtual time between two turns of a priority: 16 / weight."""


class Queued:
    """Someone who may stand in a queue. ``since`` is in seconds of any one clock."""

    __slots__ = ("place", "priority", "since")

    def __init__(self, since: float, priority: Priority) -> None:
        self.since = since
        self.priority = priority
        self.place: Place = (0.0, 0)


Q = TypeVar("Q", bound=Queued)


class _Line(Generic[Q]):
    """Those of one priority. ``places`` and ``items`` run in parallel, the next to go at the end."""

    __slots__ = ("due", "items", "places", "stride")

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self.due = 0
        self.places: list[Place] = []
        self.items: list[Q] = []


class FairQueue(Generic[Q]):
    """See above. ``size`` is how many wait; reading it is all that a call costs that need not wait."""

    __slots__ = ("_arrivals", "_lines", "_now", "size")

    def __init__(self) -> None:
        self._lines: dict[Priority, _Line[Q]] = {p: _Line(stride) for p, stride in _STRIDES.items()}
        self._now = 0
        self._arrivals = 0
        self.size = 0

    def push(self, item: Q) -> None:
        """Let ``item`` stand in line, once."""
        line = self._lines[item.priority]
        if not line.items:
            line.due = self._now + line.stride
        self._arrivals += 1
        item.place = (-item.since, -self._arrivals)
        at = bisect_left(line.places, item.place)
        line.places.insert(at, item.place)
        line.items.insert(at, item)
        self.size += 1

    def peek(self) -> Q | None:
        """Return whose turn it is, None when nobody waits."""
        line = self._next_line()
        return None if line is None else line.items[-1]

    def pop(self) -> Q:
        """Take off and return whose turn it is. IndexError when nobody waits."""
        line = self._next_line()
        if line is None:
            raise IndexError("nobody waits")
        self._now = line.due
        line.due += line.stride
        line.places.pop()
        self.size -= 1
        return line.items.pop()

    def discard(self, item: Q) -> None:
        """Let ``item`` leave, wherever it stands; nothing happens when it does not."""
        line = self._lines[item.priority]
        at = bisect_left(line.places, item.place)
        if at < len(line.items) and line.items[at] is item:
            del line.places[at], line.items[at]
            self.size -= 1

    def ahead_of(self, since: float, priority: Priority) -> int:
        """Return about how many would go before one that came now: exact within its priority, by weight beside it."""
        mine = self._lines[priority]
        ahead = len(mine.places) - bisect_left(mine.places, (-since, -self._arrivals - 1))
        span = (ahead + 1) * mine.stride
        for line in self._lines.values():
            if line is not mine:
                ahead += min(len(line.items), span // line.stride)
        return ahead

    def items(self) -> list[Q]:
        """Return everyone who waits, by priority and in order."""
        return [item for line in self._lines.values() for item in reversed(line.items)]

    def _next_line(self) -> _Line[Q] | None:
        found: _Line[Q] | None = None
        for line in self._lines.values():
            if line.items and (found is None or line.due < found.due):
                found = line
        return found

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(line.items)} {p.value}" for p, line in self._lines.items())
        return f"<FairQueue {counts}>"
