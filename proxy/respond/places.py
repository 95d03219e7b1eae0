"""Addresses of the upstream in its answers become addresses that lead through the sidecar: page two must not leave it.

An address is turned where it names the upstream's scheme and host, or nothing but a path, and its path begins with the prefix
that the sidecar puts before every target. It becomes that path without the prefix, which the app resolves against the address
that it called. All others stay as they are. An app that calls by absolute targets, as through HTTP_PROXY, is answered as it
asked, in the upstream's own words.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.wire.response_head import ResponseHead

_LOCATION: Final = re.compile(rb"(\r\nlocation:[ \t]*)([^\r]*?)([ \t]*)(?=\r\n)", re.IGNORECASE)
_LINK: Final = re.compile(rb"\r\nlink:[^\r]*", re.IGNORECASE)
_TARGET: Final = re.compile(rb"(<)([^>]*)(>)")


class Places:
    """What to turn. ``authorities`` are the upstream's names in small letters, ``prefix`` a path without a slash at its end.

    From an https:// upstream http:// is turned as well: what stands behind its TLS often knows itself by that. The other way
    round the upstream asks for TLS, and would ask again and again.
    """

    def __init__(
        self, scheme: str, authorities: frozenset[bytes], prefix: bytes, *, turns_links: bool
    ) -> None:
        self._schemes = (b"", b"http:") if scheme == "http" else (b"", b"http:", b"https:")
        self._authorities = authorities
        self._prefix = prefix
        self._turns_links = turns_links

    def turn(self, head: ResponseHead) -> bytes:
        """Return the head's lines with the addresses turned."""
        lines = _LOCATION.sub(self._turned, head.lines)
        if self._turns_links:
            lines = _LINK.sub(lambda match: _TARGET.sub(self._turned, match[0]), lines)
        return lines

    def _turned(self, match: re.Match[bytes]) -> bytes:
        address = match[2]
        scheme, separator, rest = address.partition(b"//")
        path = address
        if separator and scheme.lower() in self._schemes:
            cut = min((i for i in (rest.find(end) for end in b"/?#") if i >= 0), default=len(rest))
            if rest[:cut].lower() not in self._authorities:
                return match[0]
            path = rest[cut:] if rest[cut : cut + 1] == b"/" else b"/" + rest[cut:]
        elif address[:1] != b"/":
            return match[0]
        behind = path[len(self._prefix) :]
        if not path.startswith(self._prefix) or (behind and behind[:1] not in (b"/", b"?", b"#")):
            return match[0]
        return match[1] + (behind if behind[:1] == b"/" else b"/" + behind) + match[3]

    def __repr__(self) -> str:
        return f"<Places below {self._prefix.decode() or '/'}>"
