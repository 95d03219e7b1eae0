"""The read-only port: metrics and probes."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from proxy.control.views import FleetAnswer, Health

LIVENESS_LIMIT_S = 30.0
"""Slack for a throttled CPU: a loop that has not turned for this long is stuck, not slow."""


def make_ops_app(
    registry: CollectorRegistry, health: Health, fleet: FleetAnswer | None = None
) -> web.Application:
    """Return the ops application."""

    async def metrics(request: web.Request) -> web.Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError):  # what it stumbles over, such as version=x
            encode, content_type = choose_encoder("")
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def livez(request: web.Request) -> web.Response:
        age_s = health.heartbeat_age_s()
        if age_s > LIVENESS_LIMIT_S:
            return web.Response(status=503, text=f"the event loop last turned {age_s:.1f} s ago\n")
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        if health.is_serving:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="not serving\n")

    async def startupz(request: web.Request) -> web.Response:
        if health.is_started:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="starting\n")

    async def record(request: web.Request) -> web.Response:
        if fleet is None:
            return web.Response(status=404, text="this pod has no peers\n")
        status, body, proof = fleet(request.headers.get("Sidegate-Fleet"), "awake" in request.query)
        headers = {"Sidegate-Fleet": proof} if proof else {}
        kind = "application/json" if status == 200 else "text/plain"
        return web.Response(status=status, body=body, content_type=kind, headers=headers)

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", metrics),
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/startupz", startupz),
            web.get("/fleet/record", record),
        ]
    )
    return app
