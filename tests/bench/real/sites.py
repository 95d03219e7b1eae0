"""How each upstream is started: what listens, with which configuration, and the address it has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.lab.arms import READY_WITHIN_S
from proxy.lab.children import Children
from tests.bench.goodput.peers import NGINX, start_configured, wait_for_child
from tests.bench.real.database import start_postgres
from tests.bench.real.reader import PATH
from tests.fakes.ports import free_port

CONFIGS = Path(__file__).with_name("configs")
BODY_BYTES = 10 * 1024 * 1024
GUNICORN = [
    sys.executable,
    "-m",
    "gunicorn",
    "--worker-class",
    "gthread",
    "--workers",
    "1",
    "--threads",
    "128",
]


@dataclass(slots=True)
class Site:
    """Where an upstream is started: a folder for configurations and logs, one for what it keeps, and the seed."""

    folder: Path
    scratch: Path
    children: Children
    seed: int


Start = Callable[[Site], str]
"""Starts everything, returns ``host:port`` once it listens; raises ChildError, OSError and CalledProcessError."""


def away(kind: str) -> Start:
    """A pool of workers that is troubled now and then: ``gone`` or in ``bursts`` of 500s."""

    def start(site: Site) -> str:
        port = free_port()
        argv = [sys.executable, "-m", "tests.bench.real.away", kind, str(port), str(site.seed)]
        site.children.start("upstream", argv).wait_ready(READY_WITHIN_S)
        return f"127.0.0.1:{port}"

    return start


def big_file(site: Site) -> str:
    """nginx with one file of 10 MiB."""
    (site.scratch / PATH.strip("/")).write_bytes(bytes(BODY_BYTES))
    return _nginx(site, "nginx-file.conf", {"@ROOT@": str(site.scratch)})


def limited(directives: Mapping[str, str], service_s: float) -> Start:
    """nginx with directives of its ``http`` and its ``location`` before a server that takes ``service_s`` for a page."""

    def start(site: Site) -> str:
        argv = [sys.executable, "-m", "proxy.lab.server", "--model", "healthy", "--seed", str(site.seed)]
        argv += ["--settings", f'{{"service_s": "{service_s}"}}']
        origin = site.children.start("origin", argv).wait_ready(READY_WITHIN_S)["listen"]
        return _nginx(site, "nginx-limit.conf", {**directives, "@ORIGIN@": str(origin)})

    return start


def database_app(kind: str, connections: int) -> Start:
    """gunicorn, Flask and SQLAlchemy before a PostgreSQL that takes so many connections."""

    def start(site: Site) -> str:
        url = start_postgres(site.children, site.scratch, connections)
        port = free_port()
        argv = [*GUNICORN, "--keep-alive", "75", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
        child = site.children.start("gunicorn", [*argv, f'tests.bench.real.app:make("{url}", "{kind}")'])
        wait_for_child(port, child)
        return f"127.0.0.1:{port}"

    return start


def _nginx(site: Site, template: str, words: Mapping[str, str]) -> str:
    port, child = start_configured(site, CONFIGS / template, NGINX, words)
    wait_for_child(port, child)
    return f"127.0.0.1:{port}"
