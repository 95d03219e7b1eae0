"""Requests that always fail are remembered, not too many of them."""

from __future__ import annotations

from proxy.base.outcomes import FIRST, AttemptOutcome
from proxy.base.reasons import Reason
from proxy.judge.poison import PoisonRecord


def failed(at: float, status: int = 500) -> AttemptOutcome:
    outcome = AttemptOutcome("default", FIRST, at - 1, 1)
    outcome.ended_at, outcome.status, outcome.reason = at, status, Reason.UPSTREAM_STATUS
    return outcome


def test_a_request_is_counted_with_its_first_and_last_time_and_its_last_status() -> None:
    record = PoisonRecord()
    record.note(b"GET", "/page/7", failed(10.0), 10)
    record.note(b"HEAD", "/page/7", failed(11.0), 2)
    record.note(b"GET", "/page/7", failed(20.0, 503), 3)
    get, head = record.latest_first()
    assert (get.method, get.target, get.count, get.attempts) == ("GET", "/page/7", 2, 13)
    assert (get.first_at, get.last_at, get.status, get.reason) == (10.0, 20.0, 503, "upstream_status")
    assert (head.method, head.count) == ("HEAD", 1)


def test_the_least_recently_seen_goes_first() -> None:
    record = PoisonRecord(3)
    for number, page in enumerate((1, 2, 3, 1, 4)):
        record.note(b"GET", f"/{page}", failed(float(number)), 1)
    assert [one.target for one in record.latest_first()] == ["/4", "/1", "/3"]
