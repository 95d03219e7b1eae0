"""STARTING -> SERVING -> DRAINING -> STOPPED.

DRAINING serves the app as before, and asks it with each answer to close its connection. It ends when the app has had no call
under way for ``quiet_s``, or after ``grace_s``. New connections stay welcome until then: a sidecar is told to stop together with
its app, and the app's last calls must not be refused. Calls that still wait, for a turn or for their next try, are
answered at its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum

from proxy.accept.listener import DownstreamListener
from proxy.exchange import Exchange

_log = logging.getLogger("sidegate.lifecycle")

_LOOK_S = 0.05
_LAST_WORDS_S = 0.05
"""For the answers of those that are turned away at the end."""


class State(Enum):
    """Where the sidecar is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"


class Lifecycle:
    """The state, and how it changes."""

    def __init__(
        self,
        listener: DownstreamListener,
        exchange: Exchange,
        *,
        monotonic: Callable[[], float],
        turn_away: Callable[[], None],
    ) -> None:
        """``turn_away`` ends the wait of all calls that wait for a turn."""
        self.state = State.STARTING
        self._listener = listener
        self._exchange = exchange
        self._monotonic = monotonic
        self._turn_away = turn_away
        self._told = asyncio.Event()
        self._at_once = asyncio.Event()

    def serve(self) -> None:
        """The ports are open."""
        self.state = State.SERVING

    def stop(self) -> None:
        """Begin to drain; asked a second time, stop at once."""
        if self._told.is_set():
            self._at_once.set()
        self._told.set()

    def stop_at_once(self) -> None:
        """Stop without draining."""
        self._told.set()
        self._at_once.set()

    async def until_told(self) -> None:
        """Wait for ``stop``."""
        await self._told.wait()

    async def drain(self, *, grace_s: float, quiet_s: float) -> None:
        """Serve until the app is done, the grace is over, or somebody is impatient."""
        self.state = State.DRAINING
        self._listener.is_draining = True
        started = quiet_since = self._monotonic()
        _log.info("draining: serving until the app is idle for %g s, %g s at most", quiet_s, grace_s)
        while not self._at_once.is_set():
            now = self._monotonic()
            if self._exchange.calls_under_way:
                quiet_since = now
            if now - quiet_since >= quiet_s or now - started >= grace_s:
                break
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._at_once.wait()
            except TimeoutError:
                continue
        self.state = State.STOPPED
        self._listener.stop_accepting()
        if self._exchange.calls_under_way:
            _log.warning("stopping with %d calls under way", self._exchange.calls_under_way)
            self._turn_away()
            self._exchange.pauses.end()
            await asyncio.sleep(_LAST_WORDS_S)
        self._listener.close_idle()
        await asyncio.sleep(0)
        self._listener.abort_all()
