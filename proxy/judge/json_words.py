"""``retry.when_json``: a 200 whose JSON says that it failed. It believes the owner who set it: any type, coding and charset.

A field is a path: ``status.code`` is the field ``code`` of the object ``status``, unless there is a field of that very name.
Numbers and their text are alike: 500 is "500" and 500.0. True, false and null are nothing but themselves.
"""

from __future__ import annotations

import io
import json
import logging
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.wire.response import Response

_log = logging.getLogger("sidegate.judge")

_MAX_BYTES: Final = 8 << 20
"""Most of a body that is unpacked."""
_CHARSET: Final = re.compile(rb"charset=[\"']?([!-:<-~]+?)[\"']?(?:[ \t;]|$)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?", re.ASCII)


class JsonWords:
    """The fields that are looked at, and the values that mean a failure."""

    def __init__(self, when_json: Mapping[str, Sequence[Any]]) -> None:
        self._words = [(path, [_told(value) for value in values]) for path, values in when_json.items()]
        self._unread: set[str] = set()

    def say_it_failed(self, response: Response) -> bool:
        """Whether the body of a 200 says so. What cannot be read does not, and is logged once for each cause."""
        if response.rest is not None:
            return self._cannot_read("it is larger than body.verify_up_to, or streams")
        if not response.body_bytes:
            return False
        try:
            body = _unpacked(b"".join(response.chunks), response.head.field(b"content-encoding"))
            found = json.loads(_text(body, response.head.field(b"content-type")))
        except (ValueError, RecursionError) as error:
            return self._cannot_read(str(error).partition(":")[0])
        return any(_told(value) in values for path, values in self._words for value in _at(found, path))

    def _cannot_read(self, why: str) -> bool:
        if why not in self._unread and len(self._unread) < 20:
            self._unread.add(why)
            _log.warning("retry.when_json cannot read an answer and takes it for a success: %s", why)
        return False

    def __repr__(self) -> str:
        return f"<JsonWords {[path for path, _ in self._words]}>"


def _at(found: Any, path: str) -> list[Any]:
    """Return the value at a path, in a list; [] where there is none."""
    if not isinstance(found, dict):
        return []
    if path in found:
        return [found[path]]
    values: list[Any] = []
    for cut in (at for at, letter in enumerate(path) if letter == "."):
        if path[:cut] in found:
            values += _at(found[path[:cut]], path[cut + 1 :])
    return values


def _told(value: Any) -> tuple[str, Any]:
    """Return a value so that equal ones are equal, and true is not 1."""
    if isinstance(value, bool) or value is None:
        return "word", value
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return "number", float(value)
    if isinstance(value, int | float):
        return "number", float(value) if abs(value) < 1e300 else value
    return ("text", value) if isinstance(value, str) else ("other", None)


def _text(body: bytes, content_type: bytes) -> str | bytes:
    """Return the body in the charset that is named; without one json tells UTF-8, UTF-16 and UTF-32 apart by itself."""
    match = _CHARSET.search(content_type)
    if match is None:
        return body
    try:
        return body.decode(match[1].decode("latin-1")).removeprefix("\N{BOM}")
    except LookupError:
        return body


def _unpacked(body: bytes, codings: bytes) -> bytes:
    """Undo content codings, the last first; ValueError names one that is not known, or that the body is not in."""
    for coding in reversed(codings.lower().split(b",")):
        name = coding.strip(b" \t")
        if name in (b"gzip", b"x-gzip", b"deflate"):
            body = _inflated(body)
        elif name == b"br":
            body = _unbrotlied(body)
        elif name == b"zstd":
            body = _unzstded(body)
        elif name not in (b"", b"identity"):
            raise ValueError(f"Content-Encoding {name.decode('latin-1')} is not known")
    return body


def _inflated(body: bytes) -> bytes:
    # Servers call two formats deflate: zlib's, as RFC 9110 §8.4.1.2 has it, and the bare one.
    for wbits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
        try:
            return zlib.decompressobj(wbits=wbits).decompress(body, _MAX_BYTES)
        except zlib.error:
            continue
    raise ValueError("the body is neither gzip nor deflate")


def _unbrotlied(body: bytes) -> bytes:
    import brotli  # of use to few

    try:
        unpacked: bytes = brotli.Decompressor().process(body, output_buffer_limit=_MAX_BYTES)
    except brotli.error as error:
        raise ValueError("the body is not brotli") from error
    return unpacked


def _unzstded(body: bytes) -> bytes:
    import zstandard  # of use to few

    try:
        return bytes(zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)).read(_MAX_BYTES))
    except zstandard.ZstdError as error:
        raise ValueError("the body is not zstd") from error
