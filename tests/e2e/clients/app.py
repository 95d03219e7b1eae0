"""A Python app that makes the calls it is told of: ``python app.py CLIENT``, lines in and out as in as_programs.py.

It is run as a pod's program is, by itself and with the pod's variables: this file imports nothing of ours.
A name with ``-told`` is a client that heeds proxies only when the app says so, and an app that does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

Pairs = list[tuple[str, str]]
Given = tuple[int, Pairs, bytes]
"""Status, headers and body as the client gives them."""
Ask = Callable[[str, str, bytes | None, bool], Given]

_SENT = {"X-App": "kept"}
_TIMEOUT_S = 60
_PIECE_BYTES = 10_000


def _pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]


def with_requests() -> Ask:
    import requests

    session = requests.Session()

    def ask(method: str, url: str, body: bytes | None, chunked: bool) -> Given:
        data = _pieces(body) if chunked and body else body
        answer = session.request(method, url, data=data, headers=_SENT, timeout=_TIMEOUT_S)
        return answer.status_code, list(answer.raw.headers.items()), answer.content

    return ask


def with_httpx() -> Ask:
    import httpx

    client = httpx.Client(timeout=_TIMEOUT_S)

    def ask(method: str, url: str, body: bytes | None, chunked: bool) -> Given:
        content = _pieces(body) if chunked and body else body
        answer = client.request(method, url, content=content, headers=_SENT)
        return answer.status_code, answer.headers.multi_items(), answer.content

    return ask


def with_urllib() -> Ask:
    import urllib.error
    import urllib.request

    def ask(method: str, url: str, body: bytes | None, chunked: bool) -> Given:
        data: Any = _pieces(body) if chunked and body else body
        request = urllib.request.Request(url, data=data, headers=_SENT, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, list(answer.headers.items()), answer.read()

    return ask


def with_urllib3(told: bool = False) -> Ask:
    import urllib.request

    import urllib3

    pool = urllib3.PoolManager(timeout=_TIMEOUT_S)
    proxies = {
        scheme: urllib3.ProxyManager(url, timeout=_TIMEOUT_S)
        for scheme, url in (urllib.request.getproxies() if told else {}).items()
        if scheme in ("http", "https")
    }

    def ask(method: str, url: str, body: bytes | None, chunked: bool) -> Given:
        scheme, _, rest = url.partition("://")
        host = rest.partition("/")[0]
        at = pool if urllib.request.proxy_bypass(host) else proxies.get(scheme, pool)
        data = _pieces(body) if chunked and body else body
        answer = at.request(method, url, body=data, headers=_SENT)
        return answer.status, list(answer.headers.items()), answer.data

    return ask


def with_aiohttp(told: bool = False) -> Ask:
    import io

    import aiohttp
    import yarl

    runner = asyncio.Runner()
    session: aiohttp.ClientSession | None = None

    async def parts(body: bytes) -> AsyncIterator[bytes]:
        for piece in _pieces(body):
            yield piece

    async def carry(method: str, url: str, body: bytes | None, chunked: bool) -> Given:
        nonlocal session
        if session is None:
            limit = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            session = aiohttp.ClientSession(timeout=limit, trust_env=told)
        data = parts(body) if chunked and body else io.BytesIO(body) if body else None
        at = yarl.URL(url, encoded=True)  # a str would be rewritten: %2F into /
        async with session.request(method, at, data=data, headers=_SENT) as answer:
            return answer.status, list(answer.headers.items()), await answer.read()

    def ask(method: str, url: str, body: bytes | None, chunked: bool) -> Given:
        return runner.run(carry(method, url, body, chunked))

    return ask


CLIENTS: dict[str, Callable[[], Ask]] = {
    "requests": with_requests,
    "httpx": with_httpx,
    "urllib": with_urllib,
    "urllib3": with_urllib3,
    "urllib3-told": lambda: with_urllib3(told=True),
    "aiohttp": with_aiohttp,
    "aiohttp-told": lambda: with_aiohttp(told=True),
}


def main(client: str) -> None:
    ask = CLIENTS[client]()
    for line in sys.stdin.read().splitlines():
        method, url, body_file, mode, answer_file = line.split("\t")
        body = None if body_file == "-" else Path(body_file).read_bytes()
        status, pairs, content = ask(method, url, body, mode == "chunked")
        Path(answer_file).write_bytes(content)
        print("\t".join([str(status), *(f"{name}: {value}" for name, value in pairs)]))


if __name__ == "__main__":
    main(sys.argv[1])
