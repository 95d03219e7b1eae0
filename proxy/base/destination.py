"""Where a call goes that is not for the upstream."""

from __future__ import annotations

from typing import NamedTuple


class Destination(NamedTuple):
    """Another host. ``authority`` is host and port as the app wrote them, ``host`` without brackets."""

    scheme: str
    host: str
    port: int
    authority: bytes
