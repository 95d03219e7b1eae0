"""The origin, what stands in front of it, and the tap between that and the client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench.peers import PEERS
from tests.e2e.origin import Origin
from tests.e2e.sidecar import Sidecar
from tests.e2e.tap import Tap


@dataclass(frozen=True)
class Front:
    """What the client talks to: the sidecar, or the peer that ``--via`` puts there (``sidecar`` is None)."""

    port: int
    sidecar: Sidecar | None


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    with Origin() as one:
        yield one


@pytest.fixture(scope="session")
def front(
    request: pytest.FixtureRequest, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    folder: Path = tmp_path_factory.mktemp("front")
    via = request.config.getoption("--via")
    if via != "sidegate":
        daemon, port = PEERS[via](folder, origin.port, None)
        with daemon:
            yield Front(port, None)
        return
    with Sidecar(origin.url, folder) as sidecar:
        yield Front(sidecar.port, sidecar)
        assert sidecar.stop() == 0, sidecar.log()


@pytest.fixture
def tap(front: Front, origin: Origin) -> Iterator[Tap]:
    """A fresh tap in front of the sidecar, and an origin that has forgotten the tests before."""
    origin.forget()
    with Tap(front.port) as one:
        yield one
