"""The measure of an idle fleet finds its pods."""

from __future__ import annotations

import pytest

from tests.bench.idle import shares_of_a_core


@pytest.mark.slow
def test_two_idle_peers_are_one_pilot_and_one_pod() -> None:
    """Real processes: each is counted once, under the role that it told itself."""
    shares = shares_of_a_core(2, settle_s=1.0, seconds=0.5)
    assert sorted(name.partition(" ")[0] for name in shares) == ["pilot", "pod"]
    assert sorted(name.partition(" ")[2] for name in shares) == ["0", "1"]


@pytest.mark.slow
def test_a_pod_without_peers_is_its_own_pilot() -> None:
    """It is measured as one that has nobody to read."""
    assert list(shares_of_a_core(1, settle_s=0.0, seconds=0.1)) == ["pilot 0"]
