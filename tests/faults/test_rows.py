"""The rows of the matrix that wait for no timeout; ``make faults`` plays all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.loop import run
from tests.faults.rows import ROWS, Row
from tests.faults.trial import by_settings, opened, played

pytestmark = pytest.mark.slow

QUICK = by_settings(row for row in ROWS if not row.waits)


@pytest.mark.parametrize("rows", QUICK, ids=lambda rows: f"{rows[0].fault}, {len(rows)} rows")
def test_rows_are_as_they_should_be(rows: list[Row], tmp_path: Path) -> None:
    """What the app sees, what is counted, and nothing left over; one sidecar for rows with the same settings."""

    async def trace() -> dict[str, str]:
        async with opened(rows[0], tmp_path) as scene:
            results = [await played(row, scene) for row in rows]
        return {
            each.row.fault: f"{each}, not {each.row.sees!r}, {each.row.counts!r}"
            for each in results
            if not each.is_right
        }

    assert run(trace()) == {}


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({row.fault for row in ROWS}) == len(ROWS) >= 60
