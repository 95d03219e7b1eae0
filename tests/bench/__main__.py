"""``make bench``, or ``python -m tests.bench``: every peer in every cell, in turns, then the table.

Core 1 is the peer's alone; the origin and wrk share core 0. A peer is started anew for each measurement, so
its memory is that of this cell and not of the one before. Exit code 1 when a call failed or a body differed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.load import drive
from tests.bench.origin import SIZES, start_origin, write_files
from tests.bench.peers import PEERS
from tests.bench.report import Measurement, Row, rows, table
from tests.bench.words import names_of
from tests.e2e.daemon import Daemon

LOAD_CORE, PEER_CORE = 0, 1
WARM_UP_S = 1


def main() -> int:
    options = _options()
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="sidegate-bench-") as name:
        for done, one in enumerate(_measure_all(options, Path(name)), 1):
            measurements.append(one)
            _progress(done, options, one)
    result = rows(measurements, options.reference)
    print(table(result, options.reference))
    if options.json:
        options.json.write_text(json.dumps(_record(options, result, measurements), indent=1))
    failed = sum(one.failed for one in measurements)
    if failed:
        print(f"{failed} calls failed", file=sys.stderr)
    return 1 if failed else 0


def _record(
    options: argparse.Namespace, result: list[Row], measurements: list[Measurement]
) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        "seconds": options.duration,
        "reference": options.reference,
        "medians": [
            {**asdict(row.median), "cpu_ratio": row.cpu_ratio, "rate_ratio": row.rate_ratio} for row in result
        ],
        "measurements": [asdict(one) for one in measurements],
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench BENCH=…", description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=names_of(PEERS), default=list(PEERS), help=f"of {','.join(PEERS)}")
    parser.add_argument("--sizes", type=names_of(SIZES), help=f"of {','.join(SIZES)}")
    parser.add_argument("--connections", type=_numbers, help="default 1,32,256")
    parser.add_argument("--duration", type=int, help="seconds a measurement, after 1 s of warm-up; default 4")
    parser.add_argument("--rounds", type=int, help="the median of these counts; default 3")
    parser.add_argument("--reference", default="envoy", help="the peer that ratios are to")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument(
        "--quick", action="store_true", help="unless said otherwise: 1KiB, 32 connections, 2 s, one round"
    )
    options = parser.parse_args()
    options.sizes = options.sizes or (["1KiB"] if options.quick else list(SIZES))
    options.connections = options.connections or ([32] if options.quick else [1, 32, 256])
    options.duration = options.duration or (2 if options.quick else 4)
    options.rounds = options.rounds or (1 if options.quick else 3)
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two cores are needed: one for the peer, one for the load")
    return options


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _measure_all(options: argparse.Namespace, folder: Path) -> Iterator[Measurement]:
    """In turns: within a cell the peers follow each other, and the rounds are the outer loop, so a machine
    that grows slower for a minute slows every peer and not one."""
    bodies = write_files(folder)
    origin, origin_port = start_origin(folder, core=LOAD_CORE)
    cells = itertools.product(range(options.rounds), options.sizes, options.connections, options.peers)
    with origin:
        for number, size, connections, peer in cells:
            place = folder / f"{number}-{size}-{connections}-{peer}"
            place.mkdir()
            daemon, port = PEERS[peer](place, origin_port, PEER_CORE)
            with daemon:
                url = f"http://127.0.0.1:{port}/{size}"
                _check_body(url, bodies[size])
                yield _measure(daemon, url, size, connections, options.duration)


def _measure(daemon: Daemon, url: str, size: str, connections: int, duration_s: int) -> Measurement:
    drive(url, connections=connections, duration_s=WARM_UP_S, core=LOAD_CORE)
    before_s = daemon.cpu_s()
    load = drive(url, connections=connections, duration_s=duration_s, core=LOAD_CORE)
    used_s = daemon.cpu_s() - before_s
    memory = daemon.memory()
    daemon.check_alive()
    return Measurement(
        daemon.name,
        size,
        connections,
        calls=load.calls,
        failed=load.failed,
        cpu_us_per_call=used_s / max(1, load.calls) * 1e6,
        calls_per_s=load.calls / load.seconds,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        rss_mib=memory.rss_kib / 1024,
        anon_mib=memory.anon_kib / 1024,
        busy=used_s / load.seconds,
    )


def _check_body(url: str, expected: bytes) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        if answer.read() != expected:
            raise SystemExit(f"{url}: the body is not the origin's")


def _progress(done: int, options: argparse.Namespace, one: Measurement) -> None:
    if sys.stderr.isatty():
        total = options.rounds * len(options.sizes) * len(options.connections) * len(options.peers)
        end = "\n" if done == total else ""
        print(
            f"\r{done}/{total} {one.peer} {one.size} × {one.connections}      ",
            end=end,
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
