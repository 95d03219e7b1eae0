"""Peers that read each other by virtual time: reads take a moment, and pods may be cut off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from proxy.fleet.peers import READ_S, Address, Peers
from proxy.fleet.record import Record, decode
from tests.fakes.virtual import now


class Wires:
    """Who is read where."""

    def __init__(self, rng: random.Random, may_cut: bool) -> None:
        self.rng = rng
        self.may_cut = may_cut
        self.at: dict[Address, VirtualPeers] = {}
        self.cut: set[str] = set()

    async def find(self) -> Sequence[Address]:
        return list(self.at)


class VirtualPeers(Peers):
    """Peers without sockets."""

    def __init__(self, name: str, wires: Wires) -> None:
        super().__init__(
            pod=name, fleet="http://a", find=wires.find, key=None, monotonic=now, wall=lambda: now() + 1.7e9
        )
        self.name = name
        self.wires = wires
        self.is_dead = False
        wires.at[("10.0.0.1", len(wires.at) + 1)] = self

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        self.is_dead = True

    async def _read_at(self, at: Address | None) -> Record | None:
        wires = self.wires
        other = wires.at.get(at) if at is not None else None
        if other is None:
            return None
        await asyncio.sleep(wires.rng.expovariate(50.0))
        if other.is_dead:
            return None
        is_cut = other is not self and (self.name in wires.cut or other.name in wires.cut)
        if is_cut:
            await asyncio.sleep(READ_S)
            return None
        own: Any = self._own
        status, body, _ = other.answer(None, own is not None and own.is_awake)
        await asyncio.sleep(wires.rng.expovariate(50.0))
        return decode(body) if status == 200 else None
