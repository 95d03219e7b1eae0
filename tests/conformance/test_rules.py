"""Every rule on a real sidecar. ``make conformance`` holds nginx and HAProxy against the same scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.proxies import start_sidegate
from tests.conformance.trial import Rule, complaint, rules
from tests.fakes.ports import free_port
from tests.parts import require

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """A sidecar's port, and that of its upstream, where each script listens in turn."""
    origin = free_port()
    sidecar, port = start_sidegate(tmp_path_factory.mktemp("sidegate"), origin, None)
    with sidecar:
        yield port, origin
        sidecar.check_alive()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.path.stem)
def test_rule_is_kept(rule: Rule, ports: tuple[int, int]) -> None:
    """The origin and the app of the script both see what the rule's section asks for."""
    require("curl")  # some scripts ask it what an app would make of the answer
    why = complaint(rule, require("varnishtest"), *ports)
    assert why is None, f"{rule.section}: {rule.words}\n{why}"
