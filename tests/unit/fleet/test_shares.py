"""Whole slots for each pod: their sum, who gets more than whom, whose turn the odd one is, and who gives before others get."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.fleet.shares import Shares, max_min

PODS = [f"pod-{number}" for number in range(6)]


LONG_S = 0.5
"""A call that has not ended when the next plan is due."""


def give(shares: Shares, t: float, total: int, wants: dict[str, float], **over: Any) -> dict[str, int]:
    given_ = {"most": dict.fromkeys(wants, 100), "inflight": dict.fromkeys(wants, 0), "call_s": 0.1, **over}
    return shares.give(t, 0.5, total, wants, **given_)


def test_real_shares_of_the_worked_example() -> None:
    assert max_min(7, {"a": 1.0, "b": 9.0, "c": 9.0}) == {"a": 1.0, "b": 3.0, "c": 3.0}
    assert max_min(8, {"a": 1.0, "b": 9.0, "c": 9.0}) == {"a": 1.0, "b": 3.5, "c": 3.5}
    assert max_min(8, {}) == {}


@given(
    total=st.floats(0.0, 1000.0),
    wants=st.dictionaries(st.sampled_from(PODS), st.floats(0.0, 300.0), min_size=1),
)
def test_real_shares_are_max_min(total: float, wants: dict[str, float]) -> None:
    shares = max_min(total, wants)
    assert sum(shares.values()) == pytest.approx(min(total, sum(wants.values())))
    for pod, share in shares.items():
        assert 0 <= share <= wants[pod] + 1e-9
        if share < wants[pod] - 1e-6:
            assert share >= max(shares.values()) - 1e-6, (
                "who gets less than it wants gets no less than anybody"
            )


WANTS = st.dictionaries(st.sampled_from(PODS), st.floats(0.0, 60.0), min_size=1)


@given(total=st.integers(1, 200), wants=WANTS, data=st.data())
def test_shares_are_whole_within_the_most_and_sum_to_the_total(
    total: int, wants: dict[str, float], data: st.DataObject
) -> None:
    """What nobody wants lies with somebody all the same, as far as anybody may have it."""
    most = {pod: data.draw(st.integers(1, 40)) for pod in wants}
    shares = Shares()
    for turn in range(4):
        given_ = give(shares, 3.0 * turn, total, wants, most=most)
        assert sum(given_.values()) == min(total, sum(most.values()))
        assert all(0 <= n <= most[pod] for pod, n in given_.items())
        assert given_.keys() == wants.keys()


@given(total=st.integers(1, 200), wants=WANTS)
def test_nobody_gets_more_than_a_pod_that_wants_more(total: int, wants: dict[str, float]) -> None:
    """But for the odd slot."""
    given_ = give(Shares(), 0.0, total, wants)
    for pod, n in given_.items():
        for other, want in wants.items():
            if want > wants[pod]:
                assert n <= given_[other] + 1


@given(
    total=st.integers(1, 40),
    wants=st.dictionaries(st.sampled_from(PODS), st.integers(1, 20), min_size=2),
    idle=st.booleans(),
)
def test_odd_slots_go_round(total: int, wants: dict[str, int], idle: bool) -> None:
    """Over many turns each pod has its real share within one slot, also after a time with slots that nobody wanted."""
    shares = Shares()
    t = 0.0
    real = max_min(total, {pod: float(want) for pod, want in wants.items()})
    if idle:
        for _ in range(200):
            give(shares, t, 333, dict.fromkeys(wants, 1.0))
            t += 0.5
    held = dict.fromkeys(wants, 0.0)
    turns = 400
    for _ in range(turns):
        for pod, n in give(shares, t, total, {pod: float(want) for pod, want in wants.items()}).items():
            held[pod] += min(n, max(wants[pod], 1))
        t += 0.5
    for pod in wants:
        assert abs(held[pod] / turns - real[pod]) < 1.0
        if sum(wants.values()) >= total:
            assert held[pod] / turns == pytest.approx(real[pod], abs=0.1)


def test_who_waits_has_a_slot_before_the_pods_that_want_none() -> None:
    """Two slots for six pods: the one call of the fleet waited for its pod's turn, behind the turns of five idle pods."""
    shares = Shares()
    nothing = dict.fromkeys(PODS, 0.0)
    for turn in range(7):
        give(shares, 0.5 * turn, 2, nothing)
    for pod in PODS:
        assert give(shares, 4.0, 2, {**nothing, pod: 1.0})[pod] == 1


def test_an_odd_slot_stays_for_a_turn_of_some_calls() -> None:
    """Each change of hands costs a call's time: with calls of 1 s it changes every 8 s."""
    shares = Shares()
    wants = {"a": 9.0, "b": 9.0}
    hands = [give(shares, 0.5 * turn, 3, wants, call_s=1.0)["a"] for turn in range(96)]
    changes = sum(before != after for before, after in pairwise(hands))
    assert 4 <= changes <= 6
    assert 1.3 <= sum(hands) / len(hands) <= 1.7


def test_a_slot_that_moves_counts_at_its_giver_until_the_call_has_ended() -> None:
    """However many turns that takes, where calls last longer than the next plan is away."""
    shares = Shares()
    assert give(shares, 0.0, 8, {"a": 8.0, "b": 1.0}, call_s=LONG_S) == {"a": 7, "b": 1}
    wants = {"a": 8.0, "b": 8.0}
    for turn in range(1, 6):
        given_ = give(shares, 0.5 * turn, 8, wants, inflight={"a": 7, "b": 1}, call_s=LONG_S)
        assert given_ == {"a": 4, "b": 1}
        assert shares.leaving == {"a": 3}
    assert give(shares, 3.0, 8, wants, inflight={"a": 5, "b": 1}, call_s=LONG_S) == {"a": 4, "b": 3}
    assert give(shares, 3.5, 8, wants, inflight={"a": 4, "b": 3}, call_s=LONG_S) == {"a": 4, "b": 4}
    assert shares.leaving == {}


def test_a_giver_that_gets_some_back_pays_for_none_of_the_others_slots() -> None:
    """Its calls under way are in its share or leaving, never in neither: 35 calls of 34 were under way."""
    shares = Shares()
    for turn, (wants, inflight) in enumerate(
        [
            ({"a": 0.0}, {}),
            ({"a": 0.0, "b": 0.0}, {"a": 0}),
            ({"a": 0.0, "b": 0.0, "c": 23.0}, {"a": 6, "b": 0}),
            ({"a": 0.0, "b": 0.0, "c": 22.0}, {"a": 6, "b": 0, "c": 1}),
        ]
    ):
        given_ = give(shares, 0.5 * turn, 34, wants, inflight=inflight, call_s=LONG_S)
        assert given_["a"] + shares.leaving.get("a", 0) >= inflight.get("a", 0)
        assert sum(given_.values()) + sum(shares.leaving.values()) <= 34


def test_a_slot_moves_at_once_where_calls_are_short() -> None:
    """A call that ends before the next plan overlaps for less time than its slot would lie idle."""
    shares = Shares()
    give(shares, 0.0, 8, {"a": 8.0, "b": 1.0})
    assert give(shares, 0.5, 8, {"a": 8.0, "b": 8.0}, inflight={"a": 7, "b": 1}) == {"a": 4, "b": 4}
    assert shares.leaving == {}


def test_a_new_pilot_knows_what_was_shared_out_before() -> None:
    shares = Shares({"a": 7, "b": 1})
    assert give(shares, 0.0, 8, {"a": 8.0, "b": 8.0}, inflight={"a": 7, "b": 1}, call_s=LONG_S) == {
        "a": 4,
        "b": 1,
    }


@given(data=st.data(), total=st.integers(6, 60))
def test_what_is_in_force_and_what_is_leaving_never_exceed_the_total_while_it_stays(
    data: st.DataObject, total: int
) -> None:
    """Pods that come and change their minds; each uses what it is given as it likes, and calls last as long as they like."""
    shares = Shares()
    inflight: dict[str, int] = {}
    pods: list[str] = []
    for turn in range(12):
        if len(pods) < len(PODS) and (not pods or data.draw(st.booleans(), "one comes")):
            pods.append(PODS[len(pods)])
        wants = {pod: data.draw(st.floats(0.0, 60.0), f"{pod} wants") for pod in pods}
        given_ = give(shares, 0.5 * turn, total, wants, inflight=inflight, call_s=LONG_S)
        assert sum(given_.values()) + sum(shares.leaving.values()) <= total
        assert all(n >= 0 for n in given_.values())
        for pod in pods:
            still = data.draw(st.integers(0, inflight.get(pod, 0)), f"{pod}'s calls go on")
            started = data.draw(st.integers(0, max(0, given_[pod] - still)), f"{pod} starts")
            inflight[pod] = still + started
        assert sum(inflight.values()) <= total


@given(data=st.data(), total=st.integers(1, 60))
def test_pods_that_come_and_go_leave_the_sum_as_it_is(data: st.DataObject, total: int) -> None:
    shares = Shares()
    for turn in range(10):
        wants = data.draw(WANTS)
        assert sum(give(shares, 0.5 * turn, total, wants).values()) == min(total, 100 * len(wants))
