"""What the operator's side needs to see and do; ``main`` fills it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

FleetAnswer = Callable[[str | None, bool], tuple[int, bytes, str]]
"""Takes the header that proves the fleet's key, and whether who asks carries calls.

Returns status, this pod's record, and the proof of the answer.
"""


class Health(Protocol):
    """The sidecar's own state. It never depends on the upstream's: an outage there must not take the pod out of its Service."""

    @property
    def is_started(self) -> bool:
        """Whether the port is open and the configuration loaded."""

    @property
    def is_serving(self) -> bool:
        """Whether new calls are welcome."""

    def heartbeat_age_s(self) -> float:
        """Return how long ago the event loop last turned."""


class Operations(Protocol):
    """What an operator may read and change while it runs."""

    def effective_config(self) -> Mapping[str, Any]:
        """Return the configuration in force, secrets blanked."""

    def limits(self) -> Mapping[str, Any]:
        """Return the limits in force and how they are used."""

    def change_limits(self, change: Mapping[str, Any]) -> list[str]:
        """Merge ``change`` into the limits until the next reload; return what is wrong with it, [] when it is in force."""

    def queue(self) -> Mapping[str, Any]:
        """Return who waits, by priority and for how long (seconds), and what is under way."""

    def decisions(self) -> Mapping[str, Any]:
        """Return what limits and outage gates decided lately and why, and which requests always fail."""

    def fleet(self) -> Mapping[str, Any]:
        """Return the pods, who decides for them, and who holds what."""

    def log_level(self) -> str:
        """Return the level in force."""

    def set_log_level(self, level: str) -> bool:
        """Set the level; False when there is no such level."""

    @property
    def allows_drain(self) -> bool:
        """Whether POST /drain is enabled."""

    def drain(self) -> None:
        """Begin to stop, as on SIGTERM."""

    @property
    def allows_shutdown(self) -> bool:
        """Whether POST /shutdown is enabled."""

    def shutdown(self) -> None:
        """Stop at once."""
