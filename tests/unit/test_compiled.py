"""Which of the two forms of the package is under test."""

from __future__ import annotations

import os

import pytest

import proxy.exchange
import proxy.wire.request_parser


@pytest.mark.skipif("TESTS_COMPILED" not in os.environ, reason="for `make test-compiled`")
def test_the_path_of_a_call_is_compiled() -> None:
    """`make test-compiled` tests what mypyc made, not the sources beside it."""
    assert str(proxy.exchange.__file__).endswith(".so")
    assert str(proxy.wire.request_parser.__file__).endswith(".so")
