"""SIGTERM: the app is served until it is done; then the sidecar ends, with 0."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Origin, answer, reset, when
from tests.fakes.process import Process

pytestmark = pytest.mark.slow


def config(path: Path, origin: Origin, drain: str = "{grace: 8s, quiet: 150ms}") -> Path:
    file = path / "sidegate.yaml"
    file.write_text(
        f"upstream: {{url: '{origin.url}'}}\nlisten: 127.0.0.1:0\nops: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndrain: {drain}\n"
        "limits: {concurrency: {mode: fixed, limit: 8}}\n"
    )
    return file


def test_a_call_under_way_is_served_and_new_ones_are_welcome(tmp_path: Path) -> None:
    """The app's last calls come after SIGTERM: refusing them is what sidecars are known for (pitfall 35)."""

    async def trace() -> None:
        release = asyncio.Event()
        origin = Origin(when(release, answer(200, b"late")), then=answer(200, b"new"))
        await origin.open()
        async with Process(config(tmp_path, origin)) as sidecar:
            early = await sidecar.app()
            await early.ask("/early")
            await until(lambda: origin.asked, "the call is under way")
            sidecar.signal(signal.SIGTERM)
            await sidecar.logged("draining")
            got = await sidecar.get("/new")
            assert (got.status, got.body, got.header("connection")) == (200, b"new", "close")
            release.set()
            got = await early.answer()
            assert (got.status, got.body, got.header("connection")) == (200, b"late", "close")
            assert await sidecar.ends() == 0
        await origin.close()

    run(trace())


def test_an_idle_sidecar_ends_soon(tmp_path: Path) -> None:
    async def trace() -> None:
        async with Origin() as origin, Process(config(tmp_path, origin)) as sidecar:
            app = await sidecar.app()
            assert (await app.get()).status == 200
            started = asyncio.get_running_loop().time()
            sidecar.signal(signal.SIGTERM)
            assert await sidecar.ends() == 0
            assert asyncio.get_running_loop().time() - started < 3
            assert await app.rest() == b""

    run(trace())


def test_a_second_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    async def trace() -> None:
        never = asyncio.Event()
        async with Origin(when(never, answer(200))) as origin:
            async with Process(config(tmp_path, origin, "{grace: 60s, quiet: 30s}")) as sidecar:
                app = await sidecar.app()
                await app.ask()
                await until(lambda: origin.asked, "a call is under way")
                sidecar.signal(signal.SIGTERM)
                await sidecar.logged("draining")
                sidecar.signal(signal.SIGTERM)
                assert await sidecar.ends() == 0
                await soon(app.rest())
            never.set()

    run(trace())


def test_the_grace_is_an_end(tmp_path: Path) -> None:
    async def trace() -> None:
        never = asyncio.Event()
        async with Origin(when(never, answer(200))) as origin:
            async with Process(config(tmp_path, origin, "{grace: 300ms, quiet: 10s}")) as sidecar:
                app = await sidecar.app()
                await app.ask()
                await until(lambda: origin.asked, "a call is under way")
                sidecar.signal(signal.SIGTERM)
                assert await sidecar.ends() == 0
            never.set()

    run(trace())


def test_calls_that_are_held_at_the_end_are_told_so(tmp_path: Path) -> None:
    """Their connections were reset without a word."""
    quick = {"SIDEGATE_RETRY__BACKOFF__BASE": "1ms", "SIDEGATE_RETRY__BACKOFF__MAX": "1ms"}

    async def trace() -> None:
        origin = Origin(then=answer(500))
        await origin.open()
        async with Process(config(tmp_path, origin, "{grace: 300ms, quiet: 10s}"), **quick) as sidecar:
            tried, held = await sidecar.app(), await sidecar.app()
            await tried.ask("/tried")
            await until(lambda: len(origin.asked) >= 7, "the gate is closed, a probe was sent")
            await held.ask("/held", headers=["Sidegate-Attempts: 1"])
            await asyncio.sleep(0.1)
            sidecar.signal(signal.SIGTERM)
            got = await held.answer()
            assert (got.status, got.reason, got.header("connection")) == (503, "draining", "close")
            assert await held.rest() == b""
            assert (await tried.answer()).status == 500, "the upstream's own answer, where there is one"
            assert await sidecar.ends() == 0
        await origin.close()

    run(trace())


@pytest.mark.parametrize("waits_for", ["backoff", "budget"])
def test_calls_between_two_tries_at_the_end_are_answered(tmp_path: Path, waits_for: str) -> None:
    """Their connections were reset without a word: with the upstream's own answer at hand, or after none."""
    slow = {"SIDEGATE_RETRY__BACKOFF__BASE": "20s", "SIDEGATE_RETRY__BACKOFF__MAX": "20s"}
    if waits_for == "budget":
        slow = {
            "SIDEGATE_RETRY__BUDGET__RATIO": "0",
            "SIDEGATE_RETRY__BUDGET__FLOOR_PER_S": "0.001",
            "SIDEGATE_LIMITS__CONCURRENCY__MODE": "off",
        }

    async def trace() -> None:
        close = ["Connection: close"]
        steps = answer(500, b"first", close), reset()
        async with (
            Origin(*steps, then=answer(500, b"mine", close)) as origin,
            Process(config(tmp_path, origin, "{grace: 600ms, quiet: 10s}"), **slow) as sidecar,
        ):
            spender, cut, told = [await sidecar.app() for _ in range(3)]
            for number, app in enumerate((spender, cut, told)):
                await app.ask()
                await until(lambda n=number: len(origin.asked) > n, "it was tried")
            await asyncio.sleep(0.3)
            tries = len(origin.asked)
            sidecar.signal(signal.SIGTERM)
            got = await told.answer()
            assert (got.status, got.body, got.header("connection")) == (500, b"mine", "close")
            got = await cut.answer()
            assert (got.status, got.reason, got.header("connection")) == (503, "draining", "close")
            assert await cut.rest() == b""
            assert (await spender.answer()).status == 500
            assert await sidecar.ends() == 0
            assert len(origin.asked) == tries, "none was tried again"

    run(trace())


def test_readiness_ends_with_draining_and_liveness_does_not(tmp_path: Path) -> None:
    async def trace() -> None:
        async with Origin() as origin, Process(config(tmp_path, origin, "{grace: 5s, quiet: 1s}")) as sidecar:
            for probe in ("/livez", "/readyz", "/startupz"):
                assert (await sidecar.get(probe, "ops")).status == 200
            sidecar.signal(signal.SIGTERM)
            await sidecar.logged("draining")
            assert (await sidecar.get("/livez", "ops")).status == 200
            assert (await sidecar.get("/readyz", "ops")).status == 503
            assert await sidecar.ends() == 0

    run(trace())
