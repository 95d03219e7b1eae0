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
from proxy.observe.access_log import AccessLog, clean_target
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


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/a?page=1&token=abc", "/a?page=1&token=REDACTED"),
        (b"/a?access_token=abc&x=1", "/a?access_token=REDACTED&x=1"),
        (b"/a?API_KEY=abc", "/a?API_KEY=REDACTED"),
        (b"/a?apikey=abc;password=b", "/a?apikey=REDACTED;password=REDACTED"),
        (b"/a?X-Amz-Signature=abc&sig=d", "/a?X-Amz-Signature=REDACTED&sig=REDACTED"),
        (b"/a?client_secret=abc", "/a?client_secret=REDACTED"),
        (b"/plain/path?cursor=abc", "/plain/path?cursor=abc"),
        (b"/a\nb\x1b[0m", "/a\\nb\\x1b[0m"),
        (b"/\xff", "/\\xff"),
    ],
)
def test_a_target_in_the_log_is_clean(target: bytes, shown: str) -> None:
    assert clean_target(target) == shown


def test_a_secret_at_the_cut_is_not_shown_and_a_long_target_is_cut() -> None:
    text = clean_target(b"/" + b"a" * 495 + b"?token=" + b"s" * 2000)
    assert len(text) <= 513
    assert "ss" not in text


@given(st.binary(max_size=2000))
def test_a_logged_target_is_printable_and_short(target: bytes) -> None:
    text = clean_target(target)
    assert text.isascii() or text.endswith("…")
    assert text.isprintable()
    assert len(text) <= 513


@pytest.mark.parametrize(("access", "lines"), [("all", 2), ("errors", 1), ("off", 0)])
@pytest.mark.parametrize("form", ["json", "text"])
def test_one_line_per_call_of_the_kind_that_is_logged(access: str, form: str, lines: int) -> None:
    written: list[str] = []
    log = AccessLog(written.append, access=access, format=form, wall=lambda: 0.0)
    for reason in (Reason.OK, Reason.RESET):
        outcome = ExchangeOutcome("default", b"GET", b"/x?token=abc", 0.0)
        outcome.reason = reason
        outcome.detail = "a\r\nforged line"
        log.call(outcome)
    assert "abc" not in "".join(written)
    assert len(written) == lines
    assert not [line for line in written if "\n" in line]
    if form == "json" and lines:
        last = json.loads(written[-1])
        assert (last["reason"], last["target"], last["attempts"]) == ("reset", "/x?token=REDACTED", 0)
