"""The job Sidegate is for: eight applications pull every row of a paged server that fails, and notice nothing.

Datasette serves the rows, a layer of faults answers 5 % of the calls with 500 and cuts 2 % of the bodies short,
eight sidecars stand in front of it, each with one process of 5 to 20 threads.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, wait_for_port
from tests.e2e.faults import FaultLayer, Tally
from tests.e2e.pull import Pulled, digest_of
from tests.e2e.sidecar import REPOSITORY, Sidecar
from tests.fakes.ports import free_port

THREADS = [5, 7, 9, 11, 13, 15, 17, 20]
"""Of each of the eight applications."""
SETTINGS = ("limits.concurrency.mode=fixed", "limits.concurrency.limit=4")
"""Each sidecar's share of what Datasette bears."""


@pytest.mark.slow
def test_every_row_arrives_exactly_once(tmp_path: Path) -> None:
    """50,000 rows: each arrives once and unchanged, and no application sees an error."""
    pull_every_row(50_000, tmp_path, within_s=100)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_a_million_rows_arrive_exactly_once(tmp_path: Path) -> None:
    """The same with 1,000,000 rows."""
    pull_every_row(1_000_000, tmp_path, within_s=1400)


def pull_every_row(rows: int, folder: Path, *, within_s: float) -> None:
    database = folder / "rows.db"
    write_database(database, rows)
    ranges = split(rows, sum(THREADS))
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(datasette(database, folder))
        faults = stack.enter_context(FaultLayer(port, error_ratio=0.05, cut_ratio=0.02, seed=20))
        sidecars = [
            stack.enter_context(Sidecar(faults.url, folder, SETTINGS, name=f"sidecar{number}"))
            for number in range(len(THREADS))
        ]
        pulled = pull_all(sidecars, ranges, within_s)
        seconds = time.monotonic() - started
        assert [error for one in pulled for error in one.errors] == []
        assert [(one.rows, one.digest) for one in pulled] == [digest_in(database, *one) for one in ranges]
        assert sum(one.rows for one in pulled) == rows
        calls = sum(one.calls for one in pulled)
        check_accounts(sidecars, faults.tally, calls)
    tally = faults.tally
    print(f"{rows} rows, {calls} calls, {tally.errors} × 500, {tally.cuts} cut bodies, {seconds:.1f} s")


def check_accounts(sidecars: list[Sidecar], faults: Tally, calls: int) -> None:
    """The faults did happen, and the sidecars' metrics tell the same story as the fault layer."""
    assert faults.errors > 0.03 * faults.calls
    assert faults.cuts > 0.01 * faults.calls
    requests = sum(one.metric("sidegate_requests_total") for one in sidecars)
    attempts = sum(one.metric("sidegate_attempts_total") for one in sidecars)
    assert requests == calls
    assert attempts == faults.calls == calls + faults.errors + faults.cuts


def write_database(path: Path, rows: int) -> None:
    """Names of any length with quotes, newlines and other scripts in them: what JSON must escape."""
    letters = "abc \"'\\/\n\t,é漢字🙂<>&"
    names = random.Random(rows)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("create table items (id integer primary key, name text, value integer)")
        database.executemany(
            "insert into items values (?, ?, ?)",
            (
                (number, "".join(names.choices(letters, k=number % 40)), names.getrandbits(40))
                for number in range(1, rows + 1)
            ),
        )
        database.commit()


def digest_in(path: Path, low: int, high: int) -> tuple[int, str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return digest_of(
            database.execute("select * from items where id > ? and id <= ? order by id", (low, high))
        )


def split(rows: int, parts: int) -> list[tuple[int, int]]:
    """Ranges of ids, low excluded and high included, that together hold every row once."""
    edges = [rows * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(edges))


@contextlib.contextmanager
def datasette(database: Path, folder: Path) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "datasette", "serve", "--immutable", str(database), "--port", str(port)]
    with Daemon("datasette", command, folder) as server:
        wait_for_port(port, server, timeout_s=60)
        yield port


def pull_all(sidecars: list[Sidecar], ranges: list[tuple[int, int]], within_s: float) -> list[Pulled]:
    """Starts one application a sidecar, and returns what all their threads got, in the order of the ranges."""
    remaining = iter(ranges)
    applications = []
    for sidecar, threads in zip(sidecars, THREADS, strict=True):
        words = ["{}:{}".format(*next(remaining)) for _ in range(threads)]
        command = [sys.executable, "-m", "tests.e2e.pull", sidecar.url, *words]
        applications.append(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE))
    try:
        outputs = [one.communicate(timeout=within_s)[0] for one in applications]
    finally:
        for one in applications:
            one.kill()
            one.wait()
    return [Pulled(**one) for output in outputs for one in json.loads(output)]
