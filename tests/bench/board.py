"""What a turn at the board costs a Redis: ``python -m tests.bench.board [PODS …]``, server time by its own count.

For each size of a fleet: all pods post, the pilot reads all and publishes a plan for all. Printed are the microseconds a
script takes, the bytes of its answer, and the share of one core that a fleet needs at two turns a second.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from proxy.config.redis_url import parse_redis_url
from proxy.fleet.member import PERIOD_S
from proxy.fleet.record import VERSION, Plan, Portion, Record, Share
from proxy.fleet.redis import Redis
from proxy.fleet.redis_client import RedisClient
from proxy.learn.evidence.tally import Reading, Tally
from proxy.learn.learner import Learner
from tests.fakes.redis import KINDS, Server, running
from tests.parts import where

FLEET = "https://data.example.com"
ROUNDS = 20


def pod_of(number: int) -> str:
    return f"{1764000000000 + number:013d}-orders-7d9f8b6c5-{number:05d}"


def record_of(pod: str, turn: int) -> Record:
    tally = Tally(
        ok=12345 + turn,
        bad=12,
        fast=3,
        took_s=1234.567891,
        log=-2345.678912,
        log2=5678.912345,
        busy_s=2345.678912,
    )
    reading = Reading(at=123456.789 + turn, tally=tally, wanted=12, waiting=3, inflight=9, start=8)
    return Record(VERSION, FLEET, pod, "", {"default": reading})


def plan_of(pods: list[str], serial: int) -> Plan:
    shares = {pod: Share(3, 1.2345, 3) for pod in pods}
    learner = Learner.at(len(pods) * 3)
    learner.notes = [
        (float(t), "more pages a second at 12 slots than at 10: 123.4 against 117.8") for t in range(20)
    ]
    portion = Portion(3 * len(pods), 0.0, "hold", shares, learner=learner)
    return Plan(serial, {"default": portion}, {}, len(pods), True, pods[0], len(pods))


async def spent(server: Server, what: Any) -> tuple[float, float]:
    """Return microseconds a script, and bytes out a script, of what is done."""
    await server.ask("CONFIG", "RESETSTAT")
    before = (await server.ask("INFO", "stats"))["total_net_output_bytes"]
    await what
    stats = (await server.ask("INFO", "commandstats")).get("cmdstat_evalsha", {})
    calls, usec = stats["calls"], stats["usec"]
    after = (await server.ask("INFO", "stats"))["total_net_output_bytes"]
    return usec / calls, (after - before) / calls


async def measure(kind: str, count: int) -> None:
    pods = [pod_of(number) for number in range(count)]
    with tempfile.TemporaryDirectory() as directory:
        server = Server(where(KINDS[kind]) or KINDS[kind], Path(directory))
        async with running(server):
            client = RedisClient(parse_redis_url(server.url), answer_s=30.0)
            boards: list[Any] = [
                Redis(pod=pod, fleet=FLEET, client=client, monotonic=lambda: 0.0) for pod in pods
            ]

            async def turns(turn: int, chosen: list[Any]) -> None:
                for number, board in enumerate(chosen):
                    await board.turn(record_of(board._pod, turn))
                    if number % 300 == 299:  # a few seconds of silence, and another would be the pilot
                        await server.ask("PEXPIRE", pilot._keys[0], "7000")

            pilot = boards[0]
            await turns(0, boards)
            assert await pilot.publish(plan_of(pods, 1))
            await turns(1, boards)
            follow_us, follow_bytes = await spent(server, turns(4, boards[1:]))

            async def as_pilot() -> None:
                for turn in range(ROUNDS):
                    await pilot.turn(record_of(pods[0], turn))

            read_us, read_bytes = await spent(server, as_pilot())

            async def publishes() -> None:
                for serial in range(ROUNDS):
                    assert await pilot.publish(plan_of(pods, serial + 2))

            publish_us, _ = await spent(server, publishes())

            async def follows_anew() -> None:
                for serial in range(5):
                    assert await pilot.publish(plan_of(pods, serial + 100))
                    await turns(5, boards[1 : 1 + min(count - 1, 50)])

            new_us, new_bytes = await spent(server, follows_anew())
            memory = (await server.ask("INFO", "memory"))["used_memory"]
            await client.close()
    core = (count * max(follow_us, new_us) + read_us + publish_us) / PERIOD_S / 1e6
    out = (count * max(follow_bytes, new_bytes) + read_bytes) / PERIOD_S / 1e6
    print(
        f"{kind:6} {count:6} pods: a follower's turn {follow_us:6.1f} us {follow_bytes:7.0f} B, "
        f"with a new plan {new_bytes:7.0f} B; "
        f"the pilot's {read_us:8.0f} us {read_bytes:9.0f} B, its plan {publish_us:8.0f} us; "
        f"{100 * core:5.1f} % of a core, {out:5.1f} MB/s out, {memory / 2**20:.1f} MiB"
    )


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:]] or [64, 1000]
    for kind in KINDS:
        if where(KINDS[kind]) is None:
            print(f"{KINDS[kind]} is missing")
            continue
        for count in sizes:
            asyncio.run(measure(kind, count))


if __name__ == "__main__":
    main()
