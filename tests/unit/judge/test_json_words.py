"""``retry.when_json`` reads what owners say it should: any type, coding, charset, number or text, and paths."""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from typing import Any

import brotli
import pytest
import zstandard

from proxy.judge.json_words import JsonWords
from proxy.wire.response import Response
from proxy.wire.response_head import ResponseHead

BUSY = b'{"code": 500}'
WORDS: dict[str, list[Any]] = {"code": [500, "busy", True, None], "status.code": ["E1"]}


def response(body: bytes, *lines: bytes) -> Response:
    head = ResponseHead(b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines), False)
    assert head.error == ""
    return Response(head, [body[:3], body[3:]], len(body), None)


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (b'{"code": 500}', True), (b'{"code": "500"}', True), (b'{"code": 500.0}', True), (b'{"code": " 500 "}', True),
        (b'{"code": 501}', False), (b'{"code": "500a"}', False), (b'{"code": "busy"}', True), (b'{"code": true}', True),
        (b'{"code": 1}', False), (b'{"code": null}', True), (b'{"code": "true"}', False), (b'{"code": [500]}', False),
        (b'{"status": {"code": "E1"}}', True), (b'{"status.code": "E1"}', True), (b'{"status": "E1"}', False),
        (b'{"status": {"code": {"code": 500}}}', False), (b'{"other": 500}', False), (b'[{"code": 500}]', False),
        (b"", False), (b"<html>500</html>", False), (b'{"code": 500', False), (b'{"code": 1e999}', False),
        (b"[" * 100_000, False), (b'{"code": ' + b"9" * 5000 + b"}", False),
    ],
)  # fmt: skip
def test_values_are_compared_as_people_mean_them(body: bytes, failed: bool) -> None:
    """Numbers and their text alike; true is not 1; a dot goes one level down."""
    assert JsonWords(WORDS).say_it_failed(response(body)) is failed


@pytest.mark.parametrize(
    ("pack", "coding"),
    [
        (gzip.compress, b"gzip"), (gzip.compress, b"X-Gzip"), (zlib.compress, b"deflate"), (raw_deflate, b"deflate"),
        (brotli.compress, b"br"), (zstandard.compress, b"zstd"), (bytes, b"identity"),
        (lambda body: brotli.compress(gzip.compress(body)), b"gzip, br"),
    ],
)  # fmt: skip
def test_codings_are_undone(pack: Any, coding: bytes) -> None:
    assert JsonWords(WORDS).say_it_failed(response(pack(BUSY), b"Content-Encoding: " + coding))


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        (b"text/html", "utf-8"), (b"application/json; charset=GBK", "gbk"), (b'text/plain;charset="utf-16"', "utf-16"),
        (b"application/json", "utf-16"), (b"application/json", "utf-8-sig"), (b"a/b; charset=utf-8", "utf-8-sig"),
        (b"a/b; charset=of-our-own", "utf-8"), (b"a/b; charset=iso-8859-1; q=1", "latin-1"),
    ],
)  # fmt: skip
def test_any_type_and_charset_is_read(content_type: bytes, charset: str) -> None:
    said = {"code": ["\xe9"]}
    body = json.dumps({"code": "\xe9"}, ensure_ascii=False).encode(charset)
    assert JsonWords(said).say_it_failed(response(body, b"Content-Type: " + content_type))


@pytest.mark.parametrize("pack", [gzip.compress, brotli.compress, zstandard.compress])
def test_a_body_that_unpacks_to_far_more_is_bounded(pack: Any) -> None:
    """24 MiB of blanks in a few kilobytes."""
    coding = {gzip.compress: b"gzip", brotli.compress: b"br", zstandard.compress: b"zstd"}[pack]
    body = pack(b" " * (24 << 20) + BUSY)
    assert not JsonWords(WORDS).say_it_failed(response(body, b"Content-Encoding: " + coding))


def test_what_cannot_be_read_is_said_once_for_each_cause(caplog: pytest.LogCaptureFixture) -> None:
    words = JsonWords(WORDS)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            words.say_it_failed(response(b"<html>"))
            for coding in (b"compress", b"gzip", b"br", b"zstd"):
                words.say_it_failed(response(BUSY, b"Content-Encoding: " + coding))
    assert len(caplog.records) == 5
    assert "Content-Encoding compress is not known" in caplog.text
