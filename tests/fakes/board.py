"""A fleet's board as an object of the test: what it shows is said by the test, or it is one that several members share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from proxy.fleet.board import Seen
from proxy.fleet.record import Plan, Record, Share
from proxy.learn.evidence.tally import Reading, Tally


class FakeBoard:
    """Shows what ``shows`` makes of the record that was posted; remembers what was posted, published and said on leaving."""

    def __init__(self, shows: Callable[[Record], Seen], is_strict: bool = False) -> None:
        self.shows = shows
        self.is_strict = is_strict
        self.posted: list[Record] = []
        self.published: list[Plan] = []
        self.left: list[Record] = []
        self.is_open = False
        self.takes = True
        """Whether plans are taken."""

    async def open(self) -> None:
        self.is_open = True

    async def turn(self, record: Record) -> Seen:
        self.posted.append(record)
        return self.shows(record)

    async def publish(self, plan: Plan) -> bool:
        self.published.append(plan)
        return self.takes

    async def leave(self, record: Record) -> None:
        self.left.append(record)

    async def close(self) -> None:
        self.is_open = False


class FakeSeat:
    """A limiter as its fleet sees it: says what the test has it say, remembers the shares it was given."""

    def __init__(self, monotonic: Callable[[], float], **over: Any) -> None:
        self._monotonic = monotonic
        self.shares: list[Share] = []
        self.lease = (math.inf, Share(0))
        self.tally = Tally()
        self.says: dict[str, Any] = {"wanted": 0, **over}

    def reading(self) -> Reading:
        return Reading(at=self._monotonic(), tally=Tally(**self.tally.as_dict()), **self.says)

    def apply(self, share: Share) -> None:
        self.shares.append(share)
        self.lease = (math.inf, share)

    def until(self, at: float, then: Share) -> None:
        self.lease = (at, then)

    @property
    def in_force(self) -> Share:
        """What it may use now."""
        until, then = self.lease
        return then if self._monotonic() >= until else self.shares[-1]

    def carries(self, pages: int, took_s: float = 0.1) -> None:
        """So many more went well."""
        self.tally.ok += pages
        self.tally.took_s += pages * took_s
        self.tally.busy_s += pages * took_s
