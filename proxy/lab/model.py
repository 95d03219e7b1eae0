"""An upstream model: on arrival it decides how and when a request will end.

Nothing here knows sockets or clocks, so one piece of code drives the lab's server in real time and a
simulation in virtual time. All of a request's fate is fixed when it arrives: first come first served means
later arrivals cannot change it, and a server does not notice a client that went away. The caller holds the
request for ``after_s``.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Self


@dataclass(slots=True)
class Request:
    """What a model may look at: the page asked for, and the called address (from 0)."""

    page: int
    address: int = 0


@dataclass(slots=True)
class Decision:
    """How a request ends: ``status`` after ``after_s`` seconds, because of ``why``.

    ``sent_share`` under 1.0 is a body cut there and the connection closed; ``chunked`` is the body's framing.
    """

    status: int
    after_s: float
    why: str = "served"
    sent_share: float = 1.0
    chunked: bool = False


class ParamError(ValueError):
    """A parameter is unknown, not a number, or out of range; the text is for the user."""


def param(default: float | bool, *, low: float = 0, high: float = math.inf, why: str) -> Any:
    """A model's dataclass field that ``--param`` may set, with its inclusive range and meaning."""
    return field(default=default, metadata={"low": low, "high": high, "why": why})


def lognormal_s(rng: random.Random, mean_s: float, cv: float) -> float:
    """A lognormal duration of that mean and coefficient of variation; ``cv`` 0 is exactly the mean."""
    if cv == 0:
        return mean_s
    variance = math.log(1 + cv * cv)
    return rng.lognormvariate(math.log(mean_s) - variance / 2, math.sqrt(variance))


@dataclass(kw_only=True)
class Model(ABC):
    """Base of every upstream model; a subclass's ``param`` fields are what a user can turn."""

    name: ClassVar[str]
    pages: ClassVar[int]
    """Pages of a demonstration: some 10-20 s at the model's capacity."""
    addresses: ClassVar[int] = 1
    """Loopback addresses the server binds, 127.0.0.1 upwards."""
    habits: ClassVar[Mapping[str, float]] = {}
    """What the app does differently for this model (fields of ``pages.Habits``)."""

    rng: random.Random

    @abstractmethod
    def arrive(self, now: float, request: Request) -> Decision:
        """Decide a request that arrives at ``now`` seconds; calls come in the order of time."""

    def concurrency(self) -> int | None:
        """Calls the whole fleet should keep in flight, or None where concurrency is not what hurts."""
        return None

    def rate_per_s(self, pods: int) -> float | None:
        """Calls a second the whole fleet may start, or None without a quota."""
        del pods
        return None

    def demo_pages(self) -> int:
        """Pages that make a demonstration."""
        return self.pages

    def demo_seconds(self) -> float:
        """Upper bound of one side of it, generous."""
        return 60.0

    def idle_close_s(self) -> float | None:
        """How long the connection that now falls idle is kept, drawn anew each time; None: for ever."""
        return None

    @property
    def closing_s(self) -> float:
        """How long a close is under way before the client can see it; a call sent meanwhile is lost."""
        return 0.0

    @classmethod
    def params(cls) -> dict[str, Field[Any]]:
        """The fields that ``--param`` may set, by name."""
        return {each.name: each for each in fields(cls) if "why" in each.metadata}

    @classmethod
    def build(cls, rng: random.Random, settings: Mapping[str, str]) -> Self:
        """The model with ``settings`` applied over its defaults; raises ParamError."""
        known = cls.params()
        values: dict[str, Any] = {}
        for key, text in settings.items():
            if key not in known:
                raise ParamError(f"{cls.name} has no parameter {key!r}; it has {', '.join(known) or 'none'}")
            values[key] = parsed(key, text, known[key])
        return cls(rng=rng, **values)


def parsed(key: str, text: str, spec: Field[Any]) -> float | bool:
    """``text`` as the type of the field's default, within its range; raises ParamError."""
    if isinstance(spec.default, bool):
        if text.lower() not in ("true", "false"):
            raise ParamError(f"{key} must be true or false, not {text!r}")
        return text.lower() == "true"
    kind = int if isinstance(spec.default, int) else float
    try:
        value = kind(text)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise ParamError(f"{key} must be {noun}, not {text!r}") from None
    low, high = spec.metadata["low"], spec.metadata["high"]
    if not low <= value <= high:
        raise ParamError(f"{key} must be from {low:g} to {high:g}, not {text}")
    return value


class Station:
    """Workers behind a bounded first-come-first-served queue, whose number may change with time.

    ``workers_at(t)`` is the number at ``t`` (at least 1), ``next_change_s(t)`` the first later time it
    differs. A job starts at the first t, not before its predecessor, at which fewer than ``workers_at(t)``
    jobs run. When the number drops, running jobs finish. Example: 2 workers, 1 place in the queue, 1 s of
    work, four arrivals at 0 finish at 1, 1, 2 and the fourth is refused.
    """

    def __init__(
        self,
        workers_at: Callable[[float], int],
        queue: int,
        next_change_s: Callable[[float], float] = lambda _: math.inf,
    ) -> None:
        self._workers_at = workers_at
        self._queue = queue
        self._next_change_s = next_change_s
        self._jobs: list[tuple[float, float]] = []
        self._last_start = -math.inf

    def __repr__(self) -> str:
        return f"<Station jobs={len(self._jobs)} queue={self._queue}>"

    def in_system(self, now: float) -> int:
        """Jobs that run or wait at ``now``."""
        self._jobs = [job for job in self._jobs if job[1] > now]
        return len(self._jobs)

    def has_room(self, now: float) -> bool:
        """Whether a job that arrives at ``now`` would be taken."""
        waiting = self.in_system(now) - self._running_at(now)
        running = len(self._jobs) - waiting
        return (waiting == 0 and running < self._workers_at(now)) or waiting < self._queue

    def admit(self, now: float, work_s: float) -> float | None:
        """The time at which a job of ``work_s`` that arrives at ``now`` ends, or None without room."""
        if not self.has_room(now):
            return None
        start = max(now, self._last_start)
        while self._running_at(start) >= self._workers_at(start):
            next_end = min((end for _, end in self._jobs if end > start), default=math.inf)
            start = min(next_end, self._next_change_s(start))
        self._last_start = start
        self._jobs.append((start, start + work_s))
        return start + work_s

    def _running_at(self, t: float) -> int:
        return sum(start <= t < end for start, end in self._jobs)
