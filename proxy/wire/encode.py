"""Heads and chunks as bytes."""

from __future__ import annotations

from http import HTTPStatus

LAST_CHUNK = b"0\r\n\r\n"

_PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {code: b"HTTP/1.1 %d %b\r\n" % (code, phrase) for code, phrase in _PHRASES.items()}


def status_line(status: int, phrase: bytes | None = None) -> bytes:
    """Return the status line; without ``phrase`` the registered one."""
    if phrase is None or phrase == _PHRASES.get(status):
        known = _STATUS_LINES.get(status)
        if known is not None:
            return known
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase or b"")


def last_chunk(trailers: list[bytes]) -> bytes:
    """Return the end of a chunked body, with field lines behind it (RFC 9112 §7.1.2)."""
    return b"".join([b"0\r\n", *(line + b"\r\n" for line in trailers), b"\r\n"]) if trailers else LAST_CHUNK


def chunk(data: bytes) -> bytes:
    """Return ``data`` as one chunk (RFC 9112 §7.1); never the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)
