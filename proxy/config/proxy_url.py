"""Which proxy the upstream is reached through: ``http://[user:password@]host:port``.

User and password are percent-encoded where they hold one of ``:/?#[]@%``.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

_URL = re.compile(
    r"http://(?:(?P<login>[^/@\s]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(?P<port>\d{1,5})/?",
    re.IGNORECASE,
)


@dataclass(slots=True, frozen=True)
class ProxyPlace:
    """A URL's parts. ``authorization`` is the value of Proxy-Authorization, empty without a login; kept out of ``repr``."""

    host: str
    port: int
    authorization: bytes = field(default=b"", repr=False)


def parse_proxy_url(url: str) -> ProxyPlace:
    """Return the parts of a URL. ValueError says what is wrong, and shows nothing of user and password."""
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("proxy has the form http://host:port or http://user:password@host:port")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise ValueError("proxy: the port is between 1 and 65535")
    login = match["login"]
    authorization = b"" if login is None else b"Basic " + base64.b64encode(unquote_to_bytes(login))
    return ProxyPlace(match["host"].strip("[]"), port, authorization)
