"""Answers of the sidecar's own."""

from __future__ import annotations

import json

import pytest

from proxy.base.reasons import Problem, Reason
from proxy.respond.local import ANSWERS, LocalReply
from proxy.respond.reply import CLOSES, PERSISTS, DateLine, Marks


@pytest.mark.parametrize("why", list(ANSWERS))
def test_a_reply_is_a_problem_document(why: Reason | Problem) -> None:
    """RFC 9457, whatever the detail holds."""
    status, reason, title, helps = ANSWERS[why]
    assert status == 200 if why is Problem.ENDS_HERE else 400 <= status < 600
    detail = 'a "quoted"\r\nX-Forged: line \N{SNOWMAN}'
    raw = LocalReply(why, detail, 2.4).encode(Marks(b"me").lines(3, CLOSES), answers_head=False)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"X-Forged" not in head
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Length: %d" % len(body) in lines
    assert (b"Retry-After: 2" in lines) is helps
    assert b"Sidegate-Attempts: 3" in lines
    assert b"Sidegate-Reason: " + reason.value.encode() in lines
    problem = json.loads(body)
    assert (problem["status"], problem["detail"], problem["reason"]) == (status, detail, reason.value)
    assert problem["title"] == title


def test_every_reason_and_every_problem_has_its_answer() -> None:
    """Those that pass the upstream's own answer on excepted, and the two that a problem says closer."""
    without = {Reason.OK, Reason.UPSTREAM_JSON, Reason.BAD_REQUEST, Reason.TOO_LARGE}
    assert set(ANSWERS) == ({*Reason} - without) | {*Problem}


def test_a_heads_reply_has_the_length_and_no_body() -> None:
    marks = Marks(b"me").lines(0, PERSISTS)
    full = LocalReply(Reason.RESET, "x").encode(marks, answers_head=False)
    assert full.startswith(LocalReply(Reason.RESET, "x").encode(marks, answers_head=True))


@pytest.mark.parametrize(("seconds", "written"), [(0.1, b"1"), (1.0, b"1"), (59.6, b"60")])
def test_retry_after_is_whole_seconds_and_never_0(seconds: float, written: bytes) -> None:
    raw = LocalReply(Reason.QUEUE_FULL, "x", seconds).encode(b"\r\n", answers_head=True)
    assert b"Retry-After: " + written + b"\r\n" in raw


def test_marks_are_kept_per_count_and_bounded() -> None:
    marks = Marks(b"me")
    assert marks.lines(1, PERSISTS) is marks.lines(1, PERSISTS)
    for count in range(5000):
        marks.lines(count, PERSISTS)
    assert len(marks._known) <= 3000


def test_the_date_line_is_made_once_a_second() -> None:
    now = [784_111_777.9]
    date = DateLine(lambda: now[0])
    line = date.now()
    assert line == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    assert date.now() is line
    now[0] = 784_111_778.0
    assert date.now() == b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"
