"""A pod in its fleet, by virtual time: it follows, decides, is cut off, learns on alone, and comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from proxy.fleet.board import Alone, Seen
from proxy.fleet.leases import Hard
from proxy.fleet.member import IDLE_S, PERIOD_S, Member
from proxy.fleet.record import VERSION, Plan, Portion, Record, Share
from proxy.learn.decision import Decision
from proxy.learn.evidence.tally import Reading, Tally, Window
from proxy.learn.learner import Learner
from tests.fakes.board import FakeBoard, FakeSeat
from tests.fakes.virtual import now, run

ME = "2-me"
OLDER = "1-older"


def plan(mine: Share, *, serial: int = 1, total: int = 20, is_awake: bool = False, most: int = 2) -> Plan:
    others = Share(total - mine.slots)
    portion = Portion(total, mine.rate, "hold", {OLDER: others, ME: mine}, learner=Learner.at(total))
    return Plan(serial, {"default": portion}, {}, most, is_awake)


class Pod:
    """A member, its board and its seat, with time that the test moves."""

    def __init__(self, shows: Callable[[Record], Seen], **over: Any) -> None:
        self.now = 100.0
        self.board = FakeBoard(shows)
        self.seat = FakeSeat(lambda: self.now)
        self.member = Member(
            pod=ME,
            fleet="http://a",
            board=self.board,
            seats=lambda: {"default": self.seat},
            monotonic=lambda: self.now,
            **over,
        )

    def turns(self, count: int = 1, every_s: float = PERIOD_S) -> None:
        for _ in range(count):
            asyncio.run(self.member.turn())
            self.now += every_s

    @property
    def slots(self) -> int:
        return self.seat.shares[-1].slots


def follows(mine: Share) -> Callable[[Record], Seen]:
    return lambda _: Seen(is_pilot=False, plan=plan(mine))


def pilots(record: Record) -> Seen:
    return Seen(is_pilot=True, records={record.pod: record})


def silent(_: Record) -> Seen:
    return Seen(is_pilot=False, is_reached=False)


def other(pod: str, **over: Any) -> Record:
    reading = Reading(
        at=over.pop("at", 0.0), tally=Tally(), wanted=over.pop("wanted", 10), inflight=over.pop("inflight", 0)
    )
    return Record(VERSION, "http://a", pod, "", {"default": reading}, **over)


def test_a_pod_that_follows_puts_its_share_in_force() -> None:
    pod = Pod(follows(Share(7, 2.5, 5)))
    pod.turns()
    assert pod.seat.shares == [Share(7, 2.5, 5)]
    assert (pod.member.is_pilot, pod.member.total("default"), pod.member.pods) == (False, (20, 2.5), 2)
    assert pod.board.published == []


def test_a_limiter_that_the_plan_does_not_know_keeps_what_it_has() -> None:
    pod = Pod(lambda _: Seen(is_pilot=False, plan=Plan(1, {}, {})))
    pod.turns()
    assert pod.seat.shares == []
    assert pod.member.total("default") == (0, 0.0)


def test_the_pilot_publishes_a_plan_for_all_and_obeys_it() -> None:
    pod = Pod(lambda record: Seen(True, {ME: record, "3-c": other("3-c"), "4-d": other("4-d")}))
    pod.seat.says["wanted"] = 10
    pod.turns(2)
    first, second = pod.board.published
    assert first.serial < second.serial
    portion = second.portions["default"]
    assert portion.shares.keys() == {ME, "3-c", "4-d"}
    assert sum(share.slots for share in portion.shares.values()) == portion.slots
    assert pod.seat.shares[-1] == portion.shares[ME]
    assert pod.member.is_pilot


def test_a_new_pilot_goes_on_from_the_plan_that_it_followed() -> None:
    """Also where the board does not show it: its first turns as the pilot may have read nobody."""
    for shown in (plan(Share(7)), None):
        pod = Pod(follows(Share(7)))
        pod.turns()
        pod.board.shows = lambda record, shown=shown: Seen(True, {ME: record, "3-c": other("3-c")}, shown)  # type: ignore[misc]
        pod.turns()
        (made,) = pod.board.published
        assert made.portions["default"].slots == 20
        assert made.serial == 2


def test_a_pod_that_cannot_be_read_keeps_its_share_for_a_while() -> None:
    together = {"3-c": other("3-c")}
    pod = Pod(lambda record: Seen(True, {ME: record, **together}))
    pod.turns()
    together.clear()
    pod.turns(3)
    assert "3-c" in pod.board.published[-1].portions["default"].shares
    pod.turns(4)
    assert "3-c" not in pod.board.published[-1].portions["default"].shares


def test_a_pod_that_leaves_is_given_nothing_and_keeps_what_its_calls_hold_until_they_end() -> None:
    leaving = other("3-c", inflight=3, is_leaving=True)
    pod = Pod(lambda record: Seen(True, {ME: record, "3-c": leaving}, plan(Share(10))))
    pod.seat.says["wanted"] = 30
    pod.turns()
    assert {
        each: share.slots for each, share in pod.board.published[-1].portions["default"].shares.items()
    } == {ME: 17}
    leaving.readings["default"].inflight = 0
    pod.turns()
    assert {
        each: share.slots for each, share in pod.board.published[-1].portions["default"].shares.items()
    } == {ME: 20}


def test_where_nobody_answers_the_rest_share_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Not the share of a height that was only being looked at. It is said once."""
    pod = Pod(follows(Share(9, 0.0, 4)))
    pod.turns(2)
    pod.board.shows = silent
    with caplog.at_level(logging.WARNING, "sidegate"):
        pod.turns(1)
        assert (pod.slots, pod.member.is_cut_off) == (9, False), "one miss is none"
        pod.turns(15)
    assert (pod.slots, pod.member.is_cut_off, pod.member.is_pilot) == (4, True, False)
    assert [each.message for each in caplog.records] == ["fleet: no other pod answers"]
    assert pod.board.published == []


def test_after_ten_seconds_without_an_answer_it_learns_on_alone_from_its_rest_share() -> None:
    pod = Pod(follows(Share(9, 0.0, 4)))
    pod.turns(2)
    pod.board.shows = silent
    pod.turns(19)
    assert not pod.member.is_pilot
    pod.turns(5)
    assert (pod.member.is_pilot, pod.member.is_cut_off) == (True, True)
    assert pod.board.published[0].portions["default"].slots == 4
    assert len(pod.board.published) == 4


def test_alone_it_keeps_to_its_part_of_the_owners_totals() -> None:
    """Of the most pods that were ever seen together, for who knows which of them still run."""
    pod = Pod(lambda _: Seen(False, plan=plan(Share(9, 0.0, 9), most=4)), hard=Hard(12, 40.0))
    pod.turns(2)
    pod.board.shows = silent
    pod.turns(26)
    portion = pod.board.published[-1].portions["default"]
    assert (portion.slots, portion.rate) == (3, 10.0)


def test_alone_it_keeps_to_its_share_of_a_rate_that_was_learnt() -> None:
    """Where a rate is in force slots are for all who want one: without it they would be a burst."""
    pod = Pod(follows(Share(50, 2.5, 50)))
    pod.turns(2)
    pod.board.shows = silent
    pod.turns(30)
    assert pod.member.is_pilot
    assert pod.seat.shares[-1].rate == pod.board.published[-1].portions["default"].rate == 2.5


def test_back_again_it_obeys_the_plan_and_there_is_no_burst() -> None:
    pod = Pod(follows(Share(9, 0.0, 4)))
    pod.turns(2)
    pod.board.shows = silent
    pod.turns(40)
    pod.board.shows = follows(Share(3))
    pod.turns()
    assert (pod.slots, pod.member.is_pilot, pod.member.is_cut_off) == (3, False, False)


def test_back_again_as_the_pilot_it_goes_on_from_where_it_is() -> None:
    """With the owner's whole totals, and not from scratch."""
    pod = Pod(lambda _: Seen(False, plan=plan(Share(9, 0.0, 6), most=2)), hard=Hard(8))
    pod.turns(2)
    pod.board.shows = silent
    pod.turns(30)
    assert pod.slots == 4
    pod.board.shows = lambda record: Seen(True, {ME: record, "3-c": other("3-c")})
    pod.turns()
    last = pod.board.published[-1].portions["default"]
    assert last.mode == "hold", "it did not begin anew"
    assert 4 <= last.slots <= 8


def test_a_pilot_that_reads_nobody_goes_on_deciding() -> None:
    pod = Pod(pilots)
    pod.turns(2)
    pod.board.shows = lambda record: Seen(True, {ME: record}, is_reached=False)
    pod.turns(5)
    assert (pod.member.is_pilot, pod.member.is_cut_off) == (True, True)
    assert len(pod.board.published) == 7
    assert [share.slots for share in pod.seat.shares] == [
        each.portions["default"].shares[ME].slots for each in pod.board.published
    ]


def test_an_idle_fleet_is_not_cut_off_by_one_miss() -> None:
    """It met 5 s ago, and that was no silence."""
    pod = Pod(follows(Share(9, 0.0, 4)))
    pod.turns(3, every_s=IDLE_S)
    pod.board.shows = silent
    pod.turns()
    assert not pod.member.is_cut_off
    pod.board.shows = follows(Share(9))
    pod.turns()
    assert not pod.member.is_cut_off
    assert pod.slots == 9


def test_what_the_operator_sees() -> None:
    before = plan(Share(20))
    learner = before.portions["default"].learner
    assert learner is not None
    learner.t, learner.notes = 9.0, [(3.0, "so it began"), (8.0, "and so it went on")]
    pod = Pod(lambda record: Seen(True, {ME: record}, before))
    pod.turns(2)
    view = pod.member.view()
    assert (view["pod"], view["is_pilot"], view["pods"]) == (ME, True, 1)
    assert view["limiters"]["default"]["shares"][ME]["slots"] == pod.slots
    notes = pod.member.decisions("default")
    assert [because for _, because in notes][-2:] == ["and so it went on", "so it began"]
    ages = [age_s for age_s, _ in notes]
    assert ages == sorted(ages)
    assert ages[-1] - ages[-2] == pytest.approx(5.0)
    assert pod.member.decisions("unknown") == []


def test_learning_that_fails_goes_on_from_the_total_in_force(caplog: pytest.LogCaptureFixture) -> None:
    """Else each pilot would hand the state that it fails on to the next, and the fleet would never decide again."""

    class Failing(Learner):
        def step(self, window: Window) -> Decision:
            raise ZeroDivisionError

    pod = Pod(follows(Share(7)))
    pod.turns()
    before = plan(Share(7))
    before.portions["default"].learner = Failing.at(20)
    pod.board.shows = lambda record: Seen(True, {ME: record}, before)
    pod.turns(2)
    assert "learning failed for default" in caplog.text
    assert pod.slots == 20
    pod.turns(2)
    last = pod.board.published[-1].portions["default"]
    assert (last.slots, last.shares[ME].slots, last.mode) == (20, 20, "hold")


# life of its own, in virtual time


def living(shows: Callable[[Record], Seen], **over: Any) -> tuple[Member, FakeBoard, FakeSeat]:
    board, seat = FakeBoard(shows), FakeSeat(now)
    member = Member(
        pod=ME, fleet="http://a", board=board, seats=lambda: {"default": seat}, monotonic=now, **over
    )
    return member, board, seat


def test_the_first_turn_is_over_before_the_first_call() -> None:
    async def trace() -> None:
        member, board, seat = living(follows(Share(7)))
        await member.open()
        assert board.is_open
        assert seat.shares == [Share(7)]
        await member.close()
        assert not board.is_open

    run(trace())


def test_a_turn_that_fails_costs_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next one comes. Not even the first one keeps the sidecar from its work."""

    def fails(_: Record) -> Seen:
        raise ZeroDivisionError

    async def trace() -> None:
        member, board, seat = living(fails)
        await member.open()
        await asyncio.sleep(2.0)
        assert 3 <= len(board.posted) <= 6
        assert seat.shares == []
        board.shows = follows(Share(7))
        await asyncio.sleep(1.0)
        assert seat.shares[-1] == Share(7)
        await member.close()

    run(trace())
    assert "a turn failed" in caplog.text


def test_an_idle_fleet_meets_every_five_seconds() -> None:
    async def trace() -> None:
        member, board, _ = living(pilots)
        await member.open()
        await asyncio.sleep(3.0)
        count = len(board.posted)
        await asyncio.sleep(60.0)
        assert 10 <= len(board.posted) - count <= 12
        assert not board.posted[-1].is_awake
        await member.close()

    run(trace())


def test_an_idle_follower_meets_every_five_seconds() -> None:
    async def trace() -> None:
        member, board, _ = living(follows(Share(7)))
        await member.open()
        await asyncio.sleep(3.0)
        count = len(board.posted)
        await asyncio.sleep(60.0)
        assert 10 <= len(board.posted) - count <= 12
        await member.close()

    run(trace())


@pytest.mark.parametrize("why", ["calls end", "calls wait", "others carry calls", "somebody asks"])
def test_whoever_carries_calls_wakes_the_fleet(why: str) -> None:
    """Calls that take a minute are calls as well: they are under way, though none ends."""
    asked: list[float] = []

    async def trace() -> None:
        member, board, seat = living(
            lambda _: Seen(False, plan=plan(Share(7), is_awake=why == "others carry calls")),
            asked_at=lambda: asked[-1] if asked else float("-inf"),
        )
        await member.open()
        await asyncio.sleep(20.0)
        count = len(board.posted)
        for _ in range(50):
            if why == "calls end":
                seat.carries(1)
            elif why == "calls wait":
                seat.says["wanted"] = 3
            elif why == "somebody asks":
                asked.append(now())
            await asyncio.sleep(0.2)
        assert len(board.posted) - count >= 15
        assert board.posted[-1].is_awake is (why in ("calls end", "calls wait"))
        await member.close()

    run(trace())


def test_a_follower_reads_a_plan_soon_after_it_is_made() -> None:
    """Plans come every half second: it asks a moment after one is due, however the two began."""

    async def trace() -> None:
        made_at: list[float] = []
        ages: list[float] = []

        def shows(_: Record) -> Seen:
            age_s = (now() - made_at[0]) % PERIOD_S
            ages.append(age_s)
            return Seen(False, plan=plan(Share(7), is_awake=True), plan_age_s=age_s)

        made_at.append(now() - 0.31)
        member, _, _ = living(shows)
        await member.open()
        await asyncio.sleep(10.0)
        assert len(ages) >= 18
        assert max(ages[2:]) < 0.15
        await member.close()

    run(trace())


def test_a_pod_that_leaves_says_so_until_it_has_gone() -> None:
    """Each time with what its calls still hold. It was a pod like any other again half a second later."""

    async def trace() -> None:
        member, board, seat = living(pilots)
        await member.open()
        turns = len(board.posted)
        seat.says["inflight"] = 3
        await member.leave()
        assert (board.left[-1].is_leaving, board.left[-1].readings["default"].inflight) == (True, 3)
        assert not member.is_pilot
        seat.says["inflight"] = 1
        await asyncio.sleep(1.2)
        assert len(board.posted) == turns
        assert all(record.is_leaving for record in board.left)
        assert board.left[-1].readings["default"].inflight == 1
        await member.close()

    run(trace())


def test_a_pod_that_leaves_in_the_middle_of_a_turn_decides_nothing_more() -> None:
    async def trace() -> None:
        member, board, seat = living(pilots)
        await member.open()
        count = len(board.published)
        seat.carries(1)

        def slow(record: Record) -> Seen:
            member.is_leaving = True
            return pilots(record)

        board.shows = slow
        await asyncio.sleep(1.1)
        assert len(board.published) == count
        await member.close()

    run(trace())


def test_a_pod_by_itself_is_its_own_pilot() -> None:
    async def trace() -> None:
        seat = FakeSeat(now, start=8)
        member = Member(
            pod=ME, fleet="http://a", board=Alone(), seats=lambda: {"default": seat}, monotonic=now
        )
        await member.open()
        assert (member.is_pilot, member.is_cut_off, member.pods) == (True, False, 1)
        assert member.total("default")[0] == seat.shares[-1].slots == 8
        await member.leave()
        await member.close()

    run(trace())


# leases of the owner's totals


def leased(shows: Callable[[Record], Seen], hard: Hard, *, is_strict: bool) -> Pod:
    pod = Pod(shows, hard=hard)
    pod.board.is_strict = is_strict
    return pod


def for_a_while(mine: Share, most: int = 4) -> Callable[[Record], Seen]:
    return lambda _: Seen(is_pilot=False, plan=plan(mine, most=most), lease_s=2.5)


def test_where_leases_are_strict_a_pod_without_one_waits(caplog: pytest.LogCaptureFixture) -> None:
    """From when its lease has run out, by its own clock; however long that lasts. It is never alone."""
    pod = leased(for_a_while(Share(7)), Hard(12), is_strict=True)
    pod.turns(2)
    pod.board.shows = silent
    pod.turns(3)
    pod.now += 0.4
    assert pod.seat.in_force == Share(7)
    pod.now += 0.2
    assert pod.seat.in_force == Share(0)
    pod.turns(60)
    assert (pod.seat.in_force, pod.member.is_pilot) == (Share(0), False)
    assert [each.message for each in caplog.records] == [
        "fleet: no other pod answers; calls wait while there is no lease"
    ]
    pod.board.shows = for_a_while(Share(3))
    pod.turns()
    assert pod.seat.in_force == Share(3)


def test_elsewhere_it_has_one_part_of_as_many_as_pods_were_known() -> None:
    """And not more than its share."""
    for mine, part in ((Share(7, 8.0, 7), Share(3, 5.0, 3)), (Share(2, 4.0, 2), Share(2, 4.0, 2))):
        pod = leased(for_a_while(mine), Hard(12, 20.0), is_strict=False)
        pod.turns(2)
        pod.board.shows = silent
        pod.now += 2.0
        assert pod.seat.in_force == part
        pod.turns(40)
        assert pod.member.is_alone
        assert pod.seat.in_force.slots <= 3
        assert pod.seat.in_force.rate <= 5.0


def test_a_pod_that_was_never_told_a_share_has_none() -> None:
    pod = leased(silent, Hard(12), is_strict=True)
    pod.turns(60)
    assert pod.seat.shares == []


def test_where_others_are_named_and_silent_it_waits_and_then_has_its_part() -> None:
    """It may be the first, or the one that sees nobody."""
    pod = leased(lambda record: Seen(True, {ME: record}, missing=2), Hard(12), is_strict=False)
    pod.turns(20)
    assert pod.seat.in_force.slots == 0
    pod.seat.says["wanted"] = 30
    pod.turns(2)
    assert pod.seat.in_force.slots == 4
    pod.board.shows = lambda record: Seen(True, {ME: record}, missing=0)
    pod.turns(2)
    assert pod.seat.in_force.slots > 0


def test_a_plan_older_than_the_one_in_force_is_not_obeyed_where_leases_are_strict() -> None:
    """A board that has lost the last ones would give this pod what others hold by now."""
    pod = leased(lambda _: Seen(False, plan=plan(Share(3), serial=9), lease_s=2.5), Hard(12), is_strict=True)
    pod.turns()
    pod.board.shows = lambda _: Seen(False, plan=plan(Share(8), serial=7), lease_s=2.5)
    pod.turns()
    assert pod.seat.in_force == Share(3)


def test_a_pilot_says_more_than_any_pod_has_heard() -> None:
    """A board that was emptied begins at 1: who holds a lease of a plan of before would not obey."""
    heard = other("3-c", plan_id="41@3-c")
    pod = leased(
        lambda record: Seen(True, {ME: record, "3-c": heard}, is_whole=True), Hard(12), is_strict=True
    )
    pod.turns()
    assert pod.board.published[0].serial == 42


def test_a_plan_that_was_not_taken_is_not_in_force_and_the_pilot_begins_anew() -> None:
    pod = leased(
        lambda record: Seen(True, {ME: record}, is_whole=True, lease_s=2.5), Hard(12), is_strict=True
    )
    pod.turns(8)
    assert pod.seat.in_force.slots > 0
    before = pod.seat.shares[-1]
    pod.board.takes = False
    pod.turns()
    assert (pod.seat.shares[-1], pod.member.is_pilot) == (before, False)


def test_a_pod_that_drains_keeps_its_lease_and_gives_it_back_in_the_end() -> None:
    """Its app still calls."""

    async def trace() -> None:
        member, board, seat = living(for_a_while(Share(7)), hard=Hard(12))
        board.is_strict = True
        await member.open()
        await member.leave()
        await asyncio.sleep(3.0)
        assert board.left == []
        assert seat.in_force == Share(7)
        await member.close()
        assert [record.is_leaving for record in board.left] == [True]

    run(trace())


def test_where_leases_are_not_strict_a_pod_that_drains_keeps_its_part() -> None:
    async def trace() -> None:
        member, board, seat = living(for_a_while(Share(7)), hard=Hard(12))
        await member.open()
        await member.leave()
        assert seat.in_force == Share(3)
        assert board.left[0].holds == {"default": Share(3)}
        await member.close()

    run(trace())
