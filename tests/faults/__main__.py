"""``make faults``, or ``python -m tests.faults``: the whole matrix as a table. Exit code 1 when a row is not as it should be."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.faults.memory import MemoryResult, all_loaded
from tests.faults.rows import ROWS, Row
from tests.faults.trial import Result, by_settings, opened, played


def main() -> int:
    options = _options()
    rows = [row for row in ROWS if options.only in row.fault]
    results = asyncio.run(_all(rows))
    print(_table(results))
    wrong = [each for each in results if not each.is_right]
    for each in wrong:
        print(f"\n{each.row.fault}\n  should see {each.row.sees!r}, count {each.row.counts!r}\n  {each}")
    print(f"\n{len(results) - len(wrong)} of {len(results)} rows are as they should be")
    loads = [] if options.only else asyncio.run(_loads())
    return 1 if wrong or not all(each.is_right for each in loads) else 0


async def _loads() -> list[MemoryResult]:
    print("\n| in 256 MiB | calls that ended well | most memory, MiB |\n|---|---:|---:|")
    results = []
    async for each in all_loaded():
        peak = "**killed**" if each.killed else f"{each.peak_mib}"
        print(f"| {each.row.load} | {each.ended} of {each.row.due} | {peak} |", flush=True)
        results.append(each)
    return results


async def _all(rows: list[Row]) -> list[Result]:
    results = {}
    for group in by_settings(rows):
        with tempfile.TemporaryDirectory(prefix="sidegate-faults-") as folder:
            async with opened(group[0], Path(folder)) as scene:
                for row in group:
                    results[row.fault] = result = await played(row, scene)
                    print(
                        "as it should be" if result.is_right else "WRONG",
                        row.fault,
                        file=sys.stderr,
                        flush=True,
                    )
    return [results[row.fault] for row in rows]


def _table(results: list[Result]) -> str:
    lines = ["| fault | the app sees | attempts; calls | left over |", "|---|---|---|---|"]
    for each in results:
        left = ", ".join(f"{name} {got:g} for {due:g}" for name, (got, due) in each.left.items())
        mark = "" if each.is_right else " **wrong**"
        lines.append(f"| {each.row.fault} | {each.sees} | {each.counts} | {left or 'nothing'}{mark} |")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults FAULTS=…", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="rows whose fault has this in it, and no loads")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
