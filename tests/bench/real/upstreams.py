"""The upstreams by name: how each is started, the heights of the sweep, and what Sidegate untuned must reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.real.sites import Start, away, big_file, database_app, limited

LEAST, ATTEMPTS_MOST = 0.93, 1.08


@dataclass(frozen=True)
class RealUpstream:
    """A server and its bars."""

    start: Start
    heights: tuple[int, ...] = ()
    """Fixed limits of the whole fleet; the best of them is the reference. None: the reference is the direct arm."""
    least: float = LEAST
    """Part of the reference's pages a second that must be reached."""
    attempts_most: float | None = ATTEMPTS_MOST
    """Most attempts a page; None: what fails does so whatever the load."""
    pod: str = "tests.bench.goodput.pod"


def _limit(http: str, location: str, service_s: float) -> Start:
    return limited({"@HTTP@": http, "@LOCATION@": location}, service_s)


UPSTREAMS: Mapping[str, RealUpstream] = {
    "away": RealUpstream(away("gone"), (14, 20, 26, 34, 48), least=0.85, attempts_most=None),
    "bursts": RealUpstream(away("bursts"), (14, 20, 26, 34, 48), least=0.85, attempts_most=None),
    "slow-readers": RealUpstream(big_file, least=0.95, attempts_most=None, pod="tests.bench.real.reader"),
    "max-connections": RealUpstream(database_app("max-connections", 12), (8, 10, 12, 14, 18)),
    "pool-12": RealUpstream(database_app("pool", 40), (10, 12, 18, 28, 42)),
    "deep-offset": RealUpstream(database_app("deep-offset", 140), (12, 28, 42, 60, 80)),
    "nginx-limit-req": RealUpstream(
        _limit(
            "limit_req_zone $server_name zone=all:1m rate=80r/s;", "limit_req zone=all burst=8 nodelay;", 0.15
        ),
        (8, 10, 12, 14, 18),
    ),
    "nginx-limit-conn": RealUpstream(
        _limit("limit_conn_zone $server_name zone=all:1m;", "limit_conn all 16;", 0.2), (10, 13, 16, 20, 28)
    ),
}
