"""A changed configuration comes into force as a whole, or not at all; calls under way keep theirs."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.fakes.loop import run, until
from tests.fakes.origin import Origin, answer, when
from tests.fakes.process import Process

pytestmark = pytest.mark.slow


def text(origin: Origin, more: str = "") -> str:
    ports = "listen: 127.0.0.1:0\nops: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndrain: {quiet: 50ms}\n"
    return f"upstream: {{url: '{origin.url}'}}\n{ports}{more}\n"


def test_sighup_puts_a_changed_file_in_force(tmp_path: Path) -> None:
    """Also for limits, with connections and calls kept."""

    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        release = asyncio.Event()
        async with Origin(when(release, answer(500)), then=answer(500)) as origin:
            file.write_text(text(origin, "retry: {attempts: 2, backoff: {base: 1ms, max: 1ms}}"))
            async with Process(file) as sidecar:
                early = await sidecar.app()
                await early.ask("/early")
                await until(lambda: origin.asked, "a call is under way")
                file.write_text(
                    text(origin, "retry: {attempts: 4, backoff: {base: 1ms, max: 1ms}}\nlimits: {rate: 500}")
                )
                sidecar.signal(signal.SIGHUP)
                await sidecar.logged("reloaded")
                release.set()
                assert (await early.answer()).attempts == 2, "the configuration it started with"
                assert (await early.get()).attempts == 4
                assert (await sidecar.config())["limits"]["rate"] == 500
                assert await sidecar.metric("sidegate_config_reload_success") == 1
                assert await sidecar.metric("sidegate_rate_limit") == 500

    run(trace())


def test_another_pool_bounds_an_adaptive_limit_that_stays(tmp_path: Path) -> None:
    """The pod is alone, so its floor of 6 would hold if the pool let it."""

    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        limits = "limits: {concurrency: {min: 6, limit: 10}}\n"
        async with Origin() as origin:
            file.write_text(text(origin, f"{limits}pool: {{max_connections: 3}}"))
            async with Process(file) as sidecar:
                assert await sidecar.metric("sidegate_concurrency_limit") == 3
                file.write_text(text(origin, f"{limits}pool: {{max_connections: 5}}"))
                sidecar.signal(signal.SIGHUP)
                await sidecar.logged("reloaded")
                assert await sidecar.metric("sidegate_concurrency_limit") == 5

    run(trace())


def test_a_bad_file_changes_nothing_and_every_mistake_is_logged(tmp_path: Path) -> None:
    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        async with Origin() as origin:
            file.write_text(text(origin, "limits: {rate: 100}"))
            async with Process(file) as sidecar:
                file.write_text(text(origin, "limits: {rate: -1}\nretry: {attempts: 0}"))
                sidecar.signal(signal.SIGHUP)
                assert "limits.rate" in await sidecar.logged("reload refused")
                assert "retry.attempts" in await sidecar.logged("reload refused")
                assert (await sidecar.config())["limits"]["rate"] == 100
                assert await sidecar.metric("sidegate_config_reload_success") == 0
                assert (await sidecar.get()).status == 200
                file.write_text(text(origin, "limits: {rate: 200}"))
                sidecar.signal(signal.SIGHUP)
                await sidecar.logged("reloaded")
                assert await sidecar.metric("sidegate_config_reload_success") == 1

    run(trace())


def test_a_file_that_would_take_long_to_read_holds_up_no_call(tmp_path: Path) -> None:
    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        async with Origin() as origin:
            file.write_text(text(origin))
            async with Process(file) as sidecar:
                file.write_text(text(origin, f"log: {'[' * 3000}"))
                sidecar.signal(signal.SIGHUP)
                assert "deep" in await sidecar.logged("reload refused")
                file.write_text(text(origin, f"retry: {{on: [{'500, ' * 20_000}500]}}"))
                sidecar.signal(signal.SIGHUP)
                assert (await sidecar.get()).status == 200
                await sidecar.logged("reloaded")

    run(trace())


def test_the_limiter_of_a_route_that_is_gone_goes_with_its_calls(tmp_path: Path) -> None:
    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        release = asyncio.Event()
        slow = "{name: slow, match: {path_prefix: /slow}, limits: {rate: 5}}"
        routes = f"routes: [{slow}, {{name: free, match: {{path_prefix: /f}}, limits: {{}}}}]"
        async with Origin(when(release, answer(200))) as origin:
            file.write_text(text(origin, routes))
            async with Process(file) as sidecar:
                assert set(await sidecar.see("/limits")) == {"default", "slow", "free"}
                early = await sidecar.app()
                await early.ask("/slow")
                await until(lambda: origin.asked, "a call is under way")
                file.write_text(text(origin, "routes: [{name: free, match: {path_prefix: /f}}]"))
                sidecar.signal(signal.SIGHUP)
                await sidecar.logged("reloaded")
                assert set(await sidecar.see("/limits")) >= {"default", "slow"}
                assert await sidecar.metric("sidegate_inflight") == 1
                release.set()
                assert (await early.answer()).status == 200
                names: set[str] = set()
                while names != {"default"}:
                    names = set(await sidecar.see("/limits"))

    run(trace())


def test_a_configmaps_swap_is_noticed_without_a_signal(tmp_path: Path) -> None:
    """kubelet swaps the ..data symlink; the path in the command line stays."""

    async def trace() -> None:
        async with Origin() as origin:
            for name, rate in (("..one", 100), ("..two", 200)):
                (tmp_path / name).mkdir()
                (tmp_path / name / "sidegate.yaml").write_text(text(origin, f"limits: {{rate: {rate}}}"))
            (tmp_path / "..data").symlink_to("..one")
            file = tmp_path / "sidegate.yaml"
            file.symlink_to("..data/sidegate.yaml")
            async with Process(file) as sidecar:
                assert (await sidecar.config())["limits"]["rate"] == 100
                (tmp_path / "..next").symlink_to("..two")
                (tmp_path / "..next").replace(tmp_path / "..data")
                await sidecar.logged("reloaded")
                assert (await sidecar.config())["limits"]["rate"] == 200

    run(trace())


def test_what_needs_a_restart_is_said_and_the_rest_is_done(tmp_path: Path) -> None:
    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        async with Origin() as origin:
            file.write_text(text(origin))
            async with Process(file) as sidecar:
                file.write_text(text(origin, "limits: {rate: 7}").replace(origin.url, "http://127.0.0.1:1"))
                sidecar.signal(signal.SIGHUP)
                assert "upstream" in await sidecar.logged("restart is needed")
                await sidecar.logged("reloaded")
                assert (await sidecar.get()).status == 200
                config = await sidecar.config()
                assert (config["upstream"]["url"], config["limits"]["rate"]) == (origin.url, 7)

    run(trace())
