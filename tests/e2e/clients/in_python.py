"""The Python clients, run inside the test's process."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import aiohttp
import httpx
import requests
import urllib3
import yarl

from tests.e2e.clients import SENT_HEADERS, Answer, Call

_TIMEOUT_S = 60
_PIECE_BYTES = 10_000


def with_requests(base: str, calls: Sequence[Call], _folder: Path) -> list[Answer]:
    with requests.Session() as session:
        session.trust_env = False
        return [_one_requests(session, base, call) for call in calls]


def _one_requests(session: requests.Session, base: str, call: Call) -> Answer:
    body = _pieces(call.body) if call.chunked else call.body
    answer = session.request(
        call.method, base + call.path, data=body, headers=_headers(call), timeout=_TIMEOUT_S
    )
    pairs = [(name.lower(), value) for name, value in answer.raw.headers.items()]
    return Answer(answer.status_code, pairs, answer.content)


def with_urllib3(base: str, calls: Sequence[Call], _folder: Path) -> list[Answer]:
    with urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S) as pool:
        answers = []
        for call in calls:
            body = _pieces(call.body) if call.chunked else call.body
            answer = pool.request(call.method, base + call.path, body=body, headers=_headers(call))
            pairs = [(name.lower(), value) for name, value in answer.headers.items()]
            answers.append(Answer(answer.status, pairs, answer.data))
        return answers


def with_httpx(base: str, calls: Sequence[Call], _folder: Path) -> list[Answer]:
    with httpx.Client(trust_env=False, timeout=_TIMEOUT_S) as client:
        answers = []
        for call in calls:
            body = _pieces(call.body) if call.chunked else call.body
            answer = client.request(call.method, base + call.path, content=body, headers=_headers(call))
            pairs = [(name.lower(), value) for name, value in answer.headers.multi_items()]
            answers.append(Answer(answer.status_code, pairs, answer.content))
        return answers


def with_aiohttp(base: str, calls: Sequence[Call], _folder: Path) -> list[Answer]:
    return asyncio.run(_all_aiohttp(base, calls))


async def _all_aiohttp(base: str, calls: Sequence[Call]) -> list[Answer]:
    limit = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=limit) as session:
        answers = []
        for call in calls:
            body = _async_pieces(call.body) if call.chunked else io.BytesIO(call.body) if call.body else None
            url = yarl.URL(base + call.path, encoded=True)  # a str would be rewritten: %2F into /
            async with session.request(
                call.method, url, data=body, headers=SENT_HEADERS, expect100=call.expect
            ) as answer:
                pairs = [(name.lower(), value) for name, value in answer.headers.items()]
                answers.append(Answer(answer.status, pairs, await answer.read()))
        return answers


def _headers(call: Call) -> dict[str, str]:
    """These clients have no switch for Expect: the header goes out, and they do not wait for the 100."""
    return {**SENT_HEADERS, "Expect": "100-continue"} if call.expect else {**SENT_HEADERS}


def _pieces(body: bytes | None) -> Iterator[bytes]:
    for start in range(0, len(body or b""), _PIECE_BYTES):
        yield (body or b"")[start : start + _PIECE_BYTES]


async def _async_pieces(body: bytes | None) -> AsyncIterator[bytes]:
    for piece in _pieces(body):
        yield piece
