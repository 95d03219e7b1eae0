"""Lines on their way to standard output or standard error: a bounded buffer, and a thread that writes.

A pipe that nobody reads blocks whoever writes to it, a closed one raises. Neither may reach a call. So ``put`` only
stores a line, and a line that finds no room is dropped and counted.

logging's QueueHandler and QueueListener do not fit. They bound lines and not bytes, write a traceback to standard error
when the queue is full, and wait without end for their thread at the end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque

HELD_BYTES = 128 << 10
"""Most bytes that wait to be written: some 300 lines, twice what a pipe holds by itself."""

LAST_LINES_S = 1.0
"""Longest wait for the last lines at the end of a process."""

_BATCH_BYTES = 32 << 10
"""Bytes of one write: half of what a pipe of Linux holds by default."""

_REST_S = 0.01
"""Pause between two writes. A thread woken by each line costs more than the line."""

_LOOK_AGAIN_S = 0.5
"""How long one look waits for room where the descriptor is set not to block."""

_log = logging.getLogger("sidegate.log")


class LineWriter:
    """Writes lines to a descriptor in a thread of its own. Each line belongs to one ``put`` and is whole or dropped."""

    def __init__(self, descriptor: int, *, held_bytes: int = HELD_BYTES) -> None:
        self.dropped = 0
        """Lines that were not written: no room, or the descriptor is closed or broken."""
        self._descriptor = descriptor
        self._most_bytes = held_bytes
        self._lines: deque[bytes] = deque()
        self._held_bytes = 0
        self._is_torn = False
        self._lock = threading.Lock()
        self._is_wanted = threading.Event()
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """Take one line, without its end. Never waits, never raises."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if self._held_bytes + len(data) > self._most_bytes:
                self.dropped += 1
                return
            self._held_bytes += len(data)
            self._lines.append(data)
            if self._thread is None:
                self._start()
        if not self._is_wanted.is_set():
            self._is_wanted.set()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread to be had just now: the next line tries again
            thread.start()
            self._thread = thread

    def lost(self) -> None:
        """Count a line that could not even be made."""
        with self._lock:
            self.dropped += 1

    def close(self, timeout_s: float = LAST_LINES_S) -> None:
        """Write what is held, for ``timeout_s`` at most; what is left then is lost with the process. The last call."""
        self._is_closing.set()
        self._is_wanted.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        told = 0
        while True:
            self._is_wanted.wait()
            self._is_wanted.clear()
            while batch := self._take():
                missing = self._write(batch)
                with self._lock:
                    self.dropped += missing
                    self._held_bytes -= sum(map(len, batch))
                if not missing and self.dropped > told:
                    missed, told = self.dropped - told, self.dropped
                    _log.warning(
                        "%d log lines are missing before this one: they could not be written", missed
                    )
                if not self._lines:
                    self._is_closing.wait(_REST_S)
            if self._is_closing.is_set() and not self._lines:
                return

    def _take(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        with self._lock:
            while self._lines and (not batch or size + len(self._lines[0]) <= _BATCH_BYTES):
                batch.append(self._lines.popleft())
                size += len(batch[-1])
        return batch

    def _write(self, batch: list[bytes]) -> int:
        """Write lines; return how many of them are lost."""
        text = b"\n" * self._is_torn + b"".join(batch)
        left = memoryview(text)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # somebody who shares the descriptor has set it not to block
                select.select([], [self._descriptor], [], _LOOK_AGAIN_S)
            except OSError:
                written = text[: len(text) - len(left)]
                self._is_torn = not written.endswith(b"\n") if written else self._is_torn
                return _lines_within(batch, len(left))
        self._is_torn = False
        return 0

    def __repr__(self) -> str:
        return f"<LineWriter {self._descriptor}: {self._held_bytes} bytes held, {self.dropped} lines dropped>"


def _lines_within(batch: list[bytes], tail_bytes: int) -> int:
    """Return how many of the last lines of a batch its last bytes touch."""
    count = 0
    while tail_bytes > 0:
        count += 1
        tail_bytes -= len(batch[-count])
    return count


def hold_standard_descriptors() -> None:
    """Open /dev/null in place of descriptors 0, 1 and 2 that are closed.

    Otherwise the next socket takes the number, and the log goes to whoever is at its other end.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
