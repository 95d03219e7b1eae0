"""Running a test's coroutine on the loop that the sidecar runs on, and waiting for what cannot be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

PATIENCE_S = 10.0
"""Longest wait for anything that should happen; nothing waits so long unless it failed."""


def run(trace: Coroutine[Any, Any, T]) -> T:
    """Run ``trace`` to its end; what the loop's exception handler heard, and tasks left behind, are failures."""
    return watched(trace, uvloop.run)


def watched(trace: Coroutine[Any, Any, T], by: Callable[[Coroutine[Any, Any, T]], T]) -> T:
    """Let ``by`` run ``trace`` under such a watch."""
    complaints: list[dict[str, Any]] = []

    async def whole() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        result = await trace
        await until(lambda: len(asyncio.all_tasks()) == 1, "every task but the test's own has ended")
        return result

    result = by(whole())
    assert not complaints, complaints
    return result


async def until(is_so: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return as soon as ``is_so``; fail saying ``what`` was waited for."""
    clock = asyncio.get_running_loop().time
    end = clock() + patience_s
    while not is_so():
        if clock() > end:
            tasks = [str(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            raise AssertionError(f"it did not come to this: {what}; tasks: {tasks}")
        await asyncio.sleep(0.002)


async def soon(awaitable: Any) -> Any:
    """Await with patience, so that a hang fails with a trace of the test and not of the runner."""
    async with asyncio.timeout(PATIENCE_S):
        return await awaitable
