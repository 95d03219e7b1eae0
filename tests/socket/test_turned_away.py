"""A connection too many is told so, counted, and logged once a stretch; the others are served."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from proxy.base.descriptors import raise_limit
from tests.fakes.house import House
from tests.fakes.loop import run, soon, until
from tests.fakes.origin import Origin
from tests.fakes.process import Process


def test_one_connection_too_many_is_answered_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def trace() -> None:
        async with House(Origin(), downstream={"max_connections": 3}) as house:
            kept = [await house.app() for _ in range(3)]
            await until(lambda: len(house.sidecar.listener.connections) == 3, "three are open")
            for _ in range(2):
                late = await house.app()
                got = await late.get()
                assert (got.status, got.reason) == (503, "queue_full")
                assert "downstream.max_connections" in json.loads(got.body)["detail"]
                assert got.header("retry-after") == "1"
                assert await soon(late.reader.read()) == b""
            assert [(await app.get()).status for app in kept] == [200] * 3
            assert "sidegate_downstream_refused_total 2.0" in (await house.metrics()).splitlines()
            kept.pop().close()
            await until(lambda: len(house.sidecar.listener.connections) == 2, "one has left")
            assert (await house.get()).status == 200

    with caplog.at_level(logging.WARNING, "sidegate.accept"):
        run(trace())
    assert [record.getMessage() for record in caplog.records if record.name == "sidegate.accept"] == [
        "connections of the app are refused: 3 connections are open, and downstream.max_connections allows no more"
    ]


def test_whoever_is_turned_away_and_says_nothing_is_let_go_of() -> None:
    async def trace() -> None:
        async with House(Origin(), downstream={"max_connections": 1}) as house:
            await house.app()
            silent = [await house.app() for _ in range(5)]
            for app in silent:
                assert (await app.answer()).status == 503
                await soon(app.reader.read())
            assert not [each for each in house.sidecar.listener.connections if each.is_busy]

    run(trace())


def text(origin: Origin) -> str:
    return f"upstream: {{url: '{origin.url}'}}\nlisten: 127.0.0.1:0\nops: 127.0.0.1:0\nadmin: 127.0.0.1:0\n"


@pytest.mark.slow
def test_the_soft_limit_of_descriptors_is_raised(tmp_path: Path) -> None:
    """The shell's 64 stand for the 1,024 of most machines."""

    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        async with Origin() as origin:
            file.write_text(text(origin))
            async with Process(file, files=(64, 1024)) as sidecar:
                apps = [await sidecar.app() for _ in range(80)]
                assert [(await app.get()).status for app in apps] == [200] * 80
                assert await sidecar.metric("process_max_fds") == 1024

    run(trace())


@pytest.mark.slow
def test_few_descriptors_bound_the_apps_connections_and_leave_room_for_the_rest(tmp_path: Path) -> None:
    async def trace() -> None:
        file = tmp_path / "sidegate.yaml"
        async with Origin() as origin:
            file.write_text(text(origin))
            async with Process(file, files=(64, 64)) as sidecar:
                apps = [await sidecar.app() for _ in range(24)]
                statuses = [(await app.get()).status for app in apps]
                assert set(statuses) == {200, 503}
                assert statuses.count(200) >= 16
                assert (await sidecar.get("/livez", "ops")).status == 200
                assert await sidecar.metric("sidegate_downstream_refused_total") == statuses.count(503)

    run(trace())


def test_a_limit_that_is_raised_already_stays() -> None:
    once = raise_limit()
    assert raise_limit() == once
