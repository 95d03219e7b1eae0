"""What an attempt meant: fine, failed, or failed in a way worth another try."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.base.outcomes import AttemptOutcome
from proxy.base.reasons import Reason
from proxy.judge.json_words import JsonWords
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


class Classifier:
    """Reads ``retry.on`` and ``retry.when_json``."""

    def __init__(self, on: Iterable[int | str], when_json: Mapping[str, Sequence[Any]] | None) -> None:
        items = list(on)
        self._statuses = frozenset(item for item in items if isinstance(item, int))
        self._words = frozenset(item for item in items if isinstance(item, str))
        self._json = JsonWords(when_json) if when_json else None

    @property
    def reads_bodies(self) -> bool:
        """Whether an answer of any status may stand for a failure."""
        return self._json is not None

    def read_status(self, outcome: AttemptOutcome, response: Response) -> None:
        """Turn an answer that stands for a failure into one: sets the outcome's reason."""
        status = response.head.status
        if status >= 500 or status in self._statuses:
            outcome.reason = Reason.UPSTREAM_STATUS
        elif self._json is not None and status == 200 and self._json.say_it_failed(response):
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
