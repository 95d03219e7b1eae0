"""Why a call or an attempt ended as it did: error, metric label, log field, header and diagnosis at once."""

from enum import StrEnum


class Reason(StrEnum):
    """One word per cause. The value is the promise: contract.md lists exactly these."""

    OK = "ok"
    UPSTREAM_STATUS = "upstream_status"
    UPSTREAM_JSON = "upstream_json"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS_FAILED = "tls_failed"
    DNS_FAILED = "dns_failed"
    RESET = "reset"
    STALE_CONNECTION = "stale_connection"
    TRUNCATED = "truncated"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    BAD_RESPONSE = "bad_response"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    DEADLINE = "deadline"
    OUTAGE = "outage"
    BUDGET = "budget"
    DRAINING = "draining"
    CLIENT_GONE = "client_gone"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"


STATUS_OF_REASON: dict[Reason, int] = {
    Reason.CONNECT_FAILED: 502,
    Reason.CONNECT_TIMEOUT: 504,
    Reason.TLS_FAILED: 502,
    Reason.DNS_FAILED: 502,
    Reason.RESET: 502,
    Reason.STALE_CONNECTION: 502,
    Reason.TRUNCATED: 502,
    Reason.HEAD_TIMEOUT: 504,
    Reason.BODY_TIMEOUT: 504,
    Reason.BAD_RESPONSE: 502,
    Reason.QUEUE_FULL: 503,
    Reason.QUEUE_TIMEOUT: 503,
    Reason.DEADLINE: 504,
    Reason.OUTAGE: 503,
    Reason.BUDGET: 503,
    Reason.DRAINING: 503,
    Reason.BAD_REQUEST: 400,
    Reason.TOO_LARGE: 413,
}
"""The status of an answer the sidecar makes itself, where the place that refuses names no closer one.

Reasons that are missing here never make an answer: ``ok``, ``upstream_status`` and ``upstream_json`` pass the upstream's own
on, and nobody is left to read one after ``client_gone``.
"""

NOTHING_WAS_SENT = frozenset(
    {Reason.CONNECT_FAILED, Reason.CONNECT_TIMEOUT, Reason.TLS_FAILED, Reason.DNS_FAILED}
)
"""Failures before the first request byte: any method may be tried again after one of these."""
