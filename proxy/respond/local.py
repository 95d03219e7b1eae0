"""Answers that the sidecar makes itself. ``ANSWERS`` is the one place that turns a reason into a status."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from proxy.base.reasons import Problem, Reason
from proxy.wire.encode import status_line


class Answer(NamedTuple):
    """What the app is told. ``helps`` says whether waiting helps, which is when Retry-After is sent."""

    status: int
    reason: Reason
    title: str
    helps: bool = False


_UNREACHABLE: Final = "The upstream cannot be reached"
_LOST: Final = "The upstream closed the connection without an answer"
_INVALID: Final = "The request cannot be carried"
_TOO_LARGE: Final = "The request is too large"

ANSWERS: Final[dict[Reason | Problem, Answer]] = {
    Reason.CONNECT_FAILED: Answer(502, Reason.CONNECT_FAILED, _UNREACHABLE),
    Reason.CONNECT_TIMEOUT: Answer(504, Reason.CONNECT_TIMEOUT, "The upstream cannot be reached in time"),
    Reason.TLS_FAILED: Answer(502, Reason.TLS_FAILED, "TLS with the upstream failed"),
    Reason.DNS_FAILED: Answer(502, Reason.DNS_FAILED, "The upstream's name cannot be resolved"),
    Reason.RESET: Answer(502, Reason.RESET, _LOST),
    Reason.STALE_CONNECTION: Answer(502, Reason.STALE_CONNECTION, _LOST),
    Reason.TRUNCATED: Answer(502, Reason.TRUNCATED, "The upstream's answer broke off"),
    Reason.HEAD_TIMEOUT: Answer(504, Reason.HEAD_TIMEOUT, "The upstream did not answer in time"),
    Reason.BODY_TIMEOUT: Answer(504, Reason.BODY_TIMEOUT, "The upstream's answer stalled"),
    Reason.BAD_RESPONSE: Answer(502, Reason.BAD_RESPONSE, "The upstream's answer is not valid HTTP"),
    Reason.UPSTREAM_STATUS: Answer(
        502, Reason.UPSTREAM_STATUS, "The upstream's answer was too large to keep"
    ),
    Reason.CLIENT_GONE: Answer(400, Reason.CLIENT_GONE, "The request broke off"),
    Reason.QUEUE_FULL: Answer(503, Reason.QUEUE_FULL, "Too many calls are waiting", helps=True),
    Reason.QUEUE_TIMEOUT: Answer(
        503, Reason.QUEUE_TIMEOUT, "The wait for a turn would take too long", helps=True
    ),
    Problem.RATE: Answer(429, Reason.QUEUE_TIMEOUT, "The wait for a turn would take too long", helps=True),
    Reason.DEADLINE: Answer(504, Reason.DEADLINE, "The call ran out of time"),
    Reason.OUTAGE: Answer(503, Reason.OUTAGE, "The upstream fails every call", helps=True),
    Reason.BUDGET: Answer(503, Reason.BUDGET, "The retry budget is used up"),
    Reason.DRAINING: Answer(503, Reason.DRAINING, "The sidecar is stopping"),
    Reason.INTERNAL: Answer(500, Reason.INTERNAL, "The sidecar failed"),
    Problem.ENDS_HERE: Answer(200, Reason.OK, "The sidecar is where the request ends"),
    Problem.MALFORMED: Answer(400, Reason.BAD_REQUEST, _INVALID),
    Problem.SLOW: Answer(408, Reason.BAD_REQUEST, _INVALID),
    Problem.BODY_TOO_LARGE: Answer(413, Reason.TOO_LARGE, _TOO_LARGE),
    Problem.TARGET_TOO_LONG: Answer(414, Reason.TOO_LARGE, _TOO_LARGE),
    Problem.EXPECTATION: Answer(417, Reason.BAD_REQUEST, _INVALID),
    Problem.MISDIRECTED: Answer(421, Reason.BAD_REQUEST, _INVALID),
    Problem.HEAD_TOO_LARGE: Answer(431, Reason.TOO_LARGE, _TOO_LARGE),
    Problem.NOT_IMPLEMENTED: Answer(501, Reason.BAD_REQUEST, _INVALID),
    Problem.VERSION: Answer(505, Reason.BAD_REQUEST, _INVALID),
    Problem.LOOP: Answer(508, Reason.BAD_REQUEST, _INVALID),
}
"""``ok`` and ``upstream_json`` are missing: the upstream's own answer is passed on. So it is with ``upstream_status``, unless a
large answer was let go for a retry that came to nothing. ``client_gone`` is for an app whose body broke HTTP half-way."""


class LocalReply:
    """An answer of the sidecar's own: why, a sentence for whoever reads it, and how long to wait where waiting helps."""

    __slots__ = ("answer", "detail", "retry_after_s")

    def __init__(self, why: Reason | Problem, detail: str, retry_after_s: float = 1.0) -> None:
        self.answer = ANSWERS[why]
        self.detail = detail
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The answer's status."""
        return self.answer.status

    @property
    def reason(self) -> Reason:
        """The answer's reason."""
        return self.answer.reason

    def encode(self, marks: bytes, *, answers_head: bool) -> bytes:
        """Return head and RFC 9457 problem body; a HEAD's answer has the head only. ``marks`` end the head."""
        status, reason, title, helps = self.answer
        problem = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": self.detail,
            "reason": reason.value,
        }
        body = json.dumps(problem).encode()
        head = [
            status_line(status),
            b"Content-Type: application/problem+json\r\nContent-Length: %d\r\n" % len(body),
            b"Sidegate-Reason: %b\r\n" % reason.value.encode(),
            b"Retry-After: %d\r\n" % max(1, round(self.retry_after_s)) if helps else b"",
            marks,
        ]
        return b"".join(head if answers_head else [*head, body])

    def __repr__(self) -> str:
        return f"<LocalReply {self.status} {self.reason} {self.detail!r}>"
