"""A call is tried again where that is right, and the app sees the upstream's own word where it is not."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest

from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Origin, answer, chunked, cut, reset, silence, when

IDEMPOTENT = "Idempotency-Key: k1"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_failure_is_tried_again_and_the_app_sees_the_answer(status: int) -> None:
    async def trace() -> None:
        async with House(Origin(answer(status), answer(200, b"page"))) as house:
            got = await house.get("/page/1")
            assert (got.status, got.body, got.attempts) == (200, b"page", 2)
            assert house.origin.targets == ["/page/1", "/page/1"]

    run(trace())


@pytest.mark.parametrize("status", [400, 404, 501, 507])
def test_a_status_that_retry_on_does_not_name_is_the_answer(status: int) -> None:
    async def trace() -> None:
        async with House(Origin(answer(status, b"no"))) as house:
            got = await house.get()
            assert (got.status, got.body, got.attempts, got.reason) == (status, b"no", 1, None)

    run(trace())


def test_when_attempts_are_used_up_the_last_answer_is_passed_on_byte_for_byte() -> None:
    """Phrase, header spelling, order, duplicates and odd bytes included."""
    last = (
        b"HTTP/1.1 503 Out  of\tOrder\r\nX-lower: a\r\nX-UPPER:b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"X-Odd:  \xe9 ; \t,\r\nServer: old one\r\nContent-Length: 5\r\n\r\n\x00\xff\r\n!"
    )

    async def trace() -> None:
        async with House(Origin(answer(500), answer(502), last), retry={"attempts": 3}) as house:
            got = await house.get()
            assert (got.status, got.attempts, got.reason) == (503, 3, None)
            head, _, body = last.partition(b"\r\n\r\n")
            ours = [line for line in got.lines if not line.startswith((b"Date:", b"Via:", b"Sidegate-"))]
            assert [got.start, *ours] == head.split(b"\r\n")
            assert got.body == body

    run(trace())


def test_the_last_answer_survives_a_later_attempt_that_gave_none() -> None:
    """500, then a reset, and nothing left: the 500 is more than we could say ourselves."""

    async def trace() -> None:
        async with House(Origin(answer(500, b"mine"), reset(b"HTTP/1.1 2")), retry={"attempts": 2}) as house:
            got = await house.get()
            assert (got.status, got.body, got.attempts) == (500, b"mine", 2)

    run(trace())


def test_a_post_is_sent_once() -> None:
    async def trace() -> None:
        async with House(Origin(answer(500, b"broke"))) as house:
            got = await house.post("/orders", b"one")
            assert (got.status, got.body, got.attempts) == (500, b"broke", 1)
            assert len(house.origin.asked) == 1

    run(trace())


def test_a_post_with_an_idempotency_key_is_tried_again_with_its_body() -> None:
    async def trace() -> None:
        async with House(Origin(answer(500), reset(b"HTTP/1.1 2"), answer(201, b"made"))) as house:
            got = await house.post("/orders", b"one", IDEMPOTENT)
            assert (got.status, got.attempts) == (201, 3)
            assert [asked.body for asked in house.origin.asked] == [b"one"] * 3
            assert house.origin.asked[0].raw == house.origin.asked[2].raw
            assert house.origin.asked[0].header("idempotency-key") == "k1"

    run(trace())


def test_a_post_whose_connection_could_not_be_made_is_tried_again() -> None:
    """Nothing was sent, so nothing can happen twice."""

    async def trace() -> None:
        origin = Origin(answer(200, b"fine"))
        async with House(origin, retry={"backoff": {"base": "50ms", "max": "50ms"}}) as house:
            origin.hang_up()
            call = asyncio.ensure_future(house.post("/orders", b"one"))
            await until(lambda: house.witness.retries, "a retry")
            await origin.open()
            got = await call
            assert got.status == 200
            assert got.attempts > 1

    run(trace())


def test_a_streaming_body_waits_for_a_connection_that_can_be_made() -> None:
    """Nothing of it was sent, so all of it can still be."""
    large = bytes(range(256)) * 200

    async def trace() -> None:
        origin = Origin(answer(200, b"fine"))
        over = {"retry": {"backoff": {"base": "50ms", "max": "50ms"}}, "body": {"replay_up_to": 1000}}
        async with House(origin, **over) as house:
            origin.hang_up()
            call = asyncio.ensure_future(house.post("/orders", large))
            await until(lambda: house.witness.retries, "a retry")
            await origin.open()
            assert (await call).status == 200
            assert origin.asked[0].body == large

    run(trace())


def test_a_body_up_to_the_cap_is_kept_and_one_above_streams() -> None:
    """Above the cap the body is sent once: no retry, whatever the key says."""

    async def trace() -> None:
        small, large = b"s" * 4096, b"L" * 4097
        async with House(
            Origin(answer(500), answer(200), answer(500, b"once")), body={"replay_up_to": 4096}
        ) as house:
            got = await house.post("/", small, IDEMPOTENT)
            assert (got.status, got.attempts) == (200, 2)
            got = await house.post("/", large, IDEMPOTENT)
            assert (got.status, got.body, got.attempts) == (500, b"once", 1)
            assert [asked.body for asked in house.origin.asked] == [small, small, large]

    run(trace())


def test_a_chunked_body_up_to_the_cap_gets_a_length_and_one_above_stays_chunked() -> None:
    async def trace() -> None:
        async with House(Origin(), body={"replay_up_to": 8}) as house:
            app = await house.app()
            for body in (b"6\r\n" + b"123456\r\n0\r\n\r\n", b"6\r\n123456\r\n6\r\nabcdef\r\n0\r\n\r\n"):
                await app.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
                assert (await app.answer()).status == 200
            short, long = house.origin.asked
            assert (short.header("content-length"), short.header("transfer-encoding")) == ("6", None)
            assert (long.header("content-length"), long.header("transfer-encoding")) == (None, "chunked")
            assert [short.body, long.body] == [b"123456", b"123456abcdef"]

    run(trace())


@pytest.mark.parametrize(
    "broken",
    [
        cut(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        reset(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        cut(chunked(b"half", last=b"")),
        cut(chunked(b"half", last=b"0\r\n")),
        cut(b"HTTP/1.1 200 OK\r\nContent-"),
        cut(b""),
        reset(),
    ],
    ids=["length cut", "length reset", "chunks cut", "last chunk cut", "head cut", "closed", "reset"],
)
def test_a_broken_answer_is_tried_again_and_never_seen(broken: object) -> None:
    async def trace() -> None:
        async with House(Origin(broken, answer(200, b"whole"))) as house:  # type: ignore[arg-type]
            got = await house.get()
            assert (got.status, got.body, got.attempts, got.is_whole) == (200, b"whole", 2, True)

    run(trace())


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (cut(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), "truncated"),
        (cut(chunked(b"half", last=b"")), "truncated"),
        (reset(), "reset"),
        (cut(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), "bad_response"),
        (cut(b"SSH-2.0-OpenSSH\r\n"), "bad_response"),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "bad_response"),
    ],
)
def test_an_upstream_that_only_breaks_is_502_with_the_reason(broken: object, reason: str) -> None:
    async def trace() -> None:
        async with House(Origin(then=broken), retry={"attempts": 3}) as house:  # type: ignore[arg-type]
            got = await house.get()
            tries = 2 if reason == "bad_response" else 3  # nonsense the second time is the server's habit
            assert (got.status, got.reason, got.attempts) == (502, reason, tries)
            assert got.problem()["reason"] == reason

    run(trace())


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_above_the_cap_a_cut_is_a_cut(framing: str) -> None:
    """What was passed on already cannot be taken back; the app must be able to tell that it is not whole."""
    part = b"x" * 5000
    broken = (
        cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + part)
        if framing == "length"
        else cut(chunked(part, last=b""))
    )

    async def trace() -> None:
        async with House(Origin(broken), body={"verify_up_to": 1000}) as house:
            got = await house.get()
            assert (got.status, got.is_whole, got.attempts) == (200, False, 1)
            assert part.startswith(got.body)
            assert len(house.origin.asked) == 1

    run(trace())


def test_a_large_answer_arrives_whole_in_either_framing() -> None:
    data = bytes(range(256)) * 2000

    async def trace() -> None:
        steps = (answer(200, data), chunked(data[:1000], data[1000:]), cut(b"HTTP/1.1 200 OK\r\n\r\n" + data))
        async with House(Origin(*steps), body={"verify_up_to": 1000}) as house:
            app = await house.app()
            for _ in steps:
                got = await app.get()
                assert (got.body == data, got.is_whole) == (True, True)

    run(trace())


def test_a_stale_connection_is_replaced_once_and_not_counted() -> None:
    """The upstream closed a kept connection as the request was on its way: nobody's failure."""

    async def trace() -> None:
        origin = Origin(answer(200, b"first"), reset(), answer(200, b"second"))
        async with House(origin, retry={"attempts": 1}) as house:
            app = await house.app()
            assert (await app.get("/1")).body == b"first"
            got = await app.get("/2")
            assert (got.status, got.body, got.attempts) == (200, b"second", 1)
            assert origin.targets == ["/1", "/2", "/2"]
            assert [asked.line.number for asked in origin.asked] == [0, 0, 1]

    run(trace())


def test_a_connection_closed_while_idle_is_never_used() -> None:
    async def trace() -> None:
        origin = Origin()
        async with House(origin) as house:
            app = await house.app()
            for number in range(5):
                assert (await app.get(f"/{number}")).attempts == 1
                origin.lines[-1].close()
                await asyncio.sleep(0.01)
            assert len(origin.asked) == 5

    run(trace())


def test_a_stale_post_is_not_sent_again() -> None:
    """It may have been acted upon."""

    async def trace() -> None:
        origin = Origin(answer(200), reset())
        async with House(origin) as house:
            app = await house.app()
            await app.get("/warm")
            got = await app.post("/orders", b"one")
            assert (got.status, got.reason, got.attempts) == (502, "stale_connection", 1)
            assert len(origin.asked) == 2

    run(trace())


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_a_gate_for_every_caller(form: str) -> None:
    """One answer that asks for patience silences all of this sidecar's calls, not only the one that got it."""

    async def trace() -> None:
        start = time.time()
        asked_for = "1" if form == "seconds" else formatdate(int(start) + 2, usegmt=True)
        opens_at = start + 1 if form == "seconds" else float(int(start) + 2)
        origin = Origin(answer(503, b"", [f"Retry-After: {asked_for}"]))
        async with House(origin) as house:
            first = asyncio.ensure_future(house.get("/first"))
            await until(lambda: house.limiter.gate_until, "the gate is closed")
            assert origin.targets == ["/first"]
            others = [asyncio.ensure_future(house.get(f"/{n}")) for n in range(5)]
            await until(lambda: len(origin.asked) > 1, "somebody goes on")
            assert time.time() >= opens_at - 0.01
            assert {(await call).status for call in [first, *others]} == {200}
            assert len(origin.asked) == 7

    run(trace())


def test_when_json_names_a_200_that_failed() -> None:
    """Only the listed fields and values, only JSON, plain or gzipped; the last one is passed on as it came."""
    bad = answer(200, b'{"code": 503, "data": null}', ["Content-Type: application/json; charset=utf-8"])
    good = answer(200, b'{"code": 0}', ["Content-Type: application/json"])

    async def trace() -> None:
        async with House(
            Origin(bad, good, bad, bad), retry={"when_json": {"code": [500, 503]}, "attempts": 2}
        ) as house:
            got = await house.get()
            assert (got.body, got.attempts) == (b'{"code": 0}', 2)
            got = await house.get()
            assert (got.status, got.body, got.attempts, got.reason) == (
                200,
                b'{"code": 503, "data": null}',
                2,
                None,
            )

    run(trace())


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b'{"code": 5e999}', b'{"code": NaN}', b"\xff\xfe{", b"[" * 100_000, b'{"code": ' * 50_000, b"[503]", b'"503"',
        b'{"code": "503x"}', b'{"code": true}', b'{"code": [503]}', b'{"code": ' + b"9" * 10_000 + b"}", b"\x1f\x8bnot gzip",
        b'{"code": "\\ud800"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("coding", [[], ["Content-Encoding: gzip"], ["Content-Encoding: br"]])
def test_malformed_json_is_passed_on_and_never_crashes(body: bytes, coding: list[str]) -> None:
    async def trace() -> None:
        said = answer(200, body, ["Content-Type: application/json", *coding])
        async with House(Origin(said), retry={"when_json": {"code": [500, 503]}}) as house:
            got = await house.get()
            assert (got.status, got.body, got.attempts) == (200, body, 1)

    run(trace())


def test_an_upstream_that_does_not_answer_is_504() -> None:
    async def trace() -> None:
        over = {"timeouts": {"response_head": "50ms"}, "retry": {"attempts": 2}}
        async with House(Origin(then=silence()), **over) as house:
            got = await house.get()
            assert (got.status, got.reason, got.attempts) == (504, "head_timeout", 2)

    run(trace())


def test_an_upstream_that_stalls_inside_a_body_is_504() -> None:
    async def stall(line: object, _: object) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")  # type: ignore[attr-defined]
        await line.until_gone()  # type: ignore[attr-defined]

    async def trace() -> None:
        over = {"timeouts": {"body_idle": "50ms"}, "retry": {"attempts": 1}}
        async with House(Origin(then=stall), **over) as house:
            got = await house.get()
            assert (got.status, got.reason) == (504, "body_timeout")

    run(trace())


def test_a_call_that_runs_out_of_time_is_504() -> None:
    async def trace() -> None:
        async with House(Origin(then=silence()), timeouts={"total": "60ms"}) as house:
            got = await house.get()
            assert (got.status, got.reason) == (504, "deadline")

    run(trace())


def test_a_deadline_in_backoff_shows_the_upstreams_last_answer() -> None:
    async def trace() -> None:
        over = {"timeouts": {"total": "100ms"}, "retry": {"backoff": {"base": "10s", "max": "10s"}}}
        async with House(Origin(answer(500, b"its word")), **over) as house:
            got = await house.get()
            assert (got.status, got.body, got.attempts) == (500, b"its word", 1)

    run(trace())


def test_a_slot_is_not_held_while_backing_off() -> None:
    async def trace() -> None:
        held = asyncio.Event()
        origin = Origin(answer(500), when(held, answer(200, b"other")))
        over = {
            "limits": {"concurrency": {"mode": "fixed", "limit": 1}},
            "retry": {"backoff": {"base": "300ms", "max": "300ms"}},
        }
        async with House(origin, **over) as house:
            first = asyncio.ensure_future(house.get("/first"))
            await until(lambda: house.witness.retries, "the first call backs off")
            second = asyncio.ensure_future(house.get("/second"))
            await until(lambda: len(origin.asked) == 2, "the second call has the slot")
            assert origin.targets == ["/first", "/second"]
            held.set()
            assert (await soon(second)).body == b"other"
            assert (await soon(first)).status == 200

    run(trace())


@pytest.mark.parametrize("mode", ["fixed", "off"])
def test_an_empty_budget_holds_retries_up_only_where_nothing_else_bounds_them(mode: str) -> None:
    """Every other attempt fails and one retry in ten seconds is in the budget: at most 100 ms each behind a limit."""
    concurrency = {"mode": mode, "limit": 2 if mode == "fixed" else None}

    async def trace() -> None:
        over = {
            "limits": {"concurrency": concurrency},
            "retry": {
                "budget": {"ratio": 0, "floor_per_s": 0.1, "window": "1s"},
                "backoff": {"base": "1ms", "max": "1ms"},
            },
        }
        async with House(Origin(*[answer(500), answer(200)] * 20), **over) as house:
            started = time.monotonic()
            app = await house.app()
            for _ in range(6):
                assert (await app.get()).attempts == 2
            took_s = time.monotonic() - started
            assert took_s < 4.5 if mode == "fixed" else took_s > 4.5  # the exact wait: test_judging

    run(trace())
