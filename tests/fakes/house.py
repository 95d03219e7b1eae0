"""A whole sidecar in the test's own event loop, an origin behind it and apps in front; nothing may be left over at its end."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Mapping
from typing import Any

from proxy.base.clock import SystemClock
from proxy.base.outcomes import AttemptOutcome, ExchangeOutcome
from proxy.base.reasons import Reason
from proxy.config.load import Sources
from proxy.config.settings import Settings
from proxy.main import Sidecar
from tests.fakes.app import Answer, App
from tests.fakes.loop import until
from tests.fakes.origin import Origin

QUICK = {
    "listen": "127.0.0.1:0",
    "ops": "127.0.0.1:0",
    "admin": "127.0.0.1:0",
    "retry": {"backoff": {"base": "1ms", "max": "5ms"}, "budget": {"floor_per_s": 1000}},
    "timeouts": {"connect": "2s", "response_head": "5s", "body_idle": "5s", "total": "8s"},
    "queue": {"max_wait": "5s"},
    "limits": {"concurrency": {"mode": "off"}},
    "log": {"access": "off", "level": "error"},
}
"""The defaults, with pauses that a test can wait for."""


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid upon it, section by section."""
    tree = copy.deepcopy(dict(base))
    for key, value in over.items():
        below = tree.get(key)
        tree[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return tree


def settings_for(url: str, **over: Any) -> Settings:
    """Settings of a sidecar for tests."""
    tree = merged({**QUICK, "upstream": {"url": url}}, over)
    return Sources(None, {}, [(key, json.dumps(value)) for key, value in tree.items()]).load()


class Witness:
    """Stands before the sidecar's observer and keeps what it is told."""

    def __init__(self, told: Any) -> None:
        self._told = told
        self.attempts: list[AttemptOutcome] = []
        self.calls: list[ExchangeOutcome] = []
        self.retries: list[Reason] = []
        self.denied: list[str] = []

    def attempt(self, outcome: AttemptOutcome) -> None:
        """One attempt has ended."""
        self.attempts.append(outcome)
        self._told.attempt(outcome)

    def call(self, outcome: ExchangeOutcome) -> None:
        """One call has ended."""
        self.calls.append(outcome)
        self._told.call(outcome)

    def retried(self, reason: Reason) -> None:
        """A retry was decided."""
        self.retries.append(reason)
        self._told.retried(reason)

    def retry_denied(self, why: str) -> None:
        """A failure stands."""
        self.denied.append(str(why))
        self._told.retry_denied(why)

    def shown_target(self, target: bytes) -> str:
        """A target as the log shows it."""
        return str(self._told.shown_target(target))

    def waited(self, stage: str, seconds: float) -> None:
        """A call waited."""
        self._told.waited(stage, seconds)


class House:
    """``async with House(origin, limits=…) as house``: sidecar up, both ends at hand.

    On leaving, every call must have ended and given back what it held; see ``is_at_rest``.
    """

    def __init__(self, origin: Origin, path: str = "", **over: Any) -> None:
        self.origin = origin
        self._path = path
        self._over = over
        self.apps: list[App] = []
        self.sidecar: Sidecar
        self.port = 0

    async def __aenter__(self) -> House:
        if not self.origin.port:
            await self.origin.open()
        try:
            await self._open()
        except BaseException:
            await self.origin.close()
            raise
        return self

    async def _open(self) -> None:
        settings = settings_for(self.origin.url + self._path, **self._over)
        loop = asyncio.get_running_loop()
        self.sidecar = Sidecar(settings, loop, clock=SystemClock(), rng=random.Random(7))
        self.witness = Witness(self.sidecar.observer)
        self.sidecar.exchange._observer = self.sidecar.exchange.pauses._observer = self.witness
        addresses = await self.sidecar.open()
        self.port = int(addresses["listen"].rpartition(":")[2])
        self._ops_port = int(addresses["ops"].rpartition(":")[2])
        self._admin_port = int(addresses["admin"].rpartition(":")[2])

    async def __aexit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                await self.comes_to_rest()
        finally:
            for app in self.apps:
                app.close()
            self.sidecar.lifecycle.stop_at_once()
            await self.sidecar.run_until_stopped()
            await self.origin.close()

    async def app(self, *, receive_buffer: int = 0) -> App:
        """A new connection of the app."""
        app = await App.connect(self.port, receive_buffer=receive_buffer)
        self.apps.append(app)
        return app

    async def get(self, target: str = "/", *headers: str) -> Answer:
        """Send a GET on a connection of its own and read the answer."""
        return await (await self.app()).get(target, *headers)

    async def post(self, target: str, body: bytes, *headers: str) -> Answer:
        """Send a POST on a connection of its own and read the answer."""
        return await (await self.app()).post(target, body, *headers)

    async def metrics(self) -> str:
        """What the ops port shows at /metrics."""
        app = await App.connect(self._ops_port)
        self.apps.append(app)
        return (await app.get("/metrics", "Connection: close")).body.decode()

    async def admin(self, target: str) -> Any:
        """What the admin port says, decoded."""
        app = await App.connect(self._admin_port)
        self.apps.append(app)
        return json.loads((await app.get(target, "Connection: close")).body)

    @property
    def limiter(self) -> Any:
        """The default limiter."""
        return self.sidecar.limiters["default"]

    @property
    def gate(self) -> Any:
        """The default limiter's outage gate."""
        return self.sidecar.limiters.gate("default")

    def at_rest(self) -> dict[str, tuple[int, int]]:
        """What is out and should not be: name -> (is, should be)."""
        sidecar = self.sidecar
        pool = sidecar.pool
        others = [upstream.pool for upstream in sidecar.elsewhere._known.values()]
        slots = sum(limiter.inflight for limiter in sidecar.limiters)
        waiting = sum(limiter.waiting for limiter in sidecar.limiters)
        connections = len(sidecar.listener.connections) + sum(each.open_count for each in (pool, *others))
        found = {
            "calls under way": (sidecar.exchange.calls_under_way, 0),
            "slots": (slots, 0),
            "waiting": (waiting, 0),
            "busy upstream connections": (
                sum(each.open_count - each.idle_count for each in (pool, *others)),
                0,
            ),
            "deadlines": (len(sidecar.deadlines), connections),
        }
        return {name: pair for name, pair in found.items() if pair[0] != pair[1]}

    async def comes_to_rest(self) -> None:
        """Wait until every call has given back what it held."""
        try:
            await until(lambda: not self.at_rest(), "rest", 5.0)
        except AssertionError as error:
            raise AssertionError(f"left over (is, should be): {self.at_rest()}; {error}") from None
