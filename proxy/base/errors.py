"""The failures that cross folders. A refusal is a value; these are for what should not have happened."""

from __future__ import annotations

from proxy.base.reasons import Problem, Reason


class SidegateError(Exception):
    """Base of every exception of ours."""


class DownstreamProtocolError(SidegateError):
    """The app broke HTTP. ``problem`` is what it is told before its connection is closed."""

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail


class ConnectError(SidegateError):
    """No connection could be made. ``reason`` says in which phase: dns, connect or tls.

    ``is_local`` says that something of ours was missing, such as descriptors or ports: it tells nothing of the upstream.
    """

    def __init__(self, reason: Reason, detail: str, *, is_local: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.is_local = is_local
