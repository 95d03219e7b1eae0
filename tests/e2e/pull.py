"""An application that pulls rows from Datasette page by page with ``requests``, in threads. Run as a program.

``python -m tests.e2e.pull BASE LOW:HIGH …`` starts one thread for each range of ids (low excluded, high included)
and prints what arrived as JSON. It retries nothing and hides nothing: an error is reported as it came.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import requests

PAGE_ROWS = 100
_QUERY = f"_shape=arrays&_size={PAGE_ROWS}&_sort=id&_nocount=1&_nofacet=1"


@dataclass
class Pulled:
    """The rows of one range, as a count and a digest in the order they came."""

    low: int
    high: int
    rows: int = 0
    digest: str = ""
    calls: int = 0
    errors: list[str] = field(default_factory=list)


def digest_of(rows: Iterable[tuple[int, str, int]]) -> tuple[int, str]:
    """How many rows, and one hash over all they hold: equal only for the same rows, once each, in order."""
    digest, count = hashlib.sha256(), 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - the last count is the result
        digest.update(repr(tuple(row)).encode())
    return count, digest.hexdigest()


def pull(base: str, pulled: Pulled) -> None:
    with requests.Session() as session:
        session.trust_env = False
        try:
            pulled.rows, pulled.digest = digest_of(_rows(session, base, pulled))
        except Exception as error:
            pulled.errors.append(repr(error))


def _rows(session: requests.Session, base: str, pulled: Pulled) -> Iterable[tuple[int, str, int]]:
    url = f"{base}/rows/items.json?{_QUERY}&id__gt={pulled.low}&id__lte={pulled.high}"
    cursor: str | None = ""
    while cursor is not None:
        answer = session.get(url, params={"_next": cursor} if cursor else None, timeout=120)
        pulled.calls += 1
        answer.raise_for_status()
        page = answer.json()
        yield from page["rows"]
        cursor = page["next"]


def _range(words: str) -> Pulled:
    low, _, high = words.partition(":")
    return Pulled(int(low), int(high))


def main(base: str, ranges: list[str]) -> None:
    all_pulled = [_range(one) for one in ranges]
    threads = [threading.Thread(target=pull, args=(base, one)) for one in all_pulled]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps([asdict(one) for one in all_pulled]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
