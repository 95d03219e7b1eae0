"""``sidegate run`` as a real process on free ports, and what it tells through its ops and admin ports."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from tests.e2e.daemon import Daemon

REPOSITORY = Path(__file__).resolve().parents[2]
_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")


class Sidecar(Daemon):
    """A running sidecar: ``port`` is where the application's calls go."""

    def __init__(
        self,
        upstream: str,
        folder: Path,
        settings: Iterable[str] = (),
        *,
        name: str = "sidegate",
        core: int | None = None,
        ready_within_s: float = 20.0,
    ) -> None:
        command = [sys.executable, "-m", "proxy", "run", "--upstream", upstream]
        for port in ("--listen", "--ops", "--admin"):
            command += [port, "127.0.0.1:0"]
        for setting in settings:
            command += ["--set", setting]
        path = {"PYTHONPATH": os.environ.get("PYTHONPATH") or str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        super().__init__(name, command, folder, core=core, env=path, capture_stdout=True)
        ready = self._read_ready_line(ready_within_s)
        self.listen, self.ops, self.admin = ready["listen"], ready["ops"], ready["admin"]
        self.url = f"http://{self.listen}"
        self.port = int(self.listen.rpartition(":")[2])

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, keyed as it is written: ``name`` or ``name{label="value"}``."""
        text = _get(f"http://{self.ops}/metrics").decode()
        samples = (_SAMPLE.match(line) for line in text.splitlines())
        return {f"{m[1]}{{{m[2]}}}" if m[2] else m[1]: float(m[3]) for m in samples if m}

    def metric(self, name: str) -> float:
        """The sum over all label sets of one metric."""
        return sum(value for key, value in self.metrics().items() if key.partition("{")[0] == name)

    def admin_json(self, path: str) -> Any:
        return json.loads(_get(f"http://{self.admin}{path}"))

    def _read_ready_line(self, within_s: float) -> dict[str, Any]:
        stdout = self.process.stdout
        assert stdout is not None
        found: list[dict[str, Any]] = []
        ready = threading.Event()
        reader = threading.Thread(target=_follow, args=(stdout, self.log_path, found, ready), daemon=True)
        reader.start()
        if not ready.wait(within_s) or not found:
            code = self.stop()
            raise RuntimeError(f"{self.name} never said it was ready (exit code {code})\n{self.log()}")
        return found[0]


def _follow(stdout: IO[bytes], log_path: Path, found: list[dict[str, Any]], ready: threading.Event) -> None:
    """Copies stdout into the log, as a pipe nobody reads would stop the sidecar; picks the ready line out."""
    with log_path.open("ab", buffering=0) as log:
        while line := _readline(stdout):
            log.write(line)
            if not found and b'"ready"' in line:
                found.append(json.loads(line))
                ready.set()
    ready.set()


def _readline(stdout: IO[bytes]) -> bytes:
    try:
        return stdout.readline()
    except ValueError:  # stop() closed the pipe under us
        return b""


def _get(url: str) -> bytes:
    # No proxy variable of the machine may stand between a test and its own sidecar.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body
