"""What is counted is what prometheus_client would count; what is logged gives no secret away."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as TheirHistogram

from proxy.base.outcomes import ExchangeOutcome
from proxy.base.reasons import Reason
from proxy.observe.access_log import AccessLog
from proxy.observe.counts import BUCKETS_S, Histogram


@given(st.lists(st.one_of(st.floats(0, 700), st.sampled_from(BUCKETS_S)), max_size=50))
def test_our_histogram_counts_as_theirs_does(values: list[float]) -> None:
    """Bounds belong to the bucket below them, +Inf holds all."""
    registry = CollectorRegistry()
    theirs = TheirHistogram("x", "x", buckets=BUCKETS_S, registry=registry)
    ours = Histogram(BUCKETS_S)
    for value in values:
        theirs.observe(value)
        ours.observe(value)
    (family,) = registry.collect()
    counted = {sample.labels["le"]: sample.value for sample in family.samples if sample.name == "x_bucket"}
    assert {float(bound): count for bound, count in ours.cumulative()} == {
        float(k): v for k, v in counted.items()
    }
    assert [bound for bound, _ in ours.cumulative()] == list(counted)
    assert ours.total == pytest.approx(sum(values))


@pytest.mark.parametrize(("access", "lines"), [("all", 2), ("errors", 1), ("off", 0)])
@pytest.mark.parametrize("form", ["json", "text"])
def test_one_line_per_call_of_the_kind_that_is_logged(access: str, form: str, lines: int) -> None:
    written: list[str] = []
    log = AccessLog(written.append, access=access, format=form, wall=lambda: 0.0)
    for reason in (Reason.OK, Reason.RESET):
        outcome = ExchangeOutcome("default", b"GET", b"/x?token=abc", 0.0)
        outcome.reason = reason
        outcome.detail = "a\r\nforged line for mary:hush@other"
        log.call(outcome)
    assert "abc" not in "".join(written)
    assert "hush" not in "".join(written)
    assert len(written) == lines
    assert not [line for line in written if "\n" in line]
    if form == "json" and lines:
        last = json.loads(written[-1])
        assert (last["reason"], last["target"], last["attempts"]) == ("reset", "/x?token=REDACTED", 0)
