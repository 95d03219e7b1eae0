"""Why a call or an attempt ended as it did: error, metric label, log field, header and diagnosis at once."""

from enum import Enum, StrEnum


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
    INTERNAL = "internal"


class Problem(Enum):
    """What keeps a call from being carried, where HTTP knows it closer than a reason does. ``respond`` has a status for each."""

    MALFORMED = "malformed"
    SLOW = "the app does not finish what it began to send"
    BODY_TOO_LARGE = "body too large"
    TARGET_TOO_LONG = "target too long"
    EXPECTATION = "unknown expectation"
    MISDIRECTED = "for another host"
    HEAD_TOO_LARGE = "head too large"
    NOT_IMPLEMENTED = "not implemented"
    ENDS_HERE = "for whoever stands here, by its Max-Forwards"
    VERSION = "unknown version"
    LOOP = "loop"
    RATE = "no token in time"


NOTHING_WAS_SENT = frozenset(
    {Reason.CONNECT_FAILED, Reason.CONNECT_TIMEOUT, Reason.TLS_FAILED, Reason.DNS_FAILED}
)
"""Failures before the first request byte: any method may be tried again after one of these."""
