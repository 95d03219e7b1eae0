"""What stands between app and origin. The whole configurations of the peers are the files in ``configs``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.bench.peers import Start, start_haproxy, start_nginx
from tests.e2e.daemon import Daemon
from tests.e2e.sidecar import Sidecar

CONFIGS = Path(__file__).with_name("configs")

SIDEGATE_SETTINGS = ("upstream.via=true", "outage.mode=off")
"""``Via`` is off as it comes, for it costs compression before nginx. Without the gate no rule hears of the one before."""


def start_sidegate(folder: Path, origin: int, core: int | None) -> tuple[Daemon, int]:
    sidecar = Sidecar(f"http://127.0.0.1:{origin}", folder, SIDEGATE_SETTINGS, core=core)
    return sidecar, sidecar.port


PROXIES: dict[str, Start] = {
    "sidegate": start_sidegate,
    "nginx": partial(start_nginx, configs=CONFIGS),
    "haproxy": partial(start_haproxy, configs=CONFIGS),
}
