"""The log may be in a bad way; calls, probes and the end of the process are not."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.fakes.loop import run, soon
from tests.fakes.origin import Origin
from tests.fakes.ports import free_port
from tests.fakes.process import Process

pytestmark = pytest.mark.slow


def text(origin: Origin) -> str:
    ports = "listen: 127.0.0.1:0\nops: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndrain: {quiet: 50ms}\n"
    return f"upstream: {{url: '{origin.url}'}}\n{ports}log: {{access: all}}\n"


def test_a_log_that_nobody_reads_stops_no_call_no_probe_and_no_end(tmp_path: Path) -> None:
    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        reads, writes = os.pipe()
        try:
            async with Origin() as origin:
                file.write_text(text(origin))
                async with Process(file, stderr=writes) as sidecar:
                    app = await sidecar.app()
                    for _ in range(2000):
                        assert (await app.get("/" + "p" * 400)).status == 200
                        if await sidecar.metric("sidegate_log_lines_dropped_total"):
                            break
                    else:
                        raise AssertionError("no line was counted as dropped")
                    assert (await sidecar.get("/livez", "ops")).status == 200
                    sidecar.signal(signal.SIGTERM)
                    assert await sidecar.ends() == 0
        finally:
            os.close(reads)
            os.close(writes)

    run(trace())


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-", "2>/dev/full", "1>/dev/full"])
def test_closed_and_full_outputs_stop_no_call(closed: str, tmp_path: Path) -> None:
    """There may be no ready line then, so the ports are chosen."""

    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        listen, ops, admin = (free_port() for _ in range(3))
        async with Origin() as origin:
            file.write_text(
                f"upstream: {{url: '{origin.url}'}}\nlisten: 127.0.0.1:{listen}\nops: 127.0.0.1:{ops}\n"
                f"admin: 127.0.0.1:{admin}\nlog: {{access: all}}\ndrain: {{quiet: 50ms}}\n"
            )
            async with Process(file, redirection=closed) as sidecar:
                sidecar.addresses = {"listen": f"127.0.0.1:{listen}", "ops": f"127.0.0.1:{ops}"}
                await soon(_answers(sidecar))
                for _ in range(3):
                    assert (await sidecar.get()).status == 200
                sidecar.signal(signal.SIGTERM)
                assert await sidecar.ends() == 0

    run(trace())


async def _answers(sidecar: Process) -> None:
    while True:
        try:
            await sidecar.get("/readyz", "ops")
            return
        except OSError:
            await asyncio.sleep(0.05)
