"""The peers and how each is started. Their whole configurations are the files in ``configs``.

All run one worker with kept connections on both sides, no access log and retries on (nginx cannot retry
with a single upstream). Sidegate runs with everything a pod would have: rate limit, fixed concurrency limit,
queue, retries with a budget, bodies verified up to 1 MiB, metrics, an access log of errors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.daemon import Daemon, wait_for_port
from tests.e2e.sidecar import Sidecar
from tests.fakes.ports import free_port
from tests.parts import where

CONFIGS = Path(__file__).with_name("configs")

SIDEGATE_SETTINGS = (
    "limits.rate=1000000",
    "limits.burst=1000",
    "limits.concurrency.mode=fixed",
    "limits.concurrency.limit=256",
    "pool.max_connections=256",
    "log.access=errors",
)

Start = Callable[[Path, int, int | None], tuple[Daemon, int]]
"""(folder for its files, origin's port, core or None) → the process and the port it listens on."""


def start_nginx(folder: Path, origin: int, core: int | None, configs: Path = CONFIGS) -> tuple[Daemon, int]:
    command = [where("nginx") or "nginx", "-c"]
    return start_configured(configs / "nginx.conf", command, folder, origin, core)


def start_haproxy(folder: Path, origin: int, core: int | None, configs: Path = CONFIGS) -> tuple[Daemon, int]:
    command = [where("haproxy") or "haproxy", "-db", "-f"]
    return start_configured(configs / "haproxy.conf", command, folder, origin, core)


def start_envoy(folder: Path, origin: int, core: int | None) -> tuple[Daemon, int]:
    # The PyPI build leaves when the process that started it does: that is the bench, while it measures.
    envoy = str(Path(sys.executable).with_name("envoy"))
    command = [envoy, "--concurrency", "1", "-l", "error", "--use-dynamic-base-id", "-c"]
    return start_configured(CONFIGS / "envoy.yaml", command, folder, origin, core)


def start_sidegate(folder: Path, origin: int, core: int | None) -> tuple[Daemon, int]:
    sidecar = Sidecar(f"http://127.0.0.1:{origin}", folder, SIDEGATE_SETTINGS, core=core)
    return sidecar, sidecar.port


PEERS: dict[str, Start] = {
    "envoy": start_envoy,
    "haproxy": start_haproxy,
    "nginx": start_nginx,
    "sidegate": start_sidegate,
}


def start_configured(
    template: Path, command: list[str], folder: Path, origin: int, core: int | None
) -> tuple[Daemon, int]:
    """Fills the template in, starts the command with it, and waits until it accepts."""
    port = free_port()
    config = folder / template.name
    words = {"@FOLDER@": str(folder), "@PORT@": str(port), "@ORIGIN@": str(origin)}
    text = template.read_text()
    for word, value in words.items():
        text = text.replace(word, value)
    config.write_text(text)
    daemon = Daemon(config.stem, [*command, str(config)], folder, core=core)
    try:
        wait_for_port(port, daemon)
    except BaseException:
        daemon.stop()
        raise
    return daemon, port
