"""Options that every test may ask for."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--via",
        default="sidegate",
        choices=["sidegate", "nginx", "haproxy", "envoy"],
        help="what stands between client and origin end to end; a peer there tests the tests",
    )
