"""The app that gunicorn runs: pages of records out of PostgreSQL by SQLAlchemy, as Flask's manual has it.

A statement takes its time asleep in the database, so that processors are not what is short.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, request
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from proxy.lab.model import lognormal_s
from proxy.lab.pages import checksum, compact

SERVICE_S, SPREAD = 0.25, 0.5
POOL_SIZE, POOL_TIMEOUT_S = 12, 1
STATEMENT_TIMEOUT_MS = 1500
DISKS = 8
SHALLOW_S, PER_RECORD_S = 0.04, 0.12 / 60_000
"""A page of the deep kind keeps one disk busy for 0.04 s at the start of the table and 0.16 s at its end."""

PAGE = text("SELECT id, value FROM records WHERE id >= :first ORDER BY id LIMIT :size")
DEEP_PAGE = text("SELECT id, value FROM deep_page(:first, :size, :disk, :sleep_s)")
SLEEP = text("SELECT pg_sleep(:sleep_s)")


def without_pool(url: str) -> Engine:
    """A connection a call: beyond the server's ``max_connections`` it is refused at once."""
    return create_engine(url, poolclass=NullPool)


def with_small_pool(url: str) -> Engine:
    """Twelve connections; who waits for one for longer than a second fails."""
    return create_engine(url, pool_size=POOL_SIZE, max_overflow=0, pool_timeout=POOL_TIMEOUT_S)


def with_statement_timeout(url: str) -> Engine:
    """A connection for each thread, and an end to every statement that takes too long."""
    options = {"options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"}
    return create_engine(url, pool_size=128, max_overflow=0, connect_args=options)


ENGINES: Mapping[str, Callable[[str], Engine]] = {
    "max-connections": without_pool,
    "pool": with_small_pool,
    "deep-offset": with_statement_timeout,
}


def make(url: str, kind: str) -> Flask:
    """The app of one kind of ``ENGINES``. A fault of the database is a 500 with its words."""
    app = Flask(__name__)
    engine = ENGINES[kind](url)
    rng = random.Random()
    rows = _deep_rows if kind == "deep-offset" else _rows

    def page(number: int) -> Response:
        size = int(request.args.get("size", 20))
        with engine.connect() as connection:
            found = rows(connection, number * size, size, rng)
        records = [{"id": row.id, "value": row.value} for row in found]
        told = {"page": number, "size": size, "checksum": checksum(records), "records": records}
        return Response(compact(told), mimetype="application/json")

    app.add_url_rule("/pages/<int:number>", view_func=page)
    app.register_error_handler(SQLAlchemyError, _failed)
    return app


def _rows(connection: Any, first: int, size: int, rng: random.Random) -> Any:
    connection.execute(SLEEP, {"sleep_s": lognormal_s(rng, SERVICE_S, SPREAD)})
    return connection.execute(PAGE, {"first": first, "size": size}).all()


def _deep_rows(connection: Any, first: int, size: int, rng: random.Random) -> Any:
    sleep_s = lognormal_s(rng, SHALLOW_S + PER_RECORD_S * first, SPREAD)
    return connection.execute(
        DEEP_PAGE, {"first": first, "size": size, "disk": rng.randrange(DISKS), "sleep_s": sleep_s}
    ).all()


def _failed(error: Exception) -> tuple[Response, int]:
    return Response(compact({"error": str(error).splitlines()[0]}), mimetype="application/json"), 500
