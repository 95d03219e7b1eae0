"""Fleets whose pods meet over real sockets: by reading each other, or in a real Redis. The clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry

from proxy.config.redis_url import parse_redis_url
from proxy.control.ops import make_ops_app
from proxy.fleet.board import Board
from proxy.fleet.member import PERIOD_S, Member
from proxy.fleet.peers import Address, Peers
from proxy.fleet.redis import Redis
from proxy.fleet.redis_client import RedisClient, RedisError
from proxy.fleet.scripts import keys_of
from tests.fakes.board import FakeSeat
from tests.fakes.loop import PATIENCE_S
from tests.fakes.redis import KINDS, Server, pass_time, server
from tests.fakes.scripts import FakeRedis

ROUNDS = 12
"""Nothing here takes so many turns, unless it failed."""
FLEET = "http://a"


class Healthy:
    is_started = is_serving = True

    def heartbeat_age_s(self) -> float:
        return 0.0


class Pod:
    """A member of a fleet, and its limiter."""

    def __init__(self, town: Town, name: str, board: Board, fleet: str, **over: Any) -> None:
        self.name = name
        self.town = town
        self.board = board
        self.seat = FakeSeat(lambda: town.now, wanted=10, start=10)
        self.member = Member(
            pod=name,
            fleet=fleet,
            board=board,
            seats=lambda: {"default": self.seat},
            monotonic=lambda: town.now,
            **over,
        )

    async def leave(self) -> None:
        """Say so; it could be read on."""
        await self.member.leave()
        await self.board.leave(self.member._record())

    async def die(self) -> None:
        """Without a word."""
        self.town.pods.remove(self)
        await self.board.close()

    @property
    def slots(self) -> int:
        return self.seat.shares[-1].slots

    @property
    def shares(self) -> dict[str, int]:
        assert self.member.plan is not None
        return {pod: share.slots for pod, share in self.member.plan.portions["default"].shares.items()}


class Town:
    """Pods, and the time there."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pods: list[Any] = []

    async def pod(self, name: str, **over: Any) -> Any:
        raise NotImplementedError

    async def round(self, count: int = 1) -> None:
        """Let every pod take a turn, so many times."""
        for _ in range(count):
            for pod in self.pods:
                await pod.member.turn()
            await self.pass_time(PERIOD_S)

    async def pass_time(self, passed_s: float) -> None:
        self.now += passed_s

    def cut(self, pod: Any) -> None:
        """Let a pod reach nobody."""

        async def run(*_: object) -> None:
            raise RedisError("cut")

        pod.board._client.run = run

    async def rounds_until_pilot(self, pod: Pod) -> int:
        for number in range(ROUNDS):
            if pod.member.is_pilot:
                return number
            await self.round()
        raise AssertionError(f"{pod.name} never pilots: {[each.board for each in self.pods]}")

    @property
    def pilots(self) -> list[str]:
        return [pod.name for pod in self.pods if pod.member.is_pilot]

    async def close(self) -> None:
        for pod in self.pods:
            await pod.member.close()


class PeersPod(Pod):
    def __init__(
        self,
        town: PeersTown,
        name: str,
        *,
        fleet: str = FLEET,
        key: bytes | None = None,
        sees: list[Address] | None = None,
        read_s: float = PATIENCE_S,
        **over: Any,
    ) -> None:
        self.sees = sees
        self.peers = Peers(
            pod=name,
            fleet=fleet,
            find=self.find,
            key=key,
            monotonic=lambda: town.now,
            wall=lambda: 1_700_000_000.0 + town.now,
            read_s=read_s,
        )
        super().__init__(town, name, self.peers, fleet, asked_at=lambda: self.peers.asked_at, **over)
        self.places = town.places
        self.runner: web.AppRunner
        self.at: Address

    async def find(self) -> Sequence[Address]:
        return list(self.places if self.sees is None else self.sees)

    async def die(self) -> None:
        await self.runner.cleanup()
        await super().die()


class PeersTown(Town):
    """Where pods read each other."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[Address] = []
        self.runners: list[web.AppRunner] = []

    async def serve(self, app: web.Application, port: int = 0) -> tuple[web.AppRunner, Address]:
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.runners.append(runner)
        if (host, port) not in self.places:
            self.places.append((host, port))
        return runner, (host, port)

    async def pod(self, name: str, *, port: int = 0, **over: Any) -> PeersPod:
        pod = PeersPod(self, name, **over)
        pod.runner, pod.at = await self.serve(
            make_ops_app(CollectorRegistry(), Healthy(), pod.peers.answer), port
        )
        await pod.peers.open()
        self.pods.append(pod)
        return pod

    def cut(self, pod: PeersPod) -> None:
        """Who is dead answers nobody, and is still named."""

    async def answering(self, body: bytes) -> Address:
        """Somebody who answers so, whoever asks."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=body)

        app = web.Application()
        app.add_routes([web.get("/fleet/record", answer)])
        return (await self.serve(app))[1]

    async def close(self) -> None:
        await super().close()
        for runner in self.runners:
            await runner.cleanup()


class RedisTown(Town):
    """Where pods meet in a server. Time passes there as it does here."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.url = server.url
        self.password: str | None = None
        """The test's own, to make time pass."""

    async def pod(
        self, name: str, *, fleet: str = FLEET, url: str = "", answer_s: float = PATIENCE_S, **over: Any
    ) -> Pod:
        client = RedisClient(parse_redis_url(url or self.url), answer_s=answer_s)
        board = Redis(pod=name, fleet=fleet, client=client, monotonic=lambda: self.now)
        pod = Pod(self, name, board, fleet, **over)
        self.pods.append(pod)
        return pod

    async def pass_time(self, passed_s: float) -> None:
        await super().pass_time(passed_s)
        await pass_time(self.server, keys_of(FLEET), passed_s, self.password)


class ModelTown(Town):
    """Where pods meet in what stands for a server in drawn worlds."""

    def __init__(self) -> None:
        super().__init__()
        self.boards: dict[str, FakeRedis] = {}

    async def pod(self, name: str, *, fleet: str = FLEET, **over: Any) -> Pod:
        board = Redis(pod=name, fleet=fleet, client=self, monotonic=lambda: self.now)
        pod = Pod(self, name, board, fleet, **over)
        self.pods.append(pod)
        return pod

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return self.boards.setdefault(keys[0], FakeRedis(lambda: self.now)).run(script, args)

    async def close(self) -> None:
        """Nothing is open. A pod's board closes its client, which is this town."""


MadeTown = TypeVar("MadeTown", bound=Town)


@asynccontextmanager
async def settled(made: MadeTown, *names: str) -> AsyncIterator[MadeTown]:
    """A town with some pods, closed in the end."""
    try:
        for name in names:
            await made.pod(name)
        yield made
    finally:
        await made.close()


def peers_town(*names: str) -> AbstractAsyncContextManager[PeersTown]:
    """Pods that read each other."""
    return settled(PeersTown(), *names)


@asynccontextmanager
async def redis_town(kind: str, directory: Path, *names: str) -> AsyncIterator[RedisTown]:
    """Pods that meet in a server of a kind."""
    async with server(kind, directory) as its, settled(RedisTown(its), *names) as made:
        yield made


def town(kind: str, directory: Path, *names: str) -> AbstractAsyncContextManager[Town]:
    """A town of any kind: peers, model, or one of ``KINDS``."""
    if kind in KINDS:
        return redis_town(kind, directory, *names)
    return settled(PeersTown() if kind == "peers" else ModelTown(), *names)


@asynccontextmanager
async def silent_server() -> AsyncIterator[Address]:
    """Takes connections and says nothing."""
    never = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    its = await asyncio.start_server(hang, "127.0.0.1", 0)
    try:
        yield its.sockets[0].getsockname()
    finally:
        never.set()
        its.close()
        await its.wait_closed()
