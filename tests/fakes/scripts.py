"""What the scripts of a fleet's board do, without a Redis: by virtual time, and with whatever a network does to them.

``tests/socket/test_fleet_boards.py`` runs the same conversations with it as with real servers.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

from proxy.fleet.redis_client import ANSWER_S, RedisError
from proxy.fleet.scripts import PILOT_MS, RECORD_MS, SUCCEEDS_AFTER_MS, TURN


class FakeRedis:
    """The keys of one fleet. ``clock`` is in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Lose everything."""
        self.pilot = ("", 0.0)
        self.seen: dict[str, float] = {}
        self.records: dict[str, bytes] = {}
        self.plan: tuple[bytes, float, bytes] = (b"", 0.0, b"")
        self.shares: dict[bytes, bytes] = {}

    def copy(self) -> dict[str, Any]:
        """Return what a replica would have."""
        return {name: copy.copy(value) for name, value in vars(self).items()}

    def become(self, replica: dict[str, Any]) -> None:
        """Go on with what a replica had."""
        for name, value in replica.items():
            setattr(self, name, copy.copy(value))

    def run(self, script: str, args: Sequence[Any]) -> Any:
        """Return what a script returns."""
        return self._turn(*args) if script == TURN else self._publish(*args)

    def _holder(self) -> str:
        pod, until = self.pilot
        return pod if self._clock() < until else ""

    def _turn(
        self, pod: str, record: bytes, known: str, was_pilot: int, is_awake: int, is_leaving: int
    ) -> list[Any]:
        now = self._clock()
        if self.seen.get(pod, -1.0) < now:
            self.shares.pop(pod.encode(), None)
        self.records[pod], self.seen[pod] = record, now + RECORD_MS / 1000
        pilot = self._holder()
        if is_leaving:
            if pilot == pod:
                self.pilot = ("", 0.0)
            return [0, b"", 0, b"", b""]
        if pilot not in ("", pod) and is_awake:
            silent_s = PILOT_MS / 1000 - (self.pilot[1] - now)
            pilot = "" if silent_s > SUCCEEDS_AFTER_MS / 1000 else pilot
        if pilot in ("", pod):
            self.pilot = (pod, now + PILOT_MS / 1000)
            pilot = pod
        plan_id, at, body = self.plan
        age_ms = int(1000 * (now - at)) if plan_id else 0
        answer: list[Any] = [int(pilot == pod), plan_id, age_ms, b"" if plan_id.decode() == known else body]
        if pilot != pod:
            return [*answer, self.shares.get(pod.encode(), b"")]
        for gone in [each for each, until in self.seen.items() if until < now]:
            del self.seen[gone], self.records[gone]
        shares = [] if was_pilot else [part for item in self.shares.items() for part in item]
        return [*answer, shares, list(self.records.values())]

    def _publish(self, pod: str, base: str, plan_id: str, body: bytes, *shares: Any) -> int:
        if self._holder() != pod or self.plan[0].decode() != base:
            return 0
        self.plan = (plan_id.encode(), self._clock(), body)
        self.shares = {name.encode(): its for name, its in zip(shares[::2], shares[1::2], strict=True)}
        return 1


class Line:
    """A pod's way to the board: it may be slow, lose what is asked or answered, repeat it, or be cut. In virtual time."""

    def __init__(self, redis: FakeRedis, rng: random.Random, loss: float) -> None:
        self._redis = redis
        self._rng = rng
        self._loss = loss
        self.is_cut = False
        self.is_broken = False
        """Whether the next call finds its connection closed."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        rng = self._rng
        if self.is_broken:
            self.is_broken = False
            raise RedisError("connection lost")
        there_s, back_s = (rng.expovariate(50.0) for _ in range(2))
        is_lost, is_silent, is_late, is_repeated = (rng.random() < self._loss for _ in range(4))
        if is_late:
            there_s += rng.uniform(0.0, 3.0)
        loop = asyncio.get_running_loop()
        if self.is_cut or is_lost:
            await asyncio.sleep(ANSWER_S)
            raise RedisError("no answer")
        if is_repeated:
            loop.call_later(there_s + rng.uniform(0.0, 2.0), self._redis.run, script, list(args))
        if there_s + back_s > ANSWER_S or is_silent:
            loop.call_later(there_s, self._redis.run, script, list(args))
            await asyncio.sleep(ANSWER_S)
            raise RedisError("no answer")
        await asyncio.sleep(there_s)
        answer = self._redis.run(script, args)
        await asyncio.sleep(back_s)
        return answer

    async def close(self) -> None:
        pass
