"""Playing rows, and looking at what is counted and what is left over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.ports import free_port
from tests.fakes.process import Process
from tests.faults.rows import Row
from tests.faults.scene import Samples, Scene, configuration, counted, left_over

_LOOKS = 150
"""Readings, 20 ms apart, until what a row took is given back."""


@dataclass(frozen=True)
class Result:
    """What came of one row. ``left`` names what was not given back: name -> (is, should be)."""

    row: Row
    sees: str
    counts: str
    left: dict[str, tuple[float, float]]

    @property
    def is_right(self) -> bool:
        """Whether all of it is as the row says."""
        return (self.sees, self.counts) == (self.row.sees, self.row.counts) and not self.left

    def __str__(self) -> str:
        return f"sees {self.sees!r}, counts {self.counts!r}, left over: {self.left or 'nothing'}"


def by_settings(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows that one sidecar can serve, in their order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(json.dumps(row.settings, sort_keys=True), []).append(row)
    return list(groups.values())


@asynccontextmanager
async def opened(row: Row, folder: Path) -> AsyncIterator[Scene]:
    """A sidecar with the settings of ``row``, before a port where nobody listens yet."""
    port = free_port()
    path = configuration(folder, f"http://127.0.0.1:{port}", row.settings)
    async with Process(path) as sidecar:
        yield Scene(sidecar, port)


async def played(row: Row, scene: Scene) -> Result:
    """Play one row to its end, and wait until everything it took is given back."""
    scene.origin = row.make_origin()
    if not row.silent:
        await scene.origin.open(port=scene.port)
    before = await scene.samples()
    try:
        sees = await row.play(scene)
    except (OSError, EOFError, AssertionError) as error:
        sees = repr(error)
    finally:
        for app in scene.sidecar.apps:
            app.close()
        scene.sidecar.apps.clear()
    after = await _at_rest(before, scene)
    await scene.origin.close()
    return Result(row, sees, counted(before, after), left_over(before, after))


async def _at_rest(before: Samples, scene: Scene) -> Samples:
    """The first reading with nothing left over, or the last one before patience ends."""
    for _ in range(_LOOKS):
        after = await scene.samples()
        if not left_over(before, after):
            break
        await asyncio.sleep(0.02)
    return after
