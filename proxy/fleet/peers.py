"""Pods that read each other on the ops port: the pilot reads all, the others read the pilot. Nothing is pushed.

    looking ──somebody has a plan──▶ following ──no answer for 1 s──▶ the next lowest id
       │                                 ▲                                  │ that is this pod
       └──this pod's id is the lowest──▶ piloting ◀───────────────────────── ┘
                                          └──a lower id pilots──▶ following

Ids begin with the time a pod started, so the pilot is the oldest pod and a rolling update changes it once. A pod finds the
others' addresses by name (a headless Service, a list), and learns their ids by reading them. Two pilots, as after a
partition, see each other's records and the younger one steps down.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

from proxy.fleet import proof
from proxy.fleet.board import Seen
from proxy.fleet.leases import LEASE_S
from proxy.fleet.record import MOST_BYTES, Plan, Record, RecordError, decode, encode

_log = logging.getLogger("sidegate")

Address = tuple[str, int]

READ_S = 0.4
"""Longest wait for one record: less than a turn, so that one that hangs does not hold up the plan."""
_SILENT_S = 1.0
_MISSES = 2
"""A pilot is gone that was not heard for so long, and did not answer so often: an idle fleet asks every 5 s."""
_OLDEST_S = 60.0
_MANY = 32
_PATH = "/fleet/record"


class Peers:
    """A board made of the pods themselves. ``find`` returns where the others may be read, this pod perhaps among them."""

    is_strict = False

    def __init__(
        self,
        *,
        pod: str,
        fleet: str,
        find: Callable[[], Awaitable[Sequence[Address]]],
        key: bytes | None,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        read_s: float = READ_S,
    ) -> None:
        self._pod = pod
        self._fleet = fleet
        self._find = find
        self._key = key
        self._monotonic = monotonic
        self._wall = wall
        self._read_s = read_s
        self._own: Record | None = None
        self._plan: Plan | None = None
        self._plan_at = 0.0
        self._pilot = ""
        self._at: dict[str, Address] = {}
        """Where each known pod is read."""
        self._self_at: set[Address] = set()
        self._heard_at = 0.0
        self._misses = 0
        self._finding: asyncio.Future[Sequence[Address]] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._warned: set[str] = set()
        self._silent = 0
        """How many addresses did not answer when all were read last."""
        self.asked_at = float("-inf")
        """When a pod that carries calls last read this one."""

    async def open(self) -> None:
        """Make the client."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._read_s),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15.0),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the client."""
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    # what others read

    def answer(self, header: str | None, is_awake: bool) -> tuple[int, bytes, str]:
        """Return status, body and proof for a pod that reads this one's record; 401 without proof of the key."""
        nonce = ""
        if self._key is not None:
            known = proof.nonce_of(self._key, header, self._wall())
            if known is None:
                return 401, b"this fleet has a key, and the question does not prove it\n", ""
            nonce = known
        if self._own is None:
            return 503, b"not started\n", ""
        if is_awake:
            self.asked_at = self._monotonic()
        self._own.plan = self._plan if self._pilot == self._pod else None
        self._own.plan_age_s = self._monotonic() - self._plan_at
        body = encode(self._own)
        return 200, body, proof.answer(self._key, nonce, body) if self._key is not None else ""

    # turns

    async def turn(self, record: Record) -> Seen:
        """Read who has to be read; return what was seen."""
        now = self._monotonic()
        record.pilot = self._pilot
        self._own = record
        if self._pilot == self._pod:
            return await self._pilot_turn(record)
        if not self._pilot:
            return await self._look(record)
        read = await self._read_at(self._at.get(self._pilot))
        if read is not None and read.pod == self._pilot and not read.is_leaving:
            self._heard_at, self._misses = now, 0
            return self._follow(read)
        self._misses += 1
        is_silent = self._misses >= _MISSES and now - self._heard_at >= _SILENT_S
        if read is None and not is_silent:
            return Seen(is_pilot=False, is_reached=False)
        return await self._succeed(record)

    def _follow(self, read: Record) -> Seen:
        self._misses = 0
        if read.pilot and read.pilot < read.pod:
            self._pilot = read.pilot if read.pilot in self._at else ""
        if read.plan is None:
            return Seen(is_pilot=False)
        age_s = min(_OLDEST_S, max(0.0, read.plan_age_s))
        self._plan, self._plan_at = read.plan, self._monotonic() - age_s
        known = {pod: _parsed(where) for pod, where in read.plan.pods.items() if pod != self._pod}
        self._at = {**known, read.pod: self._at[read.pod]}
        # A pilot counts a lease from when it made the plan: it does not hear who reads it.
        return Seen(is_pilot=False, plan=read.plan, plan_age_s=age_s, lease_s=max(0.0, LEASE_S - age_s))

    async def _look(self, record: Record) -> Seen:
        """Nobody is known: read everybody once."""
        records = await self._read_all()
        others = {pod: read for pod, read in records.items() if not read.is_leaving}
        lowest = min([*others, self._pod])
        self._heard_at = self._monotonic()
        if lowest == self._pod:
            self._pilot = record.pilot = self._pod
            # A clock that is behind makes the youngest pod the oldest: it goes on from what the pilot before knew.
            plans = [read.plan for read in records.values() if read.plan is not None]
            plan = max(plans, key=lambda each: each.serial, default=None)
            return Seen(True, {**records, self._pod: record}, plan, missing=self._silent, lease_s=LEASE_S)
        self._pilot = lowest
        pilot = others[lowest]
        return self._follow(pilot)

    async def _succeed(self, record: Record) -> Seen:
        """The pilot is gone: the next lowest id is it. That one goes on from the plan that all have read."""
        gone = self._pilot
        self._at.pop(gone, None)
        known = self._plan.pods if self._plan is not None else {}
        for pod in sorted({*self._at, *known, self._pod} - {gone}):
            if pod == self._pod:
                self._pilot = record.pilot = self._pod
                seen = await self._pilot_turn(record)
                seen.plan = self._plan
                return seen
            at = self._at.get(pod) or _parsed(known[pod])
            read = await self._read_at(at)
            if read is not None and read.pod == pod and not read.is_leaving:
                self._at[pod] = at
                self._pilot, self._heard_at = pod, self._monotonic()
                return self._follow(read)
        raise AssertionError("this pod is among those that are looked at")

    async def _pilot_turn(self, record: Record) -> Seen:
        records = await self._read_all()
        self._heard_at = self._monotonic()
        lower = [
            pod
            for pod, read in records.items()
            if pod < self._pod and read.pilot == pod and not read.is_leaving
        ]
        if lower:
            self._pilot = record.pilot = min(lower)
            return self._follow(records[self._pilot])
        is_reached = bool(records) or not self._at
        return Seen(
            True,
            {**records, self._pod: record},
            is_reached=is_reached,
            missing=self._silent,
            lease_s=LEASE_S,
        )

    async def publish(self, plan: Plan) -> bool:
        """Show the plan to those who read this pod."""
        plan.pods = {pod: f"{host}:{port}" for pod, (host, port) in self._at.items()}
        self._plan, self._plan_at = plan, self._monotonic()
        return True

    async def leave(self, record: Record) -> None:
        """Say so to whoever reads this pod from now on; the ops port stays open while the sidecar drains."""
        record.pilot, record.is_leaving = self._pilot, True
        self._own = record

    # reading

    async def _read_all(self) -> dict[str, Record]:
        found = [at for at in dict.fromkeys(await self._found()) if at not in self._self_at]
        if len(found) > _MANY:
            self._warn(
                "many", f"{len(found)} pods read each other in turns: use fleet.mode redis beyond {_MANY}"
            )
        reads = await asyncio.gather(*(self._read_at(at) for at in found))
        records: dict[str, Record] = {}
        self._silent = reads.count(None)
        for at, read in zip(found, reads, strict=True):
            if read is None:
                continue
            if read.pod == self._pod:
                self._self_at.add(at)
                continue
            for gone in [pod for pod, where in self._at.items() if where == at]:
                del self._at[gone]  # started again at the same address, it has another id
            self._at[read.pod] = at
            records[read.pod] = read
        self._at = {pod: at for pod, at in self._at.items() if at in found}
        return records

    async def _found(self) -> Sequence[Address]:
        if self._finding is None:
            self._finding = asyncio.ensure_future(self._find())
        await asyncio.wait({self._finding}, timeout=self._read_s)
        if not self._finding.done():  # a name server that hangs holds up no turn
            self._warn("slow", "the fleet's pods are not found in time; going on with those that are known")
            return list(self._at.values())
        finding, self._finding = self._finding, None
        try:
            return finding.result()
        except Exception as error:  # a name server that fails is no reason to stop: those known are read on
            self._warn("find", f"the fleet's pods cannot be found: {error}")
            return list(self._at.values())

    async def _read_at(self, at: Address | None) -> Record | None:
        """Return the record of the pod at an address; None where there is none to be had."""
        if at is None or self._session is None:
            return None
        host = f"[{at[0]}]" if ":" in at[0] else at[0]
        nonce = secrets.token_hex(8)
        headers = {} if self._key is None else {proof.HEADER: proof.ask(self._key, self._wall(), nonce)}
        is_awake = self._own is not None and self._own.is_awake and self._pilot != self._pod
        url = f"http://{host}:{at[1]}{_PATH}{'?awake' if is_awake else ''}"
        try:
            async with self._session.get(url, headers=headers) as response:
                body = await _body(response)
                if response.status == 503:
                    return None  # it is about to start
                if response.status != 200:
                    self._warn(
                        f"{at} {response.status}", f"{host}:{at[1]} answers {response.status}: {body[:100]!r}"
                    )
                    return None
                if self._key is not None and not proof.is_answer(
                    self._key, nonce, body, response.headers.get(proof.HEADER)
                ):
                    self._warn(f"{at} key", f"{host}:{at[1]} does not prove the fleet's key")
                    return None
            record = decode(body)
        except RecordError as error:
            self._warn(f"{at} record", f"{host}:{at[1]} is left alone: {error}")
            return None
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        if record.fleet != self._fleet:
            self._warn(f"{at} fleet", f"{host}:{at[1]} belongs to another fleet: {record.fleet}")
            return None
        return record

    def _warn(self, kind: str, text: str) -> None:
        """Log once a kind: what is wrong with a peer is wrong twice a second."""
        if kind not in self._warned:
            self._warned.add(kind)
            _log.warning("fleet: %s", text)

    def __repr__(self) -> str:
        return f"<Peers {len(self._at)} known, pilot {self._pilot or 'unknown'}>"


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, and no more than what makes it too much."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MOST_BYTES:
            break
    return bytes(body)


def _parsed(where: str) -> Address:
    host, _, port = where.rpartition(":")
    return host, int(port)
