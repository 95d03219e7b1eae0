"""Child processes that are never left behind.

Each writes to files and not to pipes, so none can block on a reader. Each has its own session, so Ctrl-C on a
terminal reaches only the parent, which stops them in order. Where Linux offers it, a child dies with its
parent even when that is killed outright.
"""

import contextlib
import ctypes
import json
import math
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PR_SET_PDEATHSIG = 1
POLL_S = 0.02
STDERR_SHOWN_CHARS = 4000


class ChildError(RuntimeError):
    """A child did not come up or ended early; the text holds its stderr."""


class Child:
    """One process: its JSON lines on stdout, its stderr for the error report."""

    def __init__(self, name: str, argv: Sequence[str], logs: Path) -> None:
        self.name = name
        self._out_path = logs / f"{name}.out"
        self._err_path = logs / f"{name}.err"
        self._read_bytes = 0
        with self._out_path.open("wb") as out, self._err_path.open("wb") as err:
            self.popen = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                bufsize=0,
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )

    def __repr__(self) -> str:
        return f"<Child {self.name} pid={self.popen.pid} code={self.popen.poll()}>"

    def wait_ready(self, timeout_s: float) -> dict[str, Any]:
        """The ready line; raises ChildError when the process ends or ``timeout_s`` passes first."""
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self.popen.poll()
            for line in self.new_lines():
                if line.get("event") == "ready":
                    return line
            if ended is not None:
                raise ChildError(self._report(f"ended with exit code {ended} before it was ready"))
            if time.monotonic() > deadline:
                raise ChildError(self._report(f"was not ready after {timeout_s:g} s"))
            time.sleep(POLL_S)

    def new_lines(self) -> list[dict[str, Any]]:
        """The JSON objects written to stdout since the last call; other lines are skipped."""
        with self._out_path.open("rb") as out:
            out.seek(self._read_bytes)
            whole, newline, _ = out.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        return [told for line in whole.splitlines() if (told := _json_object(line)) is not None]

    def check_running(self, elapsed_s: float = 0.0, limit_s: float = math.inf) -> None:
        """Raise ChildError when the process has ended, or is still at it after ``limit_s``."""
        code = self.popen.poll()
        if code is not None and not self._has_unread():
            raise ChildError(self._report(f"ended with exit code {code} in the middle of the run"))
        if elapsed_s > limit_s:
            raise ChildError(self._report(f"was not through after {limit_s:g} s"))

    def say(self, line: str) -> None:
        """Write a line to the child's stdin; a child that is gone already is no error here."""
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(line.encode() + b"\n")
        except OSError:
            return

    def _has_unread(self) -> bool:
        return self._out_path.stat().st_size > self._read_bytes

    def _report(self, what: str) -> str:
        told = self._err_path.read_text(errors="replace").strip()[-STDERR_SHOWN_CHARS:]
        return f"{self.name} (pid {self.popen.pid}) {what}; its stderr:\n{told or '(nothing)'}"


class Children:
    """All children of a run; leaving the ``with`` block stops them, the youngest first."""

    def __init__(self, logs: Path, *, grace_s: float = 5.0) -> None:
        self._logs = logs
        self._grace_s = grace_s
        self._all: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, argv: Sequence[str]) -> Child:
        """A new child running ``argv``."""
        child = Child(name, argv, self._logs)
        self._all.append(child)
        return child

    def stop(self) -> None:
        """SIGTERM to each, up to ``grace_s`` for all of them, then SIGKILL; a second Ctrl-C waits."""
        with _interrupts_held():
            for child in reversed(self._all):
                child.popen.terminate()
            deadline = time.monotonic() + self._grace_s
            for child in reversed(self._all):
                _end(child.popen, max(0.0, deadline - time.monotonic()))
            self._all.clear()


def _end(popen: subprocess.Popen[bytes], grace_s: float) -> None:
    try:
        popen.wait(grace_s)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
    if popen.stdin is not None:
        popen.stdin.close()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return ask_kernel


def _json_object(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


@contextlib.contextmanager
def logs_folder(kept: Path | None, name: str) -> Iterator[Path]:
    """A folder for the children's logs: ``name`` below ``kept``, or one that is gone afterwards."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="sidegate-lab-") as path:
            yield Path(path)
        return
    (kept / name).mkdir(parents=True, exist_ok=True)
    yield kept / name


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that children are stopped in order."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
