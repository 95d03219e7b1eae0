"""What a configuration says without effect is named; what nobody has said is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.config.convert import convert
from proxy.config.mismatch import PAIRS, mismatches
from proxy.config.settings import Settings
from proxy.main import warn_of_mismatches


def settings(**keys: Any) -> Settings:
    """Settings with some keys given as in a file."""
    problems: list[str] = []
    made = convert(Settings, {"upstream": {"url": "http://u.example"}, **keys}, problems)
    assert made is not None
    assert problems == []
    return made


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"timeouts": {"total": "1s"}},
        {"pool": {"max_connections": 4, "max_age": "1s"}},
        {"drain": {"grace": 0}},
        {"queue": {"max_wait": "5m"}},
        {"limits": {"concurrency": {"max": 64}}},
        {"limits": {"concurrency": {"mode": "fixed", "limit": 300}}, "pool": {"max_connections": 300}},
        {"routes": [{"timeouts": {"total": "10s"}}, {"limits": {"rate": 3}}]},
    ],
)
def test_defaults_and_what_is_reached_are_not_named(keys: dict[str, Any]) -> None:
    assert mismatches(settings(**keys)) == []


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"queue": {"max_wait": "10m"}}, "queue.max_wait: 10m is never reached, for timeouts.total is 5m"),
        (
            {"timeouts": {"total": "90s", "response_head": "1m31s"}},
            "timeouts.response_head: 91s is never reached, for timeouts.total is 90s",
        ),
        ({"drain": {"quiet": "26s"}}, "drain.quiet: 26s is never reached, for drain.grace is 25s"),
        (
            {"limits": {"concurrency": {"mode": "fixed", "limit": 65}}},
            "limits.concurrency.limit: 65 is never reached, for pool.max_connections is 64",
        ),
        (
            {"routes": [{}, {"timeouts": {"total": "20s", "body_idle": "25s"}}]},
            "routes[1].timeouts.body_idle: 25s is never reached, for timeouts.total is 20s",
        ),
        (
            {"timeouts": {"total": "8s"}, "routes": [{"retry": {"backoff": {"max": "9s"}}}]},
            "routes[0].retry.backoff.max: 9s is never reached, for timeouts.total is 8s",
        ),
    ],
)
def test_what_is_given_and_never_reached_is_named(keys: dict[str, Any], sentence: str) -> None:
    assert mismatches(settings(**keys)) == [sentence]


def test_each_pair_is_of_settings() -> None:
    for path, bound in PAIRS:
        *above, last = path.split(".")
        tree: dict[str, Any] = {last: 1_000}
        if last == "limit":
            tree["mode"] = "fixed"
        for key in reversed(above):
            tree = {key: tree}
        found = mismatches(settings(**tree))
        assert [f for f in found if f.startswith(f"{path}: ") and f" for {bound} is " in f], path


def test_the_sidecar_logs_them(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_mismatches(settings(queue={"max_wait": "10m"}))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "queue.max_wait: 10m is never reached" in caplog.text


def test_config_check_prints_them_and_ends_well(tmp_path: Path) -> None:
    file = tmp_path / "sidegate.yaml"
    file.write_text("upstream: {url: http://u.example}\nqueue: {max_wait: 10m}\n")
    command = [sys.executable, "-m", "proxy", "config", "check", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        "configuration is valid\nbut queue.max_wait: 10m is never reached, for timeouts.total is 5m\n"
    )
