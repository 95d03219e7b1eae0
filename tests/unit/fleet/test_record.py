"""What pods tell each other: it comes back as it was, and what cannot be is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.fleet.record import MOST_BYTES, VERSION, Plan, Portion, Record, RecordError, Share, decode, encode
from proxy.learn.evidence.tally import Reading, Tally
from proxy.learn.learner import Learner

READING = Reading(at=12.5, tally=Tally(ok=3, bad=1, busy_s=2.5), wanted=4, inflight=2, start=8)
PLAN = Plan(
    7,
    {
        "default": Portion(
            8, 2.5, "hold", {"1-a": Share(5, 1.5, 4), "2-b": Share(3)}, {"2-b": 1}, Learner.at(8)
        )
    },
    {"2-b": "10.0.0.2:8881", "3-c": "[::1]:8881"},
    3,
)


def record(**over: Any) -> Record:
    return Record(**{"version": VERSION, "fleet": "http://a", "pod": "1-a", "pilot": "1-a", **over})


def test_a_record_comes_back_as_it_was() -> None:
    whole = record(readings={"default": READING}, plan=PLAN, plan_age_s=0.25, is_awake=False, is_leaving=True)
    assert decode(encode(whole)) == whole
    assert decode(encode(record())) == record()


def test_another_version_is_left_alone() -> None:
    with pytest.raises(RecordError, match=f"version 99, and this pod speaks {VERSION}"):
        decode(encode(record(version=99)))


def test_more_than_a_record_may_have_is_refused_unread() -> None:
    with pytest.raises(RecordError, match="more than a record may have"):
        decode(b" " * (MOST_BYTES + 1))


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"null", b"<html>", b'{"version": 1}', b"\xff\xfe", b"[" * 5000, b'{"version": 1e400}'],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        decode(data)


@pytest.mark.parametrize("data", [b"[" * 500_000, b'{"a":' * 200_000], ids=["lists", "objects"])
def test_what_lies_too_deep_is_refused(data: bytes) -> None:
    """It was a RecursionError, and with it each turn of whoever read it failed."""
    with pytest.raises(RecordError):
        decode(b'{"version": 1, "extra": ' + data)


def test_text_that_is_none_is_refused() -> None:
    with pytest.raises(RecordError):
        decode(encode(record()).replace(b"1-a", b"\xff\xfe\x80"))


@given(data=st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        decode(data)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    text = encode(record(readings={"default": READING})).decode()
    assert '"at":12.5' in text
    with pytest.raises(RecordError):
        decode(text.replace('"at":12.5', f'"at":{number}').encode())


@pytest.mark.parametrize("field", ["wanted", "waiting", "inflight", "most", "fixed", "start"])
@pytest.mark.parametrize("number", [-1, 1 << 40])
def test_a_reading_that_counts_what_cannot_be_is_refused(field: str, number: int) -> None:
    wrong = msgspec.structs.replace(READING, **{field: number})
    with pytest.raises(RecordError, match="a reading counts"):
        decode(encode(record(readings={"default": wrong})))


def portion(**over: Any) -> Plan:
    return msgspec.structs.replace(
        PLAN, portions={"default": msgspec.structs.replace(PLAN.portions["default"], **over)}
    )


@pytest.mark.parametrize(
    "plan",
    [
        portion(slots=-1),
        portion(rate=-1.0),
        portion(rate=1e300),
        portion(shares={"1-a": Share(-5)}),
        portion(shares={"1-a": Share(5, rate=-2.0)}),
        portion(shares={"1-a": Share(5, rest=-1)}),
        portion(leaving={"1-a": -1}),
        msgspec.structs.replace(PLAN, most=-1),
        msgspec.structs.replace(PLAN, pods={"2-b": "10.0.0.2"}),
        msgspec.structs.replace(PLAN, pods={"2-b": "10.0.0.2:http"}),
    ],
)
def test_a_plan_that_shares_out_what_cannot_be_is_refused(plan: Plan) -> None:
    with pytest.raises(RecordError, match="its plan"):
        decode(encode(record(plan=plan)))
