"""Unmodified HTTP clients behind one shape: a list of calls in, the answers out, all from one session.

A client makes its calls one after the other and keeps its connection, as an application's session does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Call:
    """One request. ``chunked``: the body goes out without a length. ``expect``: with Expect: 100-continue."""

    method: str
    path: str
    body: bytes | None = None
    chunked: bool = False
    expect: bool = False


@dataclass(frozen=True)
class Answer:
    """What the application got. Header names are in lower case; a repeated header keeps every value."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = field(repr=False)

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


SENT_HEADERS = {"X-App": "kept", "Sidegate-Priority": "high"}
"""Sent with every call: the first must reach the origin, the second never."""

Client = Callable[[str, Sequence[Call], Path], list[Answer]]
"""(base URL, calls, a folder for its files) → the answers in order."""
