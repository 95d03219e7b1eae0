"""Real processes for tests and bench: started, waited for, looked into through /proc, and always ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def wait_for_port(port: int, daemon: Daemon | None = None, timeout_s: float = 20.0) -> None:
    """Returns once something accepts on the port; says what the process logged when it does not."""
    end = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if daemon is not None:
            daemon.check_alive()
        if time.monotonic() > end:
            raise TimeoutError(
                f"nothing listens on {port} after {timeout_s} s\n{daemon.log() if daemon else ''}"
            )
        time.sleep(0.02)


@dataclass(frozen=True)
class Memory:
    """Resident memory in KiB: all of it, and the part that is the process's own (not file-backed pages)."""

    rss_kib: int
    anon_kib: int


class Daemon:
    """A child process with a log file, as a context manager: leaving the block ends it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        core: int | None = None,
        env: Mapping[str, str] | None = None,
        capture_stdout: bool = False,
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        words = [] if core is None else ["taskset", "-c", str(core)]
        if shutil.which("setpriv"):
            words += ["setpriv", "--pdeathsig", "TERM"]  # a test run that is killed leaves no process behind
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*words, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if capture_stdout else log,
                stderr=log,
                env={**os.environ, **(env or {})},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Daemon {self.name} pid={self.process.pid} returncode={self.process.returncode}>"

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-4000:]

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} left with code {self.process.returncode}\n{self.log()}")

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, then SIGKILL for one that does not listen. Returns the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.returncode

    # What the kernel says about it.

    def cpu_s(self) -> float:
        """Processor seconds, user and system, of the process, its children and those it has waited for."""
        return cpu_ticks(self.pid) / _TICKS_PER_S

    def memory(self) -> Memory:
        status = [_status(pid) for pid in _tree(self.pid)]
        return Memory(sum(s["VmRSS"] for s in status), sum(s["RssAnon"] for s in status))

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


def cpu_ticks(pid: int) -> int:
    """Ticks of processor time of a process, its children and those it has waited for; 0 once it is gone."""
    return sum(_own_ticks(each) for each in _tree(pid))


def _tree(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):  # a process that leaves meanwhile has no children any more
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += _tree(int(child))
    return found


def _own_ticks(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # proc(5): the name in brackets may hold spaces; utime stime cutime cstime are fields 14 to 17.
    return sum(int(field) for field in text.rpartition(")")[2].split()[11:15])


def _status(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {
        name: int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in lines)
        if rest.endswith("kB")
    }
