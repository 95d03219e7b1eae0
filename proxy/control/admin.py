"""The operator's port, on loopback: what is in force, and what may be changed while it runs.

Browsers are kept out of the changing calls: a page on another origin can send a POST to loopback, but not with this content
type and without an Origin header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from proxy.control.views import Operations

_INDEX = """Sidegate admin
GET  /config      configuration in force, secrets blanked
GET  /limits      limits and their use      PATCH /limits {"rate": 50, "concurrency": {"limit": 8}}
GET  /queue       who waits, by priority and for how long; what is under way
GET  /decisions   what limits and outage gates decided and why; requests that always fail
GET  /fleet       the pods, who decides for them, and who holds what
GET  /log-level                             POST /log-level {"level": "debug"}
POST /drain       stop as on SIGTERM
POST /shutdown    stop at once; off unless allow_shutdown is set
"""


def _json(data: Any, status: int = 200) -> web.Response:
    return web.Response(
        text=json.dumps(data, indent=2) + "\n", status=status, content_type="application/json"
    )


@web.middleware
async def _refuse_browsers(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.method not in ("GET", "HEAD") and "Origin" in request.headers:
        return _json({"errors": ["requests from web pages may not change anything"]}, 403)
    response: web.StreamResponse = await handler(request)
    return response


async def _body(request: web.Request) -> Mapping[str, Any] | None:
    try:
        body = await request.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def make_admin_app(operations: Operations) -> web.Application:
    """Return the admin application."""

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=_INDEX)

    async def config(request: web.Request) -> web.Response:
        return _json(operations.effective_config())

    async def limits(request: web.Request) -> web.Response:
        return _json(operations.limits())

    async def patch_limits(request: web.Request) -> web.Response:
        change = await _body(request)
        if change is None:
            return _json({"errors": ['expected a JSON object such as {"rate": 50}']}, 400)
        errors = operations.change_limits(change)
        return _json({"errors": errors}, 422) if errors else _json(operations.limits())

    async def queue(request: web.Request) -> web.Response:
        return _json(operations.queue())

    async def decisions(request: web.Request) -> web.Response:
        return _json(operations.decisions())

    async def fleet(request: web.Request) -> web.Response:
        return _json(operations.fleet())

    async def log_level(request: web.Request) -> web.Response:
        return _json({"level": operations.log_level()})

    async def set_log_level(request: web.Request) -> web.Response:
        change = await _body(request)
        level = str(change.get("level")) if change else request.query.get("level", "")
        if not operations.set_log_level(level):
            return _json({"errors": [f"level: expected debug, info, warning or error (got {level!r})"]}, 422)
        return _json({"level": operations.log_level()})

    async def drain(request: web.Request) -> web.Response:
        operations.drain()
        return _json({"draining": True}, 202)

    async def shutdown(request: web.Request) -> web.Response:
        if not operations.allows_shutdown:
            return _json({"errors": ["shutdown is off; set allow_shutdown: true to enable it"]}, 403)
        operations.shutdown()
        return _json({"stopping": True}, 202)

    app = web.Application(middlewares=[_refuse_browsers])
    app.add_routes(
        [
            web.get("/", index),
            web.get("/config", config),
            web.get("/limits", limits),
            web.patch("/limits", patch_limits),
            web.get("/queue", queue),
            web.get("/decisions", decisions),
            web.get("/fleet", fleet),
            web.get("/log-level", log_level),
            web.post("/log-level", set_log_level),
            web.post("/drain", drain),
            web.post("/shutdown", shutdown),
        ]
    )
    return app
