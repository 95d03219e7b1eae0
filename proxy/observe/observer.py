"""The one listener of the data path: hands outcomes to whoever reads them."""

from __future__ import annotations

from proxy.base.outcomes import ExchangeOutcome
from proxy.base.reasons import Reason
from proxy.observe.access_log import AccessLog
from proxy.observe.metrics import Metrics


class Observer:
    """Metrics and access log behind one face."""

    def __init__(self, metrics: Metrics, access_log: AccessLog) -> None:
        self.metrics = metrics
        self.access_log = access_log
        self.attempt = metrics.attempt
        self.retried = metrics.retried
        self.retry_denied = metrics.retry_denied
        self.waited = metrics.waited

    def call(self, outcome: ExchangeOutcome) -> None:
        """One call has ended."""
        self.metrics.call(outcome)
        if outcome.reason is not Reason.OK or self.access_log.access == "all":
            self.access_log.call(outcome)

    def refused(self, status: int, reason: Reason, detail: str) -> None:
        """Bytes came that never became a request."""
        self.metrics.refused(status, reason)
        outcome = ExchangeOutcome("default", b"_", b"", 0.0)
        outcome.status, outcome.reason, outcome.detail, outcome.local = status, reason, detail, True
        self.access_log.call(outcome)

    def shown_target(self, target: bytes) -> str:
        """Return a target as the log shows it, without secrets."""
        return self.access_log.targets.shown(target)

    def __repr__(self) -> str:
        return f"<Observer log={self.access_log.access}>"
