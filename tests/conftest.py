"""Options that every test may ask for."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# A bound in wall-clock time says how busy the machine is; a hang is what pytest-timeout is for.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--via",
        default="sidegate",
        choices=["sidegate", "nginx", "haproxy", "envoy"],
        help="what stands between client and origin end to end; a peer there tests the tests",
    )
