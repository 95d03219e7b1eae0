"""What an app may wish of one call, by its ``Sidegate-*`` headers."""

from __future__ import annotations

from enum import Enum


class Priority(Enum):
    """What the app said of a call; the value is the word for it."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Wishes:
    """The wishes of one call; ``timeout_s`` in seconds. None where the app left it to the configuration."""

    __slots__ = ("attempts", "priority", "timeout_s")

    def __init__(self, timeout_s: float | None, attempts: int | None, priority: Priority) -> None:
        self.timeout_s = timeout_s
        self.attempts = attempts
        self.priority = priority

    def __repr__(self) -> str:
        return f"<Wishes timeout={self.timeout_s} attempts={self.attempts} {self.priority.value}>"
