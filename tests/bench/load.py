"""The load: wrk, a closed loop of kept connections, on the origin's core."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_REPORT = Path(__file__).with_name("report.lua")


@dataclass(frozen=True)
class Load:
    """What wrk saw: calls answered, calls failed (status 400 up, reset, time-out), and how long they took."""

    calls: int
    seconds: float
    received_bytes: int
    failed: int
    p50_ms: float
    p99_ms: float


def drive(url: str, *, connections: int, duration_s: float, core: int) -> Load:
    """One run of wrk against the URL. Whole seconds only, at least one: wrk counts in those."""
    seconds = max(1, round(duration_s))
    command = [
        "taskset",
        "-c",
        str(core),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
    ]
    command += ["--latency", "-s", str(_REPORT), url]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"calls"')]
    if done.returncode or not lines:
        raise RuntimeError(f"wrk failed against {url}:\n{done.stdout}{done.stderr}")
    return Load(**json.loads(lines[-1]))
