"""Pods that meet in a Redis or Valkey: each posts its record and reads the plan, in one script a turn.

    following ──the pilot was silent for 2 s──▶ piloting ──could not renew for 2 s, or says goodbye──▶ following
        └──no answer──▶ away (said once) ──an answer──▶ following

The pilot holds a lease in Redis, so there is one. What it learnt is in the plan there, and the next one goes on from it. A plan
is taken only from the pilot, and only on top of the plan that it knew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from proxy.fleet.board import Seen
from proxy.fleet.leases import LEASE_S
from proxy.fleet.record import (
    Plan,
    Record,
    RecordError,
    decode,
    decode_plan,
    encode,
    encode_plan,
    encode_shares,
)
from proxy.fleet.redis_client import RedisError
from proxy.fleet.scripts import PUBLISH, TURN, keys_of

_log = logging.getLogger("sidegate")

_SAY_AGAIN_S = 60.0
"""The same trouble is said once in so long, also where it comes and goes."""


class Client(Protocol):
    """What runs scripts."""

    async def run(self, script: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        """Return what the script returns; raises RedisError."""

    async def close(self) -> None:
        """Stop."""


class Redis:
    """A board in Redis. ``client`` runs the scripts."""

    is_strict = True

    def __init__(self, *, pod: str, fleet: str, client: Client, monotonic: Callable[[], float]) -> None:
        self._pod = pod
        self._client = client
        self._keys = keys_of(fleet)
        self._monotonic = monotonic
        self._is_pilot = False
        self._id = ""
        self._body = b""
        """The plan that was last in force, as far as this pod knows: its id, and without the shares."""
        self._is_awake = True
        self._said: dict[str, float] = {}
        self._is_away = False

    async def open(self) -> None:
        """Nothing to do: the first turn connects."""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def turn(self, record: Record) -> Seen:
        """Post the record; return the plan, and to the pilot all records."""
        was_pilot = self._is_pilot
        answer = await self._run(TURN, self._arguments(record))
        if answer is None:
            return Seen(is_pilot=False, is_reached=False)
        is_pilot, plan_id, age_ms, body, shares = answer[:5]
        self._is_pilot, self._id, self._body = is_pilot == 1, plan_id.decode(), body or self._body
        records = self._records(answer[5], record) if self._is_pilot else {}
        if self._is_pilot and was_pilot:
            return Seen(is_pilot=True, records=records, is_whole=True, lease_s=LEASE_S)
        if self._is_pilot:
            plan = self._plan(dict(zip(shares[::2], shares[1::2], strict=True)))
        else:
            plan = self._plan({self._pod.encode(): shares} if shares else {})
        self._is_awake = plan is None or plan.is_awake
        return Seen(self._is_pilot, records, plan, age_ms / 1000.0, is_whole=self._is_pilot, lease_s=LEASE_S)

    def _arguments(self, record: Record, is_leaving: bool = False) -> list[str | bytes | int]:
        flags = (self._is_pilot, record.is_awake or self._is_awake, is_leaving)
        return [self._pod, encode(record), self._id if self._body else "", *(int(flag) for flag in flags)]

    def _plan(self, shares: dict[bytes, bytes]) -> Plan | None:
        if not self._body:
            return None
        try:
            return decode_plan(self._body, {pod.decode(): its for pod, its in shares.items()})
        except RecordError as error:
            self._say(f"the plan in Redis is left alone: {error}")
            return None

    def _records(self, texts: Sequence[bytes], own: Record) -> dict[str, Record]:
        records = {}
        for text in texts:
            try:
                record = decode(text)
            except RecordError as error:
                self._say(f"a record in Redis is left alone: {error}")
            else:
                records[record.pod] = record
        return {**records, own.pod: own}

    async def publish(self, plan: Plan) -> bool:
        """Put the plan in force; return whether it is: another may have become the pilot meanwhile."""
        if not self._is_pilot:
            return False
        body = encode_plan(plan)
        shares = [part for item in encode_shares(plan).items() for part in item]
        done = await self._run(PUBLISH, [self._pod, self._id, plan.id, body, *shares])
        if done != 1:  # or it is, and no answer said so: the next turn shows it
            self._is_pilot = False
            return False
        self._id, self._body, self._is_awake = plan.id, body, plan.is_awake
        return True

    async def leave(self, record: Record) -> None:
        """Post the record of a pod that stops; a pilot gives its lease back."""
        record.is_leaving = True
        await self._run(TURN, self._arguments(record, is_leaving=True))
        self._is_pilot = False

    # trouble

    async def _run(self, script: str, args: Sequence[str | bytes | int]) -> Any:
        """Return what the script returns; None, and a line in the log, where it could not be run."""
        try:
            answer = await self._client.run(script, self._keys, args)
        except RedisError as error:
            self._is_pilot = False
            self._is_away = True
            self._say(f"Redis cannot be used: {error}")
            return None
        if self._is_away:
            self._is_away = False
            _log.info("fleet: Redis can be used again")
        return answer

    def _say(self, text: str) -> None:
        now = self._monotonic()
        if now - self._said.get(text, -_SAY_AGAIN_S) >= _SAY_AGAIN_S:
            self._said[text] = now
            _log.warning("fleet: %s", text)

    def __repr__(self) -> str:
        return f"<Redis {'the pilot' if self._is_pilot else 'following'}, plan {self._id or 'none'}>"
