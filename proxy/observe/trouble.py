"""Upkeep that fails without failing a call: a name server that does not answer, a certificate that cannot be read."""

from __future__ import annotations

import logging
from typing import Protocol

_log = logging.getLogger("sidegate.upkeep")


class Source(Protocol):
    """Whoever fails. ``failures`` only grows; ``last_error`` is empty once it works again."""

    failures: int
    last_error: str


class Trouble:
    """Watches one source; logs a line when it begins to fail and one when it works again. What it counts is the source's own."""

    def __init__(self, source: Source, consequence: str) -> None:
        """``consequence`` says what is in use meanwhile."""
        self.source = source
        self._consequence = consequence
        self._seen = source.failures
        self._is_on = False

    def look(self) -> None:
        """Compare with the last look; asked now and then."""
        source = self.source
        has_failed = source.failures > self._seen
        self._seen = source.failures
        if has_failed and not self._is_on:
            self._is_on = True
            _log.warning("%s; %s", source.last_error or "it failed, and works again", self._consequence)
        if self._is_on and not source.last_error:
            self._is_on = False
            _log.info("that is over: it works again")

    def __repr__(self) -> str:
        return f"<Trouble {'on' if self._is_on else 'off'}, {self._seen} failures>"
