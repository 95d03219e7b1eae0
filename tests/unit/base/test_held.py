"""Bytes of bodies that are kept: bounded, in the order of arrival, given back whatever happens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.base.held import HeldBytes, memory_limit
from tests.fakes.virtual import run

MIB = 1 << 20


def test_who_comes_to_a_full_house_waits_in_the_order_of_arrival() -> None:
    async def trace() -> None:
        held = HeldBytes(10, 0)
        assert held.try_take(8)
        assert not held.try_take(3)
        order: list[int] = []

        async def take(count: int) -> None:
            await held.take(count)
            order.append(count)

        tasks = [asyncio.ensure_future(take(count)) for count in (5, 2, 3)]
        await asyncio.sleep(0)
        assert held.waiting == 3, "2 would fit, and stands behind 5"
        held.give(8)
        await asyncio.gather(*tasks)
        assert order == [5, 2, 3]
        assert held.held == 10

    run(trace())


def test_one_that_is_larger_than_the_house_is_let_in_alone() -> None:
    held = HeldBytes(10, 0)
    assert held.try_take(50)
    assert not held.try_take(1)
    held.give(50)
    assert held.try_take(1)


def test_who_leaves_while_waiting_takes_nothing_and_stands_in_nobodys_way() -> None:
    async def trace() -> None:
        held = HeldBytes(10, 0)
        held.try_take(8)
        large = asyncio.ensure_future(held.take(9))
        small = asyncio.ensure_future(held.take(2))
        await asyncio.sleep(0)
        large.cancel()
        await small
        assert held.held == 10
        late = asyncio.ensure_future(held.take(10))
        await asyncio.sleep(0)
        held.give(10)
        late.cancel()  # let in and cancelled in the same step of the loop
        await asyncio.gather(late, return_exceptions=True)
        assert (held.held, held.waiting) == (0, 0)

    run(trace())


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=40))
def test_the_bound_is_never_passed_but_by_one_alone(steps: list[tuple[int, int]]) -> None:
    """Whatever comes and goes: what is held fits, or is one body."""

    async def trace() -> None:
        held = HeldBytes(40, 0)
        inside: list[int] = []

        async def live(count: int, turns: int) -> None:
            await held.take(count)
            inside.append(count)
            assert sum(inside) <= 40 or len(inside) == 1
            for _ in range(turns):
                await asyncio.sleep(0)
            inside.remove(count)
            held.give(count)

        await asyncio.gather(*(live(count, turns) for count, turns in steps))
        assert (held.held, held.waiting) == (0, 0)

    run(trace())


def test_what_is_taken_beforehand_is_the_largest_answer_of_late() -> None:
    held = HeldBytes(10 * MIB, MIB)
    assert held.usual == MIB
    for _ in range(500):
        held.note(1000)
    assert held.usual == 1000
    held.note(50_000)
    held.note(1000)
    assert 48_000 < held.usual < 50_000


@pytest.mark.parametrize(
    ("name", "said", "limit"),
    [
        ("memory.max", "268435456\n", 256 * MIB),
        ("memory/memory.limit_in_bytes", "268435456\n", 256 * MIB),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("elsewhere", "1", None),
    ],
)
def test_the_containers_memory_is_the_bound(tmp_path: Path, name: str, said: str, limit: int | None) -> None:
    """cgroup v2 and v1; without a limit it is the machine's."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(said)
    machine = memory_limit(tmp_path / "nothing")
    assert machine > 64 * MIB
    assert memory_limit(tmp_path) == (limit or machine)
