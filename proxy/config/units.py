"""Durations and sizes as people write them: ``250ms 30s 5m 2h``, ``64KiB 1MiB``; plain numbers are seconds and bytes."""

from __future__ import annotations

import re
from typing import Any

DURATION = "duration"
SIZE = "size"

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)?")
_BYTES = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


_MOST_CHARACTERS = 32
"""Longest text that is looked at. Apps send durations as well, and searching 12,000 digits for a unit takes seconds."""


def _bounded(value: Any) -> str:
    """Return a text to parse; nothing, which is never right, where it is too long to be one."""
    if isinstance(value, str):
        value = value.strip() if len(value) <= 2 * _MOST_CHARACTERS else ""
    text = str(value) if not isinstance(value, int) or value.bit_length() < 128 else ""
    return text if len(text) <= _MOST_CHARACTERS else ""


def parse_duration(value: Any) -> float:
    """Return seconds. Accepts a number of seconds or number-unit pairs such as ``1m30s``; ValueError names the rule."""
    if isinstance(value, bool):
        raise ValueError("a duration such as 250ms, 30s or 5m")
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError("a duration such as 250ms, 30s or 5m") from error
    text = _bounded(value)
    pairs = _DURATION.findall(text)
    if not pairs or "".join(number + unit for number, unit in pairs) != text:
        raise ValueError("a duration such as 250ms, 30s or 5m")
    return sum(float(number) * _SECONDS[unit] for number, unit in pairs)


def parse_size(value: Any) -> int:
    """Return bytes. Accepts a whole number or one with B, KiB, MiB or GiB; ValueError names the rule."""
    match = None if isinstance(value, bool) else _SIZE.fullmatch(_bounded(value))
    if match is None:
        raise ValueError("a size such as 4096, 64KiB or 1MiB")
    return int(match[1]) * _BYTES[match[2]]


def format_duration(seconds: float) -> str:
    """Return ``seconds`` as this program reads it back."""
    if seconds and seconds < 1:
        return f"{seconds * 1000:g}ms"
    if seconds >= 60 and seconds % 60 == 0:
        return f"{seconds / 60:g}m"
    return f"{seconds:g}s"


def format_size(count: int) -> str:
    """Return ``count`` bytes as this program reads it back."""
    for unit in ("GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return str(count)


PARSERS = {DURATION: parse_duration, SIZE: parse_size}
"""What turns the text of a setting into its value, by unit."""

SCHEMAS: dict[str, dict[str, Any]] = {
    DURATION: {
        "anyOf": [
            {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h))+$"},
            {"type": "number", "minimum": 0},
        ]
    },
    SIZE: {
        "anyOf": [{"type": "string", "pattern": r"^\d+(B|KiB|MiB|GiB)?$"}, {"type": "integer", "minimum": 0}]
    },
}
"""What people may write, as JSON Schema, by unit."""
