"""What follows an attempt, and what it tells: by reason, by try, and by what others did meanwhile."""

from __future__ import annotations

import random

import pytest

from proxy.base.outcomes import FIRST, PROBE, AttemptOutcome, Verdict
from proxy.base.reasons import Reason
from proxy.judge.budget import RetryBudget
from proxy.judge.classify import Classifier
from proxy.judge.retry import Decision, RetryPolicy, Why
from proxy.judge.trial import Trial
from proxy.wire.response import Response
from proxy.wire.response_head import ResponseHead

ON = [408, 500, 503, "connect", "reset", "timeout", "truncated"]


def trial(method: bytes = b"GET", attempts: int = 10, has_key: bool = False) -> Trial:
    policy = RetryPolicy(
        Classifier(ON, None),
        RetryBudget(ratio=1.0, floor_per_s=10.0, window_s=10.0, now=0.0),
        attempts=attempts,
        methods=frozenset({b"GET"}),
        base_s=0.1,
        max_s=1.0,
        rng=random.Random(1),
        wall=lambda: 0.0,
    )
    return Trial(policy, method, has_key)


def failed(reason: Reason, kind: str = FIRST, took_s: float = 0.1) -> AttemptOutcome:
    outcome = AttemptOutcome("default", kind, 0.0, 1)
    outcome.reason = reason
    outcome.ended_at = took_s
    return outcome


def answered(status: int, *lines: bytes) -> Response:
    raw = b"HTTP/1.1 %d X\r\n" % status + b"".join(line + b"\r\n" for line in lines)
    return Response(ResponseHead(raw + b"Content-Length: 0\r\n", False), [], 0, None)


def tries_until_final(it: Trial, reason: Reason, others: int = 0) -> int:
    """Try until it is final; ``others`` succeed between two tries."""
    successes = 0
    for count in range(1, 100):
        it.begin_try(False)
        outcome = failed(reason)
        if it.decide(outcome, None, successes) is Decision.FINAL:
            return count
        successes += others
    raise AssertionError("it never ends")


def test_an_answer_that_is_no_http_is_tried_twice_at_most() -> None:
    """It may have been damaged once; the second time it is the server's habit."""
    assert tries_until_final(trial(), Reason.BAD_RESPONSE) == 2
    assert tries_until_final(trial(attempts=1), Reason.BAD_RESPONSE) == 1


def test_a_page_that_times_out_while_others_pass_is_not_run_ten_times() -> None:
    assert tries_until_final(trial(), Reason.HEAD_TIMEOUT, others=5) == 3
    assert tries_until_final(trial(), Reason.HEAD_TIMEOUT, others=0) == 10, "then it may be the upstream"
    assert tries_until_final(trial(), Reason.RESET, others=5) == 10


def test_a_page_that_times_out_goes_on_record() -> None:
    it = trial()
    tries_until_final(it, Reason.HEAD_TIMEOUT, others=5)
    assert it.why is Why.ATTEMPTS
    assert it.is_poison(failed(Reason.HEAD_TIMEOUT), 20)
    assert not it.is_poison(failed(Reason.HEAD_TIMEOUT), 0), "nobody else went well"


@pytest.mark.parametrize(
    ("reason", "took_s", "verdict"),
    [
        (Reason.BAD_RESPONSE, 0.1, Verdict.IGNORE),
        (Reason.INTERNAL, 0.1, Verdict.IGNORE),
        (Reason.STALE_CONNECTION, 0.1, Verdict.IGNORE),
        (Reason.RESET, 0.1, Verdict.DROPPED),
        (Reason.HEAD_TIMEOUT, 30.0, Verdict.DROPPED),
        (Reason.CLIENT_GONE, 0.1, Verdict.IGNORE),
        (Reason.CLIENT_GONE, 30.0, Verdict.DROPPED),
    ],
)
def test_what_a_failure_tells_of_the_upstream(reason: Reason, took_s: float, verdict: Verdict) -> None:
    """Words that are no HTTP close no gate by themselves; an app that left after long silence speaks for the upstream."""
    outcome = failed(reason, took_s=took_s)
    assert trial().verdict(outcome, successes=0, usual_s=0.1, is_sending=False) is verdict


def test_a_shortage_of_our_own_tells_nothing_of_the_upstream() -> None:
    """Descriptors or ports: closing the outage gate would hold calls that need none."""
    outcome = failed(Reason.CONNECT_FAILED)
    outcome.is_local = True
    assert trial().verdict(outcome, successes=0, usual_s=0.1, is_sending=False) is Verdict.IGNORE


def test_a_parting_408_is_a_stale_connection() -> None:
    """RFC 9110 §15.5.9: said of the idle connection. A fresh one's 408, and one that stays open, are the answer."""
    for uses, lines, reason in (
        (3, (b"Connection: close",), Reason.STALE_CONNECTION),
        (0, (b"Connection: close",), Reason.UPSTREAM_STATUS),
        (3, (), Reason.UPSTREAM_STATUS),
    ):
        it = trial(b"POST")
        it.begin_try(False)
        outcome = AttemptOutcome("default", FIRST, 0.0, 1)
        outcome.status, outcome.uses = 408, uses
        it.decide(outcome, answered(408, *lines), 0)
        assert outcome.reason is reason
        assert it.why is Why.METHOD, "a POST without a key is never sent twice"


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [(502, b"7", 7.0), (500, b"1.2", 2.0), (408, b"3", 3.0), (404, b"9", None)],
)
def test_retry_after_counts_on_every_status_that_is_a_failure(
    status: int, value: bytes, seconds: float | None
) -> None:
    it = trial()
    it.begin_try(False)
    outcome = AttemptOutcome("default", FIRST, 0.0, 1)
    outcome.status = status
    it.decide(outcome, answered(status, b"Retry-After: " + value), 0)
    assert outcome.retry_after_s == seconds


def test_a_probe_that_fails_is_held_and_counts_as_a_failure_but_as_no_try() -> None:
    it = trial()
    it.begin_try(True)
    assert it.decide(failed(Reason.RESET, PROBE), None, 0) is Decision.HELD
    assert (it.counted_tries, it.failed_probes, it.failures) == (0, 1, 1)
