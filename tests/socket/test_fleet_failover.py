"""A primary dies behind sentinels, and in a cluster: the pods find the next one, and go on from what the fleet had learnt."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from proxy.fleet.scripts import keys_of
from tests.fakes.loop import PATIENCE_S, run
from tests.fakes.redis import KINDS, ClusterServer, SentinelServer, Server, join_up, running, watched
from tests.fakes.town import FLEET, RedisTown
from tests.parts import require

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("kind", list(KINDS))]


class Elsewhere(RedisTown):
    """Time is real: which server has the board changes, and when."""

    async def pass_time(self, passed_s: float) -> None:
        await asyncio.sleep(0.1)
        self.now = asyncio.get_running_loop().time()

    async def settle(self) -> None:
        """Take turns until all pods share one plan again."""
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            await self.round()
            plans = {pod.member.plan and pod.member.plan.id for pod in self.pods}
            if (
                len(self.pilots) == 1
                and len(plans) == 1
                and not any(pod.member.is_cut_off for pod in self.pods)
            ):
                return
            assert asyncio.get_running_loop().time() < end, [pod.board for pod in self.pods]


async def dies_and_goes_on(it: Elsewhere, primary: Server) -> None:
    try:
        for name in ("1-a", "2-b", "3-c"):
            await it.pod(name)
        await it.settle()
        await it.round(4)
        plan = it.pods[0].member.plan
        learner = plan.portions["default"].learner
        learnt_s = learner.t
        await primary.stop()
        # The last pod's turn may come when another primary is there already: nobody has to miss one.
        await it.round()
        await it.settle()
        await it.round(2)
        (pilot,) = (pod for pod in it.pods if pod.member.is_pilot)
        assert pilot.member.plan.portions["default"].learner.t >= learnt_s, "it began anew"
        assert pilot.shares == {pod.name: pod.slots for pod in it.pods}
    finally:
        await it.close()
        # redis-py drops connections to a node that is gone without waiting for their end.
        gc.collect()
        await asyncio.sleep(0.1)


def test_sentinels_name_another_primary(kind: str, tmp_path: Path) -> None:
    async def trace() -> None:
        command = require(KINDS[kind])
        primary = Server(command, tmp_path)
        replica = Server(command, tmp_path, "--replicaof", "127.0.0.1", str(primary.port))
        sentinels = [SentinelServer(command, tmp_path, primary) for _ in range(3)]
        async with running(primary, replica, *sentinels):
            for sentinel in sentinels:
                await watched(sentinel)
            it = Elsewhere(primary)
            it.url = f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in sentinels)}/board"
            await dies_and_goes_on(it, primary)

    run(trace())


@pytest.mark.soak  # one in six fails as uvloop closes (EBUSY); likely a connection that redis-py leaves open
def test_a_cluster_makes_a_replica_the_primary(kind: str, tmp_path: Path) -> None:
    async def trace() -> None:
        command = require(KINDS[kind])
        *primaries, replica = (ClusterServer(command, tmp_path) for _ in range(4))
        async with running(*primaries, replica):
            owner = await join_up(primaries, replica, keys_of(FLEET)[0])
            it = Elsewhere(owner)
            others = [each for each in primaries if each is not owner]
            it.url = f"redis+cluster://{','.join(f'127.0.0.1:{each.port}' for each in others)}"
            await dies_and_goes_on(it, owner)

    run(trace())
