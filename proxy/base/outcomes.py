"""What happened, said once per attempt and once per call. Metrics, log, limit and diagnosis read these and nothing else.

Mutable on purpose: each is filled in by the one coroutine that owns it and handed over when it is done. All times are seconds
of the monotonic clock, all durations seconds, all sizes bytes.
"""

from __future__ import annotations

from proxy.base.reasons import Reason

FIRST = "first"
RETRY = "retry"
PROBE = "probe"


class AttemptOutcome:
    """One try at the upstream.

    ``status`` is 0 when no answer head arrived. ``connect_s``, ``tls_s`` and ``dns_s`` are 0.0 on a reused connection;
    ``idle_s`` is how long the connection had been idle, ``uses`` how many requests it had carried before this one, ``age_s``
    its age at the start. ``retry_after_s`` is what the upstream asked for, None when it did not.
    """

    __slots__ = (
        "address",
        "age_s",
        "body_s",
        "bytes_in",
        "bytes_out",
        "connect_s",
        "dns_s",
        "ended_at",
        "error",
        "head_s",
        "idle_s",
        "inflight",
        "kind",
        "reason",
        "retry_after_s",
        "reused",
        "route",
        "started_at",
        "status",
        "tls_s",
        "uses",
    )

    def __init__(self, route: str, kind: str, started_at: float, inflight: int) -> None:
        self.route = route
        self.kind = kind
        self.started_at = started_at
        self.inflight = inflight
        self.ended_at = started_at
        self.status = 0
        self.reason = Reason.OK
        self.error = ""
        self.address = ""
        self.reused = False
        self.uses = 0
        self.age_s = 0.0
        self.idle_s = 0.0
        self.dns_s = 0.0
        self.connect_s = 0.0
        self.tls_s = 0.0
        self.head_s = 0.0
        self.body_s = 0.0
        self.bytes_out = 0
        self.bytes_in = 0
        self.retry_after_s: float | None = None

    def __repr__(self) -> str:
        took_ms = (self.ended_at - self.started_at) * 1000
        return f"<AttemptOutcome {self.kind} {self.status} {self.reason} {took_ms:.1f} ms at {self.address}>"


class ExchangeOutcome:
    """One call, from its request head to its last answer byte.

    ``status`` is what the app was answered (0: nothing, it had left), ``local`` whether the sidecar made that answer itself.
    The waits are sums over the call: ``queue_s`` for a slot, ``token_s`` for the rate, ``backoff_s`` between attempts.
    """

    __slots__ = (
        "attempts",
        "backoff_s",
        "bytes_in",
        "bytes_out",
        "detail",
        "ended_at",
        "local",
        "method",
        "queue_s",
        "reason",
        "route",
        "started_at",
        "status",
        "target",
        "token_s",
    )

    def __init__(self, route: str, method: bytes, target: bytes, started_at: float) -> None:
        self.route = route
        self.method = method
        self.target = target
        self.started_at = started_at
        self.ended_at = started_at
        self.status = 0
        self.reason = Reason.OK
        self.local = False
        self.detail = ""
        self.attempts = 0
        self.queue_s = 0.0
        self.token_s = 0.0
        self.backoff_s = 0.0
        self.bytes_in = 0
        self.bytes_out = 0

    def __repr__(self) -> str:
        return f"<ExchangeOutcome {self.status} {self.reason} after {self.attempts} attempts>"
