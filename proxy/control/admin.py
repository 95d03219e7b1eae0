"""The operator's port, on loopback: what is in force, and what may be changed while it runs.

Browsers are kept out of the changing calls: a page on another origin can send a POST to loopback, but not without an Origin
header. They are kept out of all calls by a name that is not the machine's own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
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
POST /drain       stop as on SIGTERM; off unless allow_drain is set
POST /shutdown    stop at once; off unless allow_shutdown is set
"""

_MOST_BYTES = 64 << 10
"""Of a request's body; a change of limits takes a hundred."""
_BODY_S = 10.0
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s]+)(?::\d{1,5})?")


def _json(data: Any, status: int = 200) -> web.Response:
    return web.Response(
        text=json.dumps(data, indent=2) + "\n", status=status, content_type="application/json"
    )


@web.middleware
async def _refuse_browsers(request: web.Request, handler: Any) -> web.StreamResponse:
    if not is_own_host(request.headers.get("Host", "")):
        return _json(
            {"errors": ["Host: call this port by an address or as localhost, not by another name"]}, 403
        )
    if request.method not in ("GET", "HEAD") and "Origin" in request.headers:
        return _json({"errors": ["requests from web pages may not change anything"]}, 403)
    response: web.StreamResponse = await handler(request)
    return response


def is_own_host(host: str) -> bool:
    """Whether a Host header cannot be a name that a stranger's DNS points here: an address, localhost, a test's, or none at all.

    A web page whose own name comes to mean 127.0.0.1 (DNS rebinding) reads what it asks for, for its browser takes it for the
    page's own. Its Host still holds that name.
    """
    name = _HOST.fullmatch(host)
    if name is None:
        return not host
    bare = name["host"].strip("[]").rstrip(".").lower()
    if bare.rpartition(".")[2] in ("localhost", "test"):  # RFC 6761: nobody can be given such a name
        return True
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    return True


async def _body(request: web.Request) -> Mapping[str, Any] | None:
    """Return the JSON object that a request holds; None where it holds none, or does not come."""
    try:
        async with asyncio.timeout(_BODY_S):
            body = json.loads(await request.read())
    except (ValueError, RecursionError, TimeoutError, web.RequestPayloadError):
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
        if not operations.allows_drain:
            return _json({"errors": ["drain is off; set allow_drain: true to enable it"]}, 403)
        operations.drain()
        return _json({"draining": True}, 202)

    async def shutdown(request: web.Request) -> web.Response:
        if not operations.allows_shutdown:
            return _json({"errors": ["shutdown is off; set allow_shutdown: true to enable it"]}, 403)
        operations.shutdown()
        return _json({"stopping": True}, 202)

    app = web.Application(middlewares=[_refuse_browsers], client_max_size=_MOST_BYTES)
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
