"""Header names the proxy must know, and which of them end here."""

from __future__ import annotations

import re
from typing import Final

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""RFC 9110 §5.6.2, as a part of a pattern."""
FIELD_LINE: Final = re.compile(rb"%b:[\t -~\x80-\xff]*" % TOKEN)
"""RFC 9112 §5: a header line without its end. No blank before the colon, no control character but the tab."""
MAX_DIGITS: Final = 18
"""Numbers of more digits are refused: no body is so long, and Python is slow to read them."""

Headers = list[tuple[bytes, bytes]]
"""Lower-case names and values without the white space around them, in order, duplicates kept."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""RFC 9110 §7.6.1 and what older agents add: meant for the next hop, never forwarded, in either direction."""

NEVER_NAMED_AWAY = frozenset(
    {
        b"host",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"content-range",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"cache-control",
        b"date",
        b"etag",
        b"location",
        b"range",
        b"if-range",
        b"if-match",
        b"if-none-match",
        b"idempotency-key",
        b"via",
    }
)
"""End-to-end fields that a ``Connection`` header may not name away: RFC 9110 §7.6.1 forbids naming them, and obeying would let
one hop silently strip another's credentials. They stay, and the naming is ignored."""


def tokens(value: bytes) -> list[bytes]:
    """Split a comma-separated field value into lower-case tokens; empty elements are dropped (RFC 9110 §5.6.1)."""
    if value == b"keep-alive":
        return [value]  # said by nearly every upstream
    return [token for part in value.split(b",") if (token := part.strip(b" \t").lower())]


def named_away(connection_tokens: list[bytes]) -> set[bytes]:
    """Return the header names that ``Connection`` makes hop-by-hop in this message."""
    return {token for token in connection_tokens if token not in NEVER_NAMED_AWAY}


def name_of(line: bytes) -> bytes:
    """Return a header line's name in lower case."""
    return line.partition(b":")[0].lower()


def parse_lines(lines: list[bytes]) -> Headers:
    """Return names and values of header lines that are valid."""
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    return headers
