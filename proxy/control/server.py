"""Opens and closes the operator's ports."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry

from proxy.control.admin import make_admin_app
from proxy.control.ops import make_ops_app
from proxy.control.views import Health, Operations


class ControlServer:
    """The ops and admin ports."""

    def __init__(self, registry: CollectorRegistry, health: Health, operations: Operations) -> None:
        self._ops = web.AppRunner(make_ops_app(registry, health), access_log=None, handle_signals=False)
        self._admin = web.AppRunner(make_admin_app(operations), access_log=None, handle_signals=False)

    async def open(
        self, ops: tuple[str, int], admin: tuple[str, int]
    ) -> tuple[tuple[str, int], tuple[str, int]]:
        """Listen on both; return the addresses really bound. OSError when one is taken."""
        bound = []
        for runner, (host, port) in ((self._ops, ops), (self._admin, admin)):
            await runner.setup()
            site = web.TCPSite(runner, host, port, shutdown_timeout=1.0)
            await site.start()
            name = runner.addresses[0]
            bound.append((str(name[0]), int(name[1])))
        return bound[0], bound[1]

    async def close(self) -> None:
        """Close both ports."""
        await self._admin.cleanup()
        await self._ops.cleanup()
