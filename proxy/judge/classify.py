"""What an attempt meant: fine, failed, or failed in a way worth another try."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.base.outcomes import AttemptOutcome
from proxy.base.reasons import Reason
from proxy.wire.response import Response

_WORD_OF_REASON = {
    Reason.CONNECT_FAILED: "connect",
    Reason.CONNECT_TIMEOUT: "connect",
    Reason.TLS_FAILED: "connect",
    Reason.DNS_FAILED: "connect",
    Reason.RESET: "reset",
    Reason.STALE_CONNECTION: "reset",
    Reason.BAD_RESPONSE: "reset",
    Reason.HEAD_TIMEOUT: "timeout",
    Reason.BODY_TIMEOUT: "timeout",
    Reason.TRUNCATED: "truncated",
}
"""Which word of ``retry.on`` covers which failure."""

_OF_THE_REQUEST = frozenset({501, 505})
"""Server errors that say, as a 404 does, that the upstream understood and will not do it (RFC 9110 §15.6.2, §15.6.6)."""

_MAX_JSON_BYTES = 8 << 20


class Classifier:
    """Reads ``retry.on`` and ``retry.when_json``."""

    def __init__(self, on: Iterable[int | str], when_json: Mapping[str, Sequence[Any]] | None) -> None:
        items = list(on)
        self._statuses = frozenset(item for item in items if isinstance(item, int))
        self._words = frozenset(item for item in items if isinstance(item, str))
        self._when_json = {key: list(values) for key, values in (when_json or {}).items()}

    @property
    def reads_bodies(self) -> bool:
        """Whether an answer of any status may stand for a failure."""
        return bool(self._when_json)

    def read_status(self, outcome: AttemptOutcome, response: Response) -> None:
        """Turn an answer that stands for a failure into one: sets the outcome's reason."""
        status = response.head.status
        if status >= 500 or status in self._statuses:
            outcome.reason = Reason.UPSTREAM_STATUS
        elif self._when_json and status == 200 and response.rest is None and self._says_it_failed(response):
            outcome.reason = Reason.UPSTREAM_JSON

    def is_worth_retrying(self, outcome: AttemptOutcome) -> bool:
        """Whether ``retry.on`` names this failure."""
        reason = outcome.reason
        if reason is Reason.UPSTREAM_STATUS:
            return outcome.status in self._statuses
        if reason is Reason.UPSTREAM_JSON:
            return True
        return _WORD_OF_REASON.get(reason) in self._words

    def tells_of_upstream(self, outcome: AttemptOutcome) -> bool:
        """Whether a failure says that the upstream is not well: each but 501 and 505, those where ``retry.on`` names them."""
        status = outcome.status
        is_refusal = outcome.reason is Reason.UPSTREAM_STATUS and status in _OF_THE_REQUEST
        return not is_refusal or status in self._statuses

    def _says_it_failed(self, response: Response) -> bool:
        if b"json" not in response.head.field(b"content-type").lower():
            return False
        try:
            body = json.loads(_decoded(b"".join(response.chunks), response.head.field(b"content-encoding")))
        except (ValueError, zlib.error, RecursionError):
            return False
        if not isinstance(body, dict):
            return False
        return any(
            key in body and any(_is_same(body[key], value) for value in values)
            for key, values in self._when_json.items()
        )


def _is_same(found: Any, wanted: Any) -> bool:
    # JSON's true is not 1, whatever Python says.
    return type(found) is type(wanted) and bool(found == wanted)


def _decoded(body: bytes, encoding: bytes) -> bytes:
    """Undo gzip and deflate, up to a bound; any other coding is left, and then is no JSON."""
    if encoding.strip().lower() in (b"gzip", b"x-gzip", b"deflate"):
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, _MAX_JSON_BYTES)
    return body
