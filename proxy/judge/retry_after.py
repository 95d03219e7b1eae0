"""``Retry-After``: how long the upstream asks us to stay away (RFC 9110 §10.2.3)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?", re.ASCII)
CAP_S = 300.0
"""Nobody is obeyed for longer: a wrong clock on the other side would stop a pull for good."""


def parse_retry_after(value: bytes, wall: Callable[[], float]) -> float | None:
    """Return seconds from now, between 0 and ``CAP_S``; None for what is neither a number of seconds nor a date.

    Decimals, which no RFC knows and some servers send, are rounded up. A date in the past is 0.
    Negative numbers and garbage are ignored, not read as 0.
    """
    text = value.strip().decode("latin-1")
    if _SECONDS.fullmatch(text):
        return min(math.ceil(float(text[:12])), CAP_S)
    try:
        date = parsedate_to_datetime(text)
        return min(max(0.0, date.timestamp() - wall()), CAP_S)
    except (ValueError, TypeError, OverflowError):
        return None
