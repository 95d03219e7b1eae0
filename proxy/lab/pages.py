"""The numbered pages: what is in one, how a reader knows it is whole, who reads which; the app's habits."""

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy.lab.model import param

SIZE_MAX = 10_000
"""Most records a page may hold."""

THREADS = (5, 7, 9, 11, 13, 15, 18, 20)
"""Client threads of the eight pods."""


@dataclass(slots=True)
class Habits:
    """How the app pulls."""

    size: int = param(20, low=1, high=SIZE_MAX, why="records a page")
    repeat_pause_s: float = param(1.0, high=600, why="pause before an errored page is asked for again")
    max_repeats: int = param(200, low=1, high=100_000, why="times a page is asked for before it is given up")
    think_s: float = param(0.005, high=600, why="pause of a thread between two pages")
    timeout_s: float = param(60.0, low=0.01, high=3600, why="the app's patience with one call")
    pause_share: float = param(0.0, high=1, why="share of the pages after which a thread pauses for longer")
    pause_low_s: float = param(0.0, high=600, why="shortest such pause")
    pause_high_s: float = param(0.0, high=600, why="longest such pause")


def record_of(record_id: int) -> dict[str, Any]:
    """The record with that id; the same one always."""
    return {"id": record_id, "value": f"{zlib.crc32(str(record_id).encode()):08x}"}


def page_body(page: int, size: int) -> bytes:
    """Page ``page`` (from 0) of ``size`` records, as JSON with a checksum over its records."""
    records = [record_of(page * size + offset) for offset in range(size)]
    return compact({"page": page, "size": size, "checksum": checksum(records), "records": records})


def page_fault(body: bytes, page: int, size: int) -> str | None:
    """What is wrong with ``body`` as page ``page`` of ``size`` records, or None when it is that page."""
    try:
        told = json.loads(body)
    except ValueError:
        return "not JSON"
    if not isinstance(told, dict) or told.get("page") != page:
        return "another page"
    records = told.get("records")
    if not isinstance(records, list) or told.get("checksum") != checksum(records):
        return "wrong checksum"
    if records != [record_of(page * size + offset) for offset in range(size)]:
        return "wrong records"
    return None


def checksum(records: list[Any]) -> str:
    """CRC-32 of the records' compact JSON, as 8 hexadecimal digits."""
    return f"{zlib.crc32(compact(records)):08x}"


def compact(value: Any) -> bytes:
    """``value`` as JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def pages_of_pod(pod: int, pages: int, threads: Sequence[int]) -> list[int]:
    """The pages that pod ``pod`` alone pulls: its threads' share of 0..pages-1, spread over the range."""
    owner = [index for index, count in enumerate(threads) for _ in range(count)]
    stride = next(s for s in range(37, 37 + len(owner) + 1) if math.gcd(s, len(owner)) == 1)
    return [page for page in range(pages) if owner[page * stride % len(owner)] == pod]


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """``total`` in whole parts proportional to ``weights`` by largest remainder, each at least 1."""
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [int(each) for each in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: exact[i] - parts[i], reverse=True)
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return [max(1, part) for part in parts]
