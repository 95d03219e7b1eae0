"""One line per call, as JSON or text; failed calls only by default.

Targets are cut and cleaned: control characters are escaped, the values of query parameters that look like secrets are not
written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

from proxy.base.outcomes import ExchangeOutcome
from proxy.base.reasons import Reason

_MAX_TARGET = 512
_SECRET = re.compile(
    r"(?i)((?:^|[?&;])[^=&;]*(?:token|secret|password|passwd|api_?key|signature|sig|auth)[^=&;]*=)[^&;]*"
)


def _printable(text: str) -> str:
    """Return ``text`` on one line: what the other side says may hold line breaks of its own."""
    return text.encode("unicode_escape").decode("ascii")


def clean_target(target: bytes) -> str:
    """Return a target fit for a log: printable, at most 512 characters, secrets in its query blanked."""
    text = _printable(target[: _MAX_TARGET * 2].decode("latin-1"))
    text = _SECRET.sub(r"\1REDACTED", text)
    return text if len(text) <= _MAX_TARGET else text[:_MAX_TARGET] + "…"


class AccessLog:
    """Makes lines and hands them to ``put``. ``access`` is errors, all or off; ``format`` json or text."""

    def __init__(
        self, put: Callable[[str], None], *, access: str, format: str, wall: Callable[[], float]
    ) -> None:
        self._put = put
        self.access = access
        self.format = format
        self._wall = wall

    def call(self, outcome: ExchangeOutcome) -> None:
        """Log one call if it is of a kind that is logged."""
        if self.access == "off" or (self.access == "errors" and outcome.reason is Reason.OK):
            return
        fields = self._fields(outcome)
        if self.format == "json":
            line = json.dumps(fields)
        else:
            line = " ".join(f"{key}={value}" for key, value in fields.items() if value != "")
        self._put(line)

    def _fields(self, outcome: ExchangeOutcome) -> dict[str, str | int | float | bool]:
        return {
            "time": datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds"),
            "level": "info" if outcome.reason is Reason.OK else "warning",
            "event": "call",
            "route": outcome.route,
            "method": outcome.method.decode("latin-1"),
            "target": clean_target(outcome.target),
            "code": outcome.status,
            "reason": outcome.reason.value,
            "detail": _printable(outcome.detail),
            "local": outcome.local,
            "attempts": outcome.attempts,
            "total_s": round(outcome.ended_at - outcome.started_at, 6),
            "queue_s": round(outcome.queue_s, 6),
            "token_s": round(outcome.token_s, 6),
            "outage_s": round(outcome.outage_s, 6),
            "backoff_s": round(outcome.backoff_s, 6),
            "bytes_in": outcome.bytes_in,
            "bytes_out": outcome.bytes_out,
        }
