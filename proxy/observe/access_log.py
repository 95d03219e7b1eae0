"""One line per call, as JSON or text; failed calls only by default.

What strangers may have written is on one line, cut, and without secrets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from proxy.base.outcomes import ExchangeOutcome
from proxy.base.reasons import Reason
from proxy.observe.targets import Targets, printable, without_logins

_MAX_METHOD = 32
_MAX_DETAIL = 1024


class AccessLog:
    """Makes lines and hands them to ``put``. ``access`` is errors, all or off; ``format`` json or text."""

    def __init__(
        self,
        put: Callable[[str], None],
        *,
        access: str,
        format: str,
        wall: Callable[[], float],
        targets: Targets | None = None,
    ) -> None:
        self._put = put
        self.targets = targets or Targets()
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
            "method": printable(outcome.method[:_MAX_METHOD].decode("latin-1")),
            "target": self.targets.shown(outcome.target),
            "code": outcome.status,
            "reason": outcome.reason.value,
            "detail": printable(without_logins(outcome.detail[:_MAX_DETAIL])),
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
