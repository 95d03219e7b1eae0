"""Upkeep that fails is logged once when it begins and once when it is over."""

from __future__ import annotations

import logging

import pytest

from proxy.observe.trouble import Trouble


class Failing:
    """Fails when told to."""

    def __init__(self) -> None:
        self.failures = 0
        self.last_error = ""

    def fail(self, why: str) -> None:
        """Once more."""
        self.failures += 1
        self.last_error = why


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


def test_a_stretch_of_failures_is_one_line_and_its_end_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sidegate.upkeep")
    source = Failing()
    trouble = Trouble(source, "the known ones stay")
    trouble.look()
    assert said(caplog) == []
    source.fail("no answer")
    trouble.look()
    source.fail("no answer")
    trouble.look()
    assert said(caplog) == ["no answer; the known ones stay"]
    source.last_error = ""
    trouble.look()
    trouble.look()
    assert said(caplog) == ["that is over: it works again"]
    source.fail("again")
    trouble.look()
    assert said(caplog) == ["again; the known ones stay"]


def test_a_failure_that_is_over_before_anybody_looked_is_said_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sidegate.upkeep")
    source = Failing()
    trouble = Trouble(source, "the known ones stay")
    source.fail("no answer")
    source.last_error = ""
    trouble.look()
    assert said(caplog) == ["it failed, and works again; the known ones stay", "that is over: it works again"]
