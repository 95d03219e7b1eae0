"""When everything fails callers are held, single probes test the water, and nobody is told before it must be."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from proxy.base.outcomes import Verdict
from tests.fakes.app import Answer, App
from tests.fakes.counting import CountingLimit
from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Asked, Line, Origin, Step, answer, perform, reset, silence

SPACING_S = 0.05
FIXED_4: dict[str, Any] = {"limits": {"concurrency": {"mode": "fixed", "limit": 4}}}


class Upstream:
    """An origin that dies and heals; remembers how many attempts it saw at once."""

    def __init__(self, dead: Step = b"") -> None:
        self.step = dead or answer(500, b"broken")
        self.by_target: dict[str, Step] = {}
        self.inflight = self.most = 0
        self.origin = Origin(then=self._play)

    async def _play(self, line: Line, asked: Asked) -> None:
        self.inflight += 1
        self.most = max(self.most, self.inflight)
        try:
            await perform(self.by_target.get(asked.target, self.step), line, asked)
        finally:
            self.inflight -= 1

    def heal(self) -> None:
        """Answer from now on, in 5 ms."""

        async def fine(line: Line, _: Asked) -> None:
            await asyncio.sleep(0.005)
            await line.send(answer(200, b"page"))

        self.step = fine
        self.most = 0


class Outage(House):
    """A house whose probes come twenty times as fast."""

    async def __aenter__(self) -> Outage:
        await super().__aenter__()
        self.gate.spacing_s = SPACING_S
        self.gate.latency = 0.01
        return self

    async def break_down(self) -> None:
        """Close the gate; whoever did has left."""
        app = await self.app()
        await app.ask("/first", headers=["Sidegate-Attempts: 10"])
        await until(lambda: self.gate.is_closed, "the gate closes")
        app.close()
        await until(lambda: not self.limiter.waiting, "nobody is held")

    async def hold(self, *targets: str, headers: tuple[str, ...] = ()) -> list[asyncio.Task[Answer]]:
        """Ask for each on a connection of its own; return once the gate is closed and all but a probe are held."""
        calls = [asyncio.ensure_future(self.get(target, *headers)) for target in targets]
        await until(lambda: self.gate.is_closed, "the gate closes")
        await until(lambda: self.limiter.waiting + self.limiter.inflight >= len(calls), "all are held")
        return calls

    def probes(self) -> list[Any]:
        """The attempts that were probes and have ended."""
        return [attempt for attempt in self.witness.attempts if attempt.kind == "probe"]


PAGES = [f"/{n}" for n in range(12)]


@pytest.mark.parametrize(
    "dead",
    [answer(500), answer(429), reset(), reset(answer(200, b"page")[:-2])],
    ids=["500", "429", "reset", "cut"],
)
def test_callers_are_held_while_everything_fails_and_served_after(dead: Step) -> None:
    async def trace() -> None:
        upstream = Upstream(dead)
        async with Outage(upstream.origin, **FIXED_4) as house:
            calls = await house.hold(*PAGES)
            await until(lambda: house.gate.probes >= 4, "probes are sent")
            probes = house.probes()
            assert all(late.started_at - early.ended_at >= SPACING_S for early, late in pairwise(probes))
            assert not any(call.done() for call in calls)
            assert "sidegate_outage 1.0" in await house.metrics()
            upstream.heal()
            for call in calls:
                assert (await soon(call)).status == 200
            assert upstream.most <= 4
            assert "sidegate_outage 0.0" in await house.metrics()
            assert all(call.outage_s > 0.1 for call in house.witness.calls)
            assert house.sidecar.metrics.wait_seconds.of(("outage",)).cumulative()[-1][1] >= 12

    run(trace())


def test_a_refusing_upstream_is_probed_and_no_more() -> None:
    async def trace() -> None:
        origin = Origin()
        await origin.open()
        origin.hang_up()
        async with Outage(origin, **FIXED_4) as house:
            calls = await house.hold(*PAGES)
            before = len(house.witness.attempts)
            await until(lambda: len(house.probes()) >= 3, "probes are sent")
            assert len(house.witness.attempts) - before <= 4
            await origin.open()
            for call in calls:
                assert (await soon(call)).body == b"then"

    run(trace())


def test_a_failed_probe_is_none_of_its_calls_tries_and_the_next_is_anothers() -> None:
    """Three tries each, a dozen probes over three calls: all are served when it heals, and none was the probe twice in a row."""

    async def trace() -> None:
        upstream = Upstream()
        over = {**FIXED_4, "retry": {"attempts": 3}}
        async with Outage(upstream.origin, **over) as house:
            await house.break_down()
            asked_before = len(upstream.origin.asked)
            calls = await house.hold("/a", "/b", "/c")
            await until(lambda: house.gate.probes >= 9, "probes are sent", 20.0)
            upstream.heal()
            for call in calls:
                got = await soon(call)
                assert (got.status, got.attempts) == (200, 1)
            targets = upstream.origin.targets[asked_before:]
            assert all(early != late for early, late in pairwise(targets[:9]))
            assert not house.witness.denied
            kinds = {attempt.kind for attempt in house.witness.attempts[asked_before:]}
            assert kinds <= {"first", "probe"}, "no retry: nothing was charged for it"

    run(trace())


def test_one_page_that_always_fails_does_not_keep_the_gate_shut() -> None:
    async def trace() -> None:
        upstream = Upstream()
        async with Outage(upstream.origin, **FIXED_4, retry={"attempts": 4}) as house:
            await house.break_down()
            upstream.by_target["/poison"] = answer(500, b"mine")
            urgent = await house.app()
            await urgent.ask("/poison", headers=["Sidegate-Priority: high"])
            await until(lambda: upstream.origin.targets[-1] == "/poison", "it was the probe")
            calls = await house.hold("/a", "/b", headers=("Sidegate-Priority: low",))
            upstream.heal()
            for call in calls:
                assert (await soon(call)).status == 200
            got = await urgent.answer()
            assert (got.status, got.body, got.attempts) == (500, b"mine", 4)

    run(trace())


def test_a_deadline_ends_a_hold_with_503_outage_or_the_upstreams_own_answer() -> None:
    """One was never tried, one was: what the upstream said is more than we could."""

    async def trace() -> None:
        upstream = Upstream(silence())
        over = {**FIXED_4, "timeouts": {"response_head": "20ms"}}
        async with Outage(upstream.origin, **over) as house:
            await house.break_down()
            house.gate.spacing_s = 0.3
            probe = asyncio.ensure_future(house.get("/probe"))
            await until(lambda: house.limiter.inflight, "the probe is out")
            got = await house.get("/held", "Sidegate-Timeout: 100ms")
            assert (got.status, got.reason, got.attempts) == (503, "outage", 0)
            assert int(got.header("retry-after") or 0) >= 1
            assert "held for 0.1" in got.problem()["detail"]
            upstream.step = answer(503, b"own words")
            got = await house.get("/tried", "Sidegate-Timeout: 700ms")
            assert (got.status, got.body, got.reason) == (503, b"own words", None)
            assert str(house.witness.calls[-1].reason) == "outage"
            upstream.heal()
            assert (await soon(probe)).status == 200

    run(trace())


def test_a_hold_ends_after_max_hold_counted_from_when_the_caller_came() -> None:
    """Neither the queue's own bound ends it before, nor does being the probe in between begin it anew."""

    async def trace() -> None:
        over = {**FIXED_4, "outage": {"max_hold": "400ms"}, "queue": {"max_wait": "100ms"}}
        origin = Origin()
        await origin.open()
        origin.hang_up()
        async with Outage(origin, **over) as house:
            await house.break_down()
            loop = asyncio.get_running_loop()
            began = loop.time()
            answers = await soon(asyncio.gather(*(house.get(page) for page in PAGES[:4])))
            assert 0.35 < loop.time() - began < 0.8
            assert [got.reason for got in answers] == ["outage"] * 4
            assert len(house.probes()) >= 2
            assert {str(call.reason) for call in house.witness.calls[-4:]} == {"outage"}

    run(trace())


def test_mode_fail_answers_at_once_but_for_the_probe() -> None:
    async def trace() -> None:
        upstream = Upstream()
        over = {**FIXED_4, "outage": {"mode": "fail"}, "retry": {"backoff": {"base": "1ms", "max": "1ms"}}}
        async with Outage(upstream.origin, **over) as house:
            answers = await soon(asyncio.gather(*(house.get(page) for page in PAGES)))
            assert house.gate.is_closed
            assert {(got.status, got.reason) for got in answers} <= {(500, None), (503, "outage")}
            seen = len(upstream.origin.asked)
            got = await house.get("/at-once")
            assert (got.status, got.reason, got.attempts) == (503, "outage", 0)
            assert len(upstream.origin.asked) == seen
            assert house.witness.calls[-1].outage_s == 0
            await asyncio.sleep(0.3)
            got = await house.get("/probe")
            assert (got.status, got.body) == (500, b"broken")
            assert [one.kind for one in house.witness.attempts][-1] == "probe"
            upstream.heal()
            await asyncio.sleep(0.4)
            assert (await house.get("/probe")).status == 200
            assert (await house.get("/after")).status == 200

    run(trace())


def test_a_call_that_may_be_sent_once_is_the_probe_only_when_it_waits_alone() -> None:
    async def trace() -> None:
        upstream = Upstream()
        async with Outage(upstream.origin, **FIXED_4) as house:
            await house.break_down()
            house.gate.spacing_s = 0.1
            seen = len(upstream.origin.asked)
            post = asyncio.ensure_future(house.post("/orders", b"one"))
            await until(lambda: house.limiter.waiting == 1, "it is held")
            page = await house.app()
            await page.ask("/page")
            await until(lambda: len(house.probes()) >= 2, "probes are sent")
            assert set(upstream.origin.targets[seen:]) == {"/page"}
            page.close()
            got = await soon(post)
            assert (got.status, got.body, got.attempts) == (500, b"broken", 1)
            assert upstream.origin.targets[seen:].count("/orders") == 1

    run(trace())


@pytest.mark.parametrize("mode", ["hold", "fail"])
def test_where_nobody_may_wait_somebody_probes_all_the_same(mode: str) -> None:
    """With ``max_waiting: 0`` everybody was turned away once the gate had closed, and nothing ever opened it again."""

    async def trace() -> None:
        upstream = Upstream()
        over = {**FIXED_4, "queue": {"max_waiting": 0}, "outage": {"mode": mode}, "retry": {"attempts": 1}}
        async with Outage(upstream.origin, **over) as house:
            for _ in range(6):
                assert (await house.get()).status == 500
            got = await house.get()
            assert (got.status, got.reason) == (503, "queue_full" if mode == "hold" else "outage")
            await asyncio.sleep(3 * SPACING_S)
            assert (await house.get("/probe")).body == b"broken"
            upstream.heal()
            await asyncio.sleep(3 * SPACING_S)
            assert (await house.get("/probe")).status == 200
            assert (await house.get()).status == 200

    run(trace())


def test_a_call_that_asks_for_one_attempt_is_sent_once() -> None:
    """It was sent for every probe as long as the outage went on, and the answer said 0 attempts."""

    async def trace() -> None:
        upstream = Upstream()
        async with Outage(upstream.origin, **FIXED_4) as house:
            await house.break_down()
            got = await house.get("/once", "Sidegate-Attempts: 1")
            assert (got.status, got.body, got.attempts) == (500, b"broken", 1)
            assert upstream.origin.targets.count("/once") == 1

    run(trace())


def test_a_probe_whose_answer_streams_opens_the_gate_with_its_head() -> None:
    """A download of minutes, or an app that reads slowly, kept everybody else waiting."""

    async def trace() -> None:
        upstream = Upstream()
        async with Outage(upstream.origin, **FIXED_4, body={"verify_up_to": 100}) as house:
            await house.break_down()
            go_on = asyncio.Event()

            async def slowly(line: Line, _: Asked) -> None:
                await line.send(answer(200, b"x" * 1000)[:-500])
                await go_on.wait()
                await line.send(b"x" * 500)

            upstream.by_target["/large"] = slowly
            large = await house.app()
            await large.ask("/large")
            await until(lambda: "/large" in upstream.origin.targets, "it is the probe")
            upstream.heal()
            held = asyncio.ensure_future(house.get("/held"))
            assert (await soon(held)).status == 200
            assert house.limiter.inflight == 1
            go_on.set()
            assert (await large.answer()).is_whole

    run(trace())


def test_an_accepted_call_comes_back_to_a_full_queue() -> None:
    async def trace() -> None:
        upstream = Upstream()
        over = {**FIXED_4, "queue": {"max_waiting": 3}}
        async with Outage(upstream.origin, **over) as house:
            await house.break_down()
            calls = await house.hold("/0", "/1", "/2")
            await until(lambda: house.limiter.inflight or house.gate.probes >= 2, "one of them was the probe")
            more = []
            while len(more) < 12:
                got = asyncio.ensure_future(house.get("/more"))
                more.append(got)
                await asyncio.sleep(0.02)
            upstream.heal()
            for call in calls:
                assert (await soon(call)).status == 200
            answers = [await soon(one) for one in more]
            assert {(one.status, one.reason) for one in answers} <= {(200, None), (503, "queue_full")}
            assert any(one.reason == "queue_full" for one in answers)

    run(trace())


@pytest.mark.parametrize("leave", [App.close, App.reset], ids=["close", "reset"])
def test_leaving_while_held_and_as_the_probe(leave: Any) -> None:
    """The next probe is another's, and comes."""

    async def trace() -> None:
        upstream = Upstream(answer(500))
        async with Outage(upstream.origin, **FIXED_4) as house:
            await house.break_down()
            upstream.step = silence()
            probe, held, stayer = [await house.app() for _ in range(3)]
            await probe.ask("/probe")
            await until(lambda: upstream.origin.targets[-1] == "/probe", "it is the probe")
            await held.ask("/held")
            await stayer.ask("/stayer")
            await until(lambda: house.limiter.waiting == 2, "two are held")
            leave(held)
            await until(lambda: house.limiter.waiting == 1, "one has left")
            upstream.heal()
            leave(probe)
            assert (await stayer.answer()).status == 200
            assert upstream.origin.targets[-2:] == ["/probe", "/stayer"]
            assert not house.gate.is_closed

    run(trace())


def test_poison_is_given_up_with_the_upstreams_own_answer_and_the_operator_finds_it() -> None:
    """It fails ten times while others pass: the gate stays open, and limit and gate hear of two failures only."""

    async def trace() -> None:
        upstream = Upstream()
        upstream.heal()

        async def broken(line: Line, _: Asked) -> None:
            await asyncio.sleep(0.05)  # a few others pass meanwhile
            await line.send(answer(500, b"page 7 is broken"))

        upstream.by_target["/page/7?api_key=s3cret&x=1"] = broken
        async with Outage(upstream.origin, **FIXED_4) as house:
            limit = CountingLimit(4)
            house.limiter.reconfigure(limit=limit, bucket=None, max_waiting=1024)
            done = asyncio.Event()

            async def others() -> None:
                app = await house.app()
                while not done.is_set():
                    assert (await app.get("/fine")).status == 200

            busy = [asyncio.ensure_future(others()) for _ in range(3)]
            await until(lambda: limit.ends.count(Verdict.SUCCESS) > 5, "others pass")
            for _ in range(2):
                got = await house.get("/page/7?api_key=s3cret&x=1")
                assert (got.status, got.body, got.attempts) == (500, b"page 7 is broken", 10)
            done.set()
            await soon(asyncio.gather(*busy))
            assert not house.gate.is_closed
            assert limit.ends.count(Verdict.DROPPED) == 4, "the first two of each call"
            (row,) = (await house.admin("/decisions"))["poison"]
            assert row["target"] == "/page/7?api_key=REDACTED&x=1"
            assert (row["method"], row["count"], row["attempts"]) == ("GET", 2, 20)
            assert (row["last_status"], row["last_reason"]) == (500, "upstream_status")
            assert row["first_seen"] < row["last_seen"]

    run(trace())


def test_a_page_that_fails_when_everything_does_is_not_called_poison() -> None:
    async def trace() -> None:
        async with Outage(Origin(then=answer(500)), **FIXED_4, retry={"attempts": 3}) as house:
            assert (await house.get("/page")).attempts == 3
            assert (await house.admin("/decisions"))["poison"] == []

    run(trace())


def test_decisions_are_told_in_words() -> None:
    async def trace() -> None:
        upstream = Upstream()
        routes = [
            {"name": "own", "match": {"path_prefix": "/own"}, "limits": {"concurrency": {"mode": "off"}}}
        ]
        async with Outage(upstream.origin, **FIXED_4, routes=routes) as house:
            (call,) = await house.hold("/page")
            await until(lambda: house.gate.probes, "a probe is sent")
            found = (await house.admin("/decisions"))["limits"]
            assert set(found) == {"default", "own"}
            assert (found["default"]["mode"], found["default"]["limit"]) == ("fixed", 4)
            assert (found["own"]["mode"], found["own"]["limit"], found["own"]["decisions"]) == (
                "off",
                None,
                [],
            )
            assert found["own"]["outage"] == {"closed": False, "since_s": None, "probes": 0}
            outage = found["default"]["outage"]
            assert outage["closed"]
            assert outage["probes"] >= 1
            assert 0 < outage["since_s"] < 5
            assert (await house.admin("/limits"))["default"]["outage"] is True
            upstream.heal()
            assert (await soon(call)).status == 200
            newest, oldest = (await house.admin("/decisions"))["limits"]["default"]["decisions"]
            where = f"127.0.0.1:{upstream.origin.port}"
            assert oldest["what"] == f"closed: 6 failures in a row, the last: upstream_status 500 at {where}"
            assert newest["what"].startswith("open again after ")
            assert newest["at"] > oldest["at"]
            assert newest["at"].endswith("Z")
            assert newest["age_s"] < oldest["age_s"]

    run(trace())


def test_what_the_fleet_decided_is_shown() -> None:
    """A pod that is alone is a fleet of one."""

    async def trace() -> None:
        async with House(Origin(), limits={"concurrency": {"mode": "adaptive"}}) as house:
            assert (await house.get()).status == 200
            found = (await house.admin("/decisions"))["limits"]["default"]
            assert found["mode"] == "adaptive"
            fleet = await house.admin("/fleet")
            assert (fleet["is_pilot"], fleet["is_cut_off"], fleet["pods"]) == (True, False, 1)
            slots = fleet["limiters"]["default"]["slots"]
            assert fleet["limiters"]["default"]["shares"][fleet["pod"]]["slots"] == slots >= 1
            metrics = await house.metrics()
            for line in (
                "outage 0.0",
                "fleet_pods 1.0",
                "fleet_pilot 1.0",
                "fleet_cut_off 0.0",
                f"fleet_slots {slots}.0",
            ):
                assert f"sidegate_{line}\n" in metrics

    run(trace())


def test_a_call_that_is_held_survives_a_change_of_limits() -> None:
    """The operator changes the limit, then its kind, in the middle of an outage: the gate stays as it is."""

    async def trace() -> None:
        upstream = Upstream()
        async with Outage(upstream.origin, **FIXED_4) as house:
            calls = await house.hold(*PAGES)
            for concurrency in (
                {"limit": 2},
                {"mode": "adaptive", "limit": None},
                {"mode": "fixed", "limit": 3},
            ):
                assert house.sidecar.operations.change_limits({"concurrency": concurrency}) == []
                assert house.gate.is_closed
                await asyncio.sleep(0.1)
                assert house.limiter.inflight <= 1
            upstream.heal()
            for call in calls:
                assert (await soon(call)).status == 200
            assert upstream.most <= 3

    run(trace())
