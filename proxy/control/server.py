"""Opens and closes the operator's ports."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from proxy.base.listening import listen_on, name_of
from proxy.control.admin import make_admin_app
from proxy.control.ops import make_ops_app
from proxy.control.port import Port
from proxy.control.views import FleetAnswer, Health, Operations


class ControlServer:
    """The ops and admin ports. ``most_ops`` and ``most_admin`` bound their connections."""

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        operations: Operations,
        fleet: FleetAnswer | None = None,
        *,
        most_ops: int,
        most_admin: int,
    ) -> None:
        self._ops = Port(make_ops_app(registry, health, fleet), most=most_ops)
        self._admin = Port(make_admin_app(operations), most=most_admin)

    @property
    def refused(self) -> int:
        """Connections that found no place on either port, or lost theirs to another."""
        return self._ops.refused + self._admin.refused

    async def open(
        self, ops: tuple[str, int], admin: tuple[str, int], *, on_both: tuple[bool, bool]
    ) -> tuple[tuple[str, int], tuple[str, int]]:
        """Listen on both; return the addresses really bound. ``on_both``: whether each takes both families.

        OSError when one is taken.
        """
        bound = []
        for port, address, takes_both in ((self._ops, ops, on_both[0]), (self._admin, admin, on_both[1])):
            sockets = await asyncio.to_thread(listen_on, *address, on_both=takes_both)
            bound.append(name_of(sockets[0]))
            await port.open(sockets)
        return bound[0], bound[1]

    async def close(self) -> None:
        """Close both ports."""
        await self._admin.close()
        await self._ops.close()
