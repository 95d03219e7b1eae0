"""What happened, said once per attempt and once per call. Metrics, log, limit and diagnosis read these and nothing else.

Each is filled in by the one coroutine that owns it and handed over when it is done. All times are seconds of the monotonic
clock, all durations seconds, all sizes bytes. Fields keep their class's default until something happened: setting twenty
fields costs a call more than a microsecond.
"""

from __future__ import annotations

from enum import Enum

from proxy.base.reasons import Reason

FIRST = "first"
RETRY = "retry"
PROBE = "probe"


class Verdict(Enum):
    """What an attempt tells of the upstream: it is well, nothing, or it is not."""

    SUCCESS = "success"
    IGNORE = "ignore"
    DROPPED = "dropped"


class AttemptOutcome:
    """One try at the upstream."""

    status: int = 0
    """The answer's status; 0 when no head arrived."""
    reason: Reason = Reason.OK
    verdict: Verdict = Verdict.SUCCESS
    """What the judge makes of it, for the limit and the outage gate."""
    error: str = ""
    is_local: bool = False
    """Whether something of ours was missing, such as descriptors: a failure that tells nothing of the upstream."""
    address: str = ""
    """The connection's far end, ``host:port``."""
    uses: int = 0
    """Requests the connection had carried before this one; 0 on a fresh one."""
    age_s: float = 0.0
    """The connection's age when it was taken."""
    idle_s: float = 0.0
    """How long it had been idle."""
    dns_s: float = 0.0
    connect_s: float = 0.0
    tls_s: float = 0.0
    head_s: float = 0.0
    """From the request's last byte to the answer: its head where it streams, all of it where it was verified."""
    body_s: float = 0.0
    """From there to the last body byte."""
    head_at: float = 0.0
    """When the head of an answer that streams was in; 0.0 for any other."""
    head_out: int = 0
    """Bytes of the request's head, which ``bytes_out`` counts as well."""
    bytes_out: int = 0
    bytes_in: int = 0

    def __init__(self, route: str, kind: str, started_at: float, inflight: int) -> None:
        self.route = route
        self.kind = kind
        self.started_at = started_at
        self.ended_at = started_at
        self.inflight = inflight
        self.retry_after_s: float | None = None
        """What the upstream asked for; None when it did not."""

    @property
    def latency_s(self) -> float:
        """How long the upstream took: to the head where the body streams, for the rest may wait for the app."""
        return (self.head_at or self.ended_at) - self.started_at

    def __repr__(self) -> str:
        took_ms = (self.ended_at - self.started_at) * 1000
        return f"<AttemptOutcome {self.kind} {self.status} {self.reason} {took_ms:.1f} ms at {self.address}>"


class ExchangeOutcome:
    """One call, from its request head to its last answer byte."""

    status: int = 0
    """What the app was answered; 0 when it had left."""
    reason: Reason = Reason.OK
    detail: str = ""
    local: bool = False
    """Whether the sidecar made the answer itself."""
    is_cut: bool = False
    """Whether the answer broke off on its way to the app."""
    attempts: int = 0
    queue_s: float = 0.0
    """Sum of the waits for a slot."""
    token_s: float = 0.0
    """Sum of the waits for the rate."""
    outage_s: float = 0.0
    """Sum of the waits while the outage gate was closed."""
    backoff_s: float = 0.0
    """Sum of the pauses between attempts."""
    bytes_in: int = 0
    """Body bytes towards the app."""
    bytes_out: int = 0
    """Body bytes from the app."""

    def __init__(self, route: str, method: bytes, target: bytes, started_at: float) -> None:
        self.route = route
        self.method = method
        self.target = target
        self.started_at = started_at
        self.ended_at = started_at

    def __repr__(self) -> str:
        return f"<ExchangeOutcome {self.status} {self.reason} after {self.attempts} attempts>"
