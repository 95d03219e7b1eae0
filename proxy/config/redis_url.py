"""Where a Redis or Valkey is, as one URL says it.

    redis://[user:password@]host[:6379][/db]                          one server
    redis+sentinel://[user:password@]host[:26379],…/service[/db]      the primary that sentinels name
    redis+cluster://[user:password@]host[:6379],…                     a cluster; any of its nodes will do
    rediss://, rediss+sentinel://, rediss+cluster://                  the same over TLS

User and password are the data server's, percent-encoded where they hold one of ``:/?#[]@%,``. Each may be left out:
``user@``, ``:password@``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import unquote


class Topology(Enum):
    """What stands behind the addresses of a URL."""

    STANDALONE = ""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_DEFAULT_PORT = {Topology.STANDALONE: 6379, Topology.SENTINEL: 26379, Topology.CLUSTER: 6379}
_SCHEME = re.compile(r"(?P<base>rediss?)(?:\+(?P<kind>sentinel|cluster))?")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?")
_SERVICE = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(slots=True, frozen=True)
class RedisPlace:
    """A URL's parts. The password is kept out of ``repr``."""

    topology: Topology
    is_tls: bool
    hosts: tuple[tuple[str, int], ...]
    """Servers, sentinels or nodes, in the order in which they are asked."""
    service: str = ""
    """What the sentinels call the primary."""
    db: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_redis_url(url: str) -> RedisPlace:
    """Return the parts of a URL. ValueError says what is wrong, and shows nothing of user and password."""
    scheme, separator, rest = url.partition("://")
    known = _SCHEME.fullmatch(scheme.lower()) if separator else None
    if known is None:
        raise ValueError("begins with redis://, rediss://, redis+sentinel:// or redis+cluster://")
    if "?" in rest or "#" in rest:
        raise ValueError("takes no query and no fragment; percent-encode ? and # in a password")
    topology = Topology(known["kind"] or "")
    before, _, path = rest.partition("/")
    credentials, at, places = before.rpartition("@")
    hosts = tuple(_host(place, _DEFAULT_PORT[topology]) for place in places.split(","))
    if topology is Topology.STANDALONE and len(hosts) > 1:
        raise ValueError("several hosts need redis+sentinel:// or redis+cluster://")
    service, db = _path(topology, path)
    user, password = _credentials(credentials) if at else (None, None)
    return RedisPlace(topology, known["base"] == "rediss", hosts, service, db, user, password)


def _host(place: str, default_port: int) -> tuple[str, int]:
    known = _HOST.fullmatch(place)
    # What is no host may be the end of a password that holds a bare / or @: it is not shown.
    if known is None:
        raise ValueError("a host has the form name[:port], 10.0.0.1[:port] or [::1][:port]")
    port = int(known["port"] or default_port)
    if not 0 < port < 65536:
        raise ValueError("a port lies between 1 and 65535")
    return known["host"].strip("[]"), port


def _path(topology: Topology, path: str) -> tuple[str, int]:
    """Return the service's name and the database's number."""
    if topology is Topology.CLUSTER:
        if path not in ("", "0"):
            raise ValueError("redis+cluster:// has database 0 only")
        return "", 0
    service, db = "", path
    if topology is Topology.SENTINEL:
        service, _, db = path.partition("/")
        if not _SERVICE.fullmatch(service):
            raise ValueError("redis+sentinel:// needs the primary's name behind the hosts, such as /mymaster")
    if db and not (db.isascii() and db.isdigit() and len(db) <= 5):
        raise ValueError("the database is a number, such as /0")
    return service, int(db or 0)


def _credentials(text: str) -> tuple[str | None, str | None]:
    user, _, password = text.partition(":")
    return unquote(user) or None, unquote(password) or None


def redact_redis_url(url: str) -> str:
    """Return the URL with what may be a password blanked, also where the URL is not one."""
    scheme, separator, rest = url.partition("://")
    credentials, at, places = rest.rpartition("@")
    if not separator or not at:
        return url if separator or "@" not in url else "REDACTED"
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}:REDACTED@{places}" if colon else f"{scheme}://REDACTED@{places}"
