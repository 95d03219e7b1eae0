"""Readings in, a portion out: what is fixed is subtracted, the owner's totals hold, a rate is shared out."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.fleet.leases import Hard
from proxy.fleet.pilot import START, Pilot
from proxy.learn.decision import Decision
from proxy.learn.evidence.tally import Reading, Tally
from proxy.learn.learner import Learner


def reading(at: float = 0.0, **over: Any) -> Reading:
    return Reading(**{"at": at, "tally": Tally(), "wanted": 10, **over})


def shared(pilot: Pilot, slots: int, readings: dict[str, Reading], *, rate: float = 0.0) -> Any:
    """What is shared out of a decision that is given."""
    pilot.learner = pilot.learner or Learner.at(slots)
    pilot._wants = {pod: float(each.wanted) for pod, each in readings.items()}
    return pilot.share(0.0, 0.5, Decision(slots, rate), readings)


def test_a_fleet_starts_with_the_sum_of_what_its_pods_were_told() -> None:
    pilot = Pilot()
    pilot.step(0.0, {"a": reading(start=5), "b": reading(start=6), "c": reading()})
    assert pilot.learner is not None
    assert pilot.learner.start == 11


def test_a_fleet_that_was_told_nothing_starts_with_a_few() -> None:
    pilot = Pilot()
    portion = pilot.step(0.0, {"a": reading(), "b": reading()})
    assert pilot.learner is not None
    assert pilot.learner.start == START
    assert sum(share.slots for share in portion.shares.values()) == portion.slots


def test_it_goes_on_from_what_another_pilot_had_learnt() -> None:
    portion = Pilot(Learner.at(30)).step(0.0, {"a": reading(wanted=50), "b": reading(wanted=50)})
    assert (portion.mode, portion.slots) == ("hold", 30)
    assert {pod: share.slots for pod, share in portion.shares.items()} == {"a": 15, "b": 15}


def test_who_takes_over_takes_no_history_for_a_window() -> None:
    """All pages since the pods' start were counted as those of half a second."""
    learner = Learner.at(10)
    pilot = Pilot(learner)
    tally = Tally(ok=1_000_000, took_s=5_000_000.0, log=1_600_000.0, log2=2_600_000.0, busy_s=5_000_000.0)
    portion = pilot.step(0.0, {"a": reading(9e5, tally=tally)})
    assert (portion.slots, learner.t) == (10, 0.0)
    after = Tally(
        ok=1_000_025,
        took_s=5_000_002.5,
        log=1_600_000.0 - 57.5,
        log2=2_600_000.0 + 132.5,
        busy_s=5_000_002.5,
    )
    pilot.step(0.5, {"a": reading(9e5 + 0.5, tally=after)})
    assert learner.t == 0.5
    assert learner.ground.latency_s < 0.2


def test_what_is_decided_is_seen_in_the_next_window() -> None:
    """The tallies of all pods make up the evidence."""
    pilot = Pilot(Learner.at(10))
    pilot.step(0.0, {"a": reading(1.0), "b": reading(1.0)})
    tally = Tally(ok=50, took_s=5.0, log=-115.0, log2=265.0, busy_s=2.5)
    pilot.step(0.5, {"a": reading(1.5, tally=tally), "b": reading(1.5, tally=tally)})
    assert pilot.learner is not None
    assert pilot.learner.ground.latency_s == pytest.approx(0.1)


def test_the_slots_of_a_fixed_pod_are_taken_from_the_total_and_it_gets_no_share() -> None:
    portion = shared(Pilot(), 20, {"a": reading(fixed=8), "b": reading(), "c": reading()})
    assert portion.slots == 20
    assert {pod: share.slots for pod, share in portion.shares.items()} == {"b": 6, "c": 6}


def test_fixed_pods_that_take_it_all_leave_a_slot() -> None:
    """Else a pod that learns could never show that there is more."""
    portion = shared(Pilot(), 20, {"a": reading(fixed=80), "b": reading()})
    assert {pod: share.slots for pod, share in portion.shares.items()} == {"b": 1}


def test_where_all_are_fixed_nothing_is_shared_out() -> None:
    portion = shared(Pilot(), 20, {"a": reading(fixed=8)})
    assert portion.shares == {}


def test_the_owners_total_of_slots_holds() -> None:
    readings = {"a": reading(), "b": reading()}
    portion = shared(Pilot(hard=Hard(slots=6)), 20, readings)
    assert portion.slots == 6
    assert sum(share.slots for share in portion.shares.values()) == 6
    portion = shared(Pilot(hard=Hard(slots=60)), 20, readings)
    assert portion.slots == 20


@pytest.mark.parametrize(("decided", "total"), [(0.0, 30.0), (100.0, 30.0), (10.0, 10.0)])
def test_the_owners_total_rate_holds(decided: float, total: float) -> None:
    readings = {"a": reading(wanted=50), "b": reading(wanted=50)}
    portion = shared(Pilot(hard=Hard(rate=30.0)), 20, readings, rate=decided)
    assert portion.rate == total
    assert sum(share.rate for share in portion.shares.values()) <= total + 1e-9


def test_without_a_rate_nobody_is_given_one() -> None:
    portion = shared(Pilot(), 20, {"a": reading(), "b": reading()})
    assert portion.rate == 0.0
    assert all(share.rate == 0.0 for share in portion.shares.values())


def test_a_rate_is_shared_by_what_each_wants_up_to_equal_parts() -> None:
    """A pod with little to do is given what it can use, the others equal parts of the rest; none gets 0, which is no rate."""
    pilot = Pilot(Learner.at(10))
    assert pilot.learner is not None
    pilot.learner.ground.latency_s = 1.0
    readings = {"a": reading(wanted=0), "b": reading(wanted=40), "c": reading(wanted=40)}
    portion = shared(pilot, 10, readings, rate=21.5)
    rates = {pod: share.rate for pod, share in portion.shares.items()}
    assert 0 < rates["a"] < rates["b"] == pytest.approx(rates["c"])
    assert sum(rates.values()) == pytest.approx(21.5)


def test_a_rate_is_shared_beside_the_slots() -> None:
    portion = shared(Pilot(), 4, {"a": reading(wanted=9), "b": reading(wanted=9)}, rate=10.0)
    assert {pod: (share.slots, share.rate) for pod, share in portion.shares.items()} == {
        "a": (2, 5.0),
        "b": (2, 5.0),
    }


def test_the_rest_share_is_of_the_height_that_is_held_and_not_of_one_that_is_looked_at() -> None:
    pilot = Pilot(Learner.at(10))
    portion = shared(pilot, 20, {"a": reading(), "b": reading()})
    assert {pod: (share.slots, share.rest) for pod, share in portion.shares.items()} == {
        "a": (10, 5),
        "b": (10, 5),
    }


def test_a_pod_that_gives_up_slots_whose_calls_go_on_is_named() -> None:
    pilot = Pilot(Learner.at(8))
    assert pilot.learner is not None
    pilot.learner.ground.latency_s = 1.0
    shared(pilot, 8, {"a": reading(wanted=8), "b": reading(wanted=1)})
    portion = shared(pilot, 8, {"a": reading(wanted=8, inflight=7), "b": reading(wanted=8)})
    assert portion.leaving == {"a": 3}
    assert sum(share.slots for share in portion.shares.values()) == 5


def test_what_a_pod_wanted_is_remembered_for_a_while() -> None:
    """One quiet moment between two bursts does not give everything away."""
    pilot = Pilot(Learner.at(20))
    pilot.step(0.0, {"a": reading(1.0, wanted=16), "b": reading(1.0, wanted=16)})
    portion = pilot.step(0.5, {"a": reading(1.5, wanted=0), "b": reading(1.5, wanted=16)})
    assert portion.shares["a"].slots > 5


def test_no_pod_is_given_more_than_it_may_have() -> None:
    portion = shared(Pilot(), 50, {"a": reading(most=5, wanted=30), "b": reading(wanted=30)})
    assert {pod: share.slots for pod, share in portion.shares.items()} == {"a": 5, "b": 45}
