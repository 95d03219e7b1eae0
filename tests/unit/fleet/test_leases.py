"""Leases: giver first, whatever is lost, late or repeated; and what a pod without a board may use."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.fleet.leases import LEASE_S, SETTLES_S, Hard, Leases, split, without_lease
from proxy.fleet.record import VERSION, Plan, Portion, Record, Share
from proxy.learn.evidence.tally import Reading, Tally


def plan(serial: int, shares: dict[str, Any], by: str = "1-a") -> Plan:
    made = {pod: share if isinstance(share, Share) else Share(share) for pod, share in shares.items()}
    return Plan(serial, {"default": Portion(0, 0.0, "hold", made)}, {}, by=by)


def record(
    pod: str, holds: Any = 0, *, of: int = 0, inflight: int = 0, at: float = 0.0, **over: Any
) -> Record:
    share = holds if isinstance(holds, Share) else Share(holds)
    reading = Reading(at=at, tally=Tally(), inflight=inflight, **over)
    return Record(
        VERSION,
        "http://a",
        pod,
        "",
        {"default": reading},
        plan_id=f"{of}@1-a" if of else "",
        holds={"default": share},
    )


def cut(
    leases: Leases, made: Plan, *records: Record, total: Any = 8, now: float = 0.0, is_whole: bool = True
) -> Any:
    hard = total if isinstance(total, Hard) else Hard(total)
    leases.cut(now, made, hard, {each.pod: each for each in records}, is_whole=is_whole)
    portion = made.portions["default"]
    return {pod: share.slots for pod, share in portion.shares.items()}


def test_the_worked_example() -> None:
    leases = Leases()
    assert cut(leases, plan(1, {"a": 7, "b": 1}), record("a"), record("b")) == {"a": 7, "b": 1}
    made = plan(2, {"a": 4, "b": 4})
    assert cut(leases, made, record("a", 7, of=1, inflight=7), record("b", 1, of=1)) == {"a": 4, "b": 1}
    assert made.portions["default"].leaving == {"a": 3}
    records = record("a", 4, of=2, inflight=5), record("b", 1, of=2)
    assert cut(leases, plan(3, {"a": 4, "b": 4}), *records) == {"a": 4, "b": 3}
    records = record("a", 4, of=3, inflight=4), record("b", 3, of=3)
    assert cut(leases, plan(4, {"a": 4, "b": 4}), *records) == {"a": 4, "b": 4}


def test_a_plan_that_a_pod_has_not_shown_may_still_be_in_force_there() -> None:
    leases = Leases()
    cut(leases, plan(1, {"a": 2, "b": 2}), record("a"), record("b"))
    cut(leases, plan(2, {"a": 6, "b": 2}), record("a", 2, of=1), record("b", 2, of=1))
    for serial in (3, 4, 5):
        records = record("a", 2, of=1, at=serial), record("b", 2, of=serial - 1, at=serial)
        assert cut(leases, plan(serial, {"a": 2, "b": 6}), *records) == {"a": 2, "b": 2}
    assert cut(leases, plan(6, {"a": 2, "b": 6}), record("a", 2, of=5, at=6), record("b", 2, of=5)) == {
        "a": 2,
        "b": 6,
    }


def test_a_record_that_was_overtaken_says_nothing() -> None:
    leases = Leases()
    cut(leases, plan(1, {"a": 8, "b": 0}), record("a"), record("b"))
    cut(leases, plan(2, {"a": 2, "b": 6}), record("a", 8, of=1, inflight=8, at=1.0), record("b", of=1))
    late = record("a", 8, of=1, inflight=0, at=0.5)
    assert cut(leases, plan(3, {"a": 2, "b": 6}), late, record("b", of=2)) == {"a": 2, "b": 0}


def test_a_pod_that_is_gone_holds_its_lease_until_it_has_run_out() -> None:
    """Where the board does not know, by the time of the last plan that it was in."""
    leases = Leases()
    cut(leases, plan(1, {"a": 4, "b": 4}), record("a"), record("b"), is_whole=False)
    mine = record("a", 4, of=1)
    assert cut(leases, plan(2, {"a": 8}), mine, now=LEASE_S, is_whole=False) == {"a": 4}
    assert cut(leases, plan(3, {"a": 8}), mine, now=LEASE_S + 0.2, is_whole=False) == {"a": 8}


def test_where_the_board_knows_it_is_gone_at_once() -> None:
    leases = Leases()
    cut(leases, plan(1, {"a": 4, "b": 4}), record("a"), record("b"))
    assert cut(leases, plan(2, {"a": 8}), record("a", 4, of=1)) == {"a": 8}


def test_who_takes_over_lets_nobody_grow_for_a_while() -> None:
    """And takes what the pods say that they hold."""
    leases = Leases(grows_from=SETTLES_S)
    records = record("a", 5, of=9, inflight=3), record("b", 2, of=9)
    assert cut(leases, plan(10, {"a": 4, "b": 4}), *records) == {"a": 4, "b": 2}
    records = record("a", 4, of=10, inflight=3), record("b", 2, of=10)
    assert cut(leases, plan(11, {"a": 4, "b": 4}), *records, now=SETTLES_S) == {"a": 4, "b": 4}


def test_fixed_slots_are_taken_from_the_total() -> None:
    records = record("a", fixed=6, inflight=6), record("b")
    assert cut(Leases(), plan(1, {"b": 8}), *records) == {"b": 2}
    assert cut(Leases(), plan(1, {"b": 8}), record("a", fixed=9), record("b")) == {"b": 0}


def test_a_rate_is_leased_like_slots_and_none_is_no_slot() -> None:
    leases = Leases()
    total = Hard(rate=10.0)
    made = plan(1, {"a": Share(5, 6.0), "b": Share(5, 4.0)})
    cut(leases, made, record("a"), record("b"), total=total)
    assert {pod: share.rate for pod, share in made.portions["default"].shares.items()} == {"a": 6.0, "b": 4.0}
    made = plan(2, {"a": Share(5, 3.0), "b": Share(5, 3.5), "c": Share(5, 3.5)})
    records = record("a", Share(5, 6.0), of=1), record("b", Share(5, 4.0), of=1), record("c")
    cut(leases, made, *records, total=total)
    shares = made.portions["default"].shares
    assert (shares["a"].rate, shares["b"].rate) == (3.0, 3.5)
    assert shares["c"] == Share(0), "a rate of 0 would be none at all"
    made = plan(3, {"a": Share(5, 3.0), "b": Share(5, 3.5), "c": Share(5, 3.5)})
    records = record("a", Share(5, 3.0), of=2), record("b", Share(5, 3.5), of=2), record("c", of=2)
    cut(leases, made, *records, total=total)
    assert made.portions["default"].shares["c"] == Share(5, 3.5)


@pytest.mark.parametrize(("total", "left"), [(0, 0), (3, 3)])
def test_a_total_that_has_become_less_takes_back_what_is_held(total: int, left: int) -> None:
    """As that of a pilot that sees nobody any more, and goes on with its part."""
    leases = Leases()
    cut(leases, plan(1, {"a": 8}), record("a"))
    assert cut(leases, plan(2, {"a": 8}), record("a", 8, of=1), total=total) == {"a": left}


def test_a_rate_that_hardly_changes_stays() -> None:
    leases = Leases()
    cut(leases, plan(1, {"a": Share(5, 6.0)}), record("a"), total=Hard(rate=10.0))
    made = plan(2, {"a": Share(5, 6.2)})
    cut(leases, made, record("a", Share(5, 6.0), of=1), total=Hard(rate=10.0))
    assert made.portions["default"].shares["a"].rate == 6.0


def test_all_limiters_of_all_pods_share_one_total() -> None:
    made = Plan(1, {name: Portion(0, 0.0, "hold", {"a": Share(6)}) for name in ("default", "slow")}, {})
    Leases().cut(0.0, made, Hard(8), {"a": record("a")}, is_whole=True)
    assert sum(portion.shares["a"].slots for portion in made.portions.values()) == 8


@pytest.mark.parametrize(
    ("wants", "parts"),
    [
        ({"a": 5.0}, {"a": 9}),
        ({"a": 0.0, "b": 8.0}, {"a": 1, "b": 8}),
        ({"a": 4.0, "b": 4.0}, {"a": 4, "b": 5}),
        ({"a": 1.0, "b": 1.0, "c": 100.0}, {"a": 1, "b": 1, "c": 7}),
    ],
)
def test_a_total_is_split_by_what_is_wanted(wants: dict[str, float], parts: dict[str, int]) -> None:
    made = split(Hard(9, 9.0), wants)
    assert {name: each.slots for name, each in made.items()} == parts
    assert sum(each.rate or 0.0 for each in made.values()) == pytest.approx(9.0)


def test_more_limiters_than_slots() -> None:
    assert sum(each.slots or 0 for each in split(Hard(2), {"a": 1.0, "b": 1.0, "c": 9.0}).values()) == 2


def test_what_is_left_without_a_lease() -> None:
    share = Share(9, 6.0, 7)
    assert without_lease(share, Hard(8, 4.0).part(4)) == Share(2, 1.0, 2)
    assert without_lease(share, Hard(3).part(4)) == Share(0, 6.0, 0)
    assert without_lease(share, Hard(None, 0.0)) == Share(0)
    assert without_lease(Share(1, 0.0, 1), Hard(None, 4.0).part(2)) == Share(1, 2.0, 1)
