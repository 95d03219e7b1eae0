"""Opens and closes the operator's ports."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from proxy.control.admin import make_admin_app
from proxy.control.ops import make_ops_app
from proxy.control.views import FleetAnswer, Health, Operations

_RUNNER: dict[str, Any] = {"access_log": None, "handle_signals": False, "shutdown_timeout": 1.0}


class ControlServer:
    """The ops and admin ports."""

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        operations: Operations,
        fleet: FleetAnswer | None = None,
    ) -> None:
        self._ops = web.AppRunner(make_ops_app(registry, health, fleet), **_RUNNER)
        self._admin = web.AppRunner(make_admin_app(operations), **_RUNNER)

    async def open(
        self, ops: tuple[str, int], admin: tuple[str, int]
    ) -> tuple[tuple[str, int], tuple[str, int]]:
        """Listen on both; return the addresses really bound. OSError when one is taken."""
        bound = []
        for runner, (host, port) in ((self._ops, ops), (self._admin, admin)):
            await runner.setup()
            site = web.TCPSite(runner, host, port)
            await site.start()
            name = runner.addresses[0]
            bound.append((str(name[0]), int(name[1])))
        return bound[0], bound[1]

    async def close(self) -> None:
        """Close both ports."""
        await self._admin.cleanup()
        await self._ops.cleanup()
