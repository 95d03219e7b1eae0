"""The failures that cross folders. A refusal is a value; these are for what should not have happened."""

from __future__ import annotations

from proxy.base.reasons import Reason


class SidegateError(Exception):
    """Base of every exception of ours."""


class DownstreamProtocolError(SidegateError):
    """The app broke HTTP. ``status`` is what it is told before its connection is closed."""

    def __init__(self, status: int, detail: str, reason: Reason = Reason.BAD_REQUEST) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.reason = reason


class ConnectError(SidegateError):
    """No connection could be made. ``reason`` says in which phase: dns, connect or tls."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
