"""A log line never makes anybody wait, and one that is lost is counted."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from proxy.observe.line_writer import LineWriter
from proxy.observe.logs import set_up_logging


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    reads, writes = os.pipe()
    try:
        yield reads, writes
    finally:
        for end in (reads, writes):
            with contextlib.suppress(OSError):
                os.close(end)


@contextlib.contextmanager
def root_log() -> Iterator[None]:
    """The root logger as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def everything(descriptor: int) -> bytes:
    """What a pipe holds, up to its end."""
    with open(descriptor, "rb") as file:
        return file.read()


def read_while_closing(writer: LineWriter, reads: int, writes: int) -> bytes:
    """Everything that comes out at ``reads`` while the writer closes."""
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(everything(reads)))
    reader.start()
    writer.close(30)
    os.close(writes)
    reader.join()
    return read[0]


def test_lines_come_out_whole_and_in_their_order() -> None:
    with pipe() as (reads, writes):
        writer = LineWriter(writes, held_bytes=1 << 20)
        lines = [f"{number} {'x' * (number % 300)}" for number in range(2000)]
        read: list[bytes] = []
        reader = threading.Thread(target=lambda: read.append(everything(reads)))
        reader.start()
        for line in lines:
            writer.put(line)
        writer.close(30)
        os.close(writes)
        reader.join()
    assert read[0].decode().splitlines() == lines
    assert writer.dropped == 0


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_what_is_lost_is_counted() -> None:
    """What is read later says where lines are missing, and how many."""
    with pipe() as (reads, writes), root_log():
        writer = LineWriter(writes, held_bytes=10_000)
        set_up_logging(writer, format="text", level="info")
        for number in range(5000):
            writer.put(f"{number:099d}")
        lost = writer.dropped
        assert lost > 4000
        read = read_while_closing(writer, reads, writes)
    lines = read.decode().splitlines()
    noticed = [re.search(r"(\d+) log lines are missing", line) for line in lines]
    assert len([line for line in lines if line.isdigit()]) == 5000 - lost
    assert sum(int(found[1]) for found in noticed if found) == lost


def test_the_end_does_not_wait_for_a_reader() -> None:
    with pipe() as (_reads, writes):
        writer = LineWriter(writes)
        for _ in range(2000):
            writer.put("x" * 100)
        writer.close(0.01)


def test_a_reader_that_left_costs_lines_and_nothing_else() -> None:
    with pipe() as (reads, writes):
        os.close(reads)
        writer = LineWriter(writes)
        for _ in range(3):
            writer.put("nobody is there")
        writer.close(30)
    assert writer.dropped == 3


def test_a_descriptor_that_is_set_not_to_block_loses_nothing() -> None:
    """Whoever shares a terminal or a pipe may have set it so."""
    with pipe() as (reads, writes):
        fcntl.fcntl(writes, fcntl.F_SETFL, os.O_NONBLOCK)
        writer = LineWriter(writes, held_bytes=1 << 20)
        for _ in range(5000):
            writer.put("x" * 99)
        read = read_while_closing(writer, reads, writes)
    assert len(read) == 5000 * 100
    assert writer.dropped == 0


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_record_that_cannot_be_made_is_a_lost_line(form: str) -> None:
    """Also one whose text no encoding knows is written."""
    with pipe() as (reads, writes), root_log():
        writer = LineWriter(writes)
        set_up_logging(writer, format=form, level="info")
        logging.getLogger("sidegate.test").info("%d calls", "no number")
        logging.getLogger("sidegate.test").info("a name: %s", "\ud800")
        writer.close(30)
        os.close(writes)
        text = everything(reads).decode()
    assert writer.dropped == 1
    assert "ud800" in text.splitlines()[0]
    if form == "json":
        assert json.loads(text.splitlines()[0])["event"] == "a name: \ud800"


@pytest.mark.slow
def test_a_closed_standard_descriptor_is_not_given_to_a_socket() -> None:
    """The log would go to whoever is at its other end."""
    program = (
        "import os, socket\n"
        "from proxy.observe.line_writer import hold_standard_descriptors\n"
        "hold_standard_descriptors()\n"
        "raise SystemExit(0 if socket.socket().fileno() > 2 and os.fstat(2) else 1)\n"
    )
    ran = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 0<&- 1>&- 2>&-', sys.executable, program], check=False
    )
    assert ran.returncode == 0
