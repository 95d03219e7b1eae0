"""The configuration, made ready for carrying calls: one immutable plan, replaced as a whole on reload.

A call takes the plan once, at its start, and keeps it. Limiters and pool outlive plans: they hold state that a reload must not
forget. Retry budgets are made anew with each.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.admit.limiter import Limiter
from proxy.attempt.attempt import AttemptLimits
from proxy.attempt.upstream import Upstream
from proxy.config.settings import Match
from proxy.judge.retry import RetryPolicy
from proxy.wire.request_parser import Request


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What calls of one route get. Durations in seconds."""

    name: str
    path_prefix: bytes
    methods: frozenset[bytes] | None
    limiter: Limiter
    policy: RetryPolicy
    attempt: AttemptLimits
    total_s: float
    max_wait_s: float
    replay_bytes: int

    def takes(self, method: bytes, path: bytes) -> bool:
        """Whether this route is the one of such calls."""
        return path.startswith(self.path_prefix) and (self.methods is None or method in self.methods)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a call needs to know of the configuration."""

    routes: tuple[RoutePlan, ...]
    default: RoutePlan
    passthrough: RoutePlan
    """For calls to other hosts."""
    upstream: Upstream
    prefix: bytes

    def route_of(self, request: Request) -> RoutePlan:
        """Return the first route that takes the request, or the default. It is the path that counts, in whatever form it came."""
        path = request.path
        if self.prefix and path.startswith(self.prefix + b"/"):
            path = path[len(self.prefix) :]
        for route in self.routes:
            if route.takes(request.method, path):
                return route
        return self.default


def matching(match: Match) -> tuple[bytes, frozenset[bytes] | None]:
    """Return a route's match as bytes."""
    methods = None if match.methods is None else frozenset(method.encode() for method in match.methods)
    return match.path_prefix.encode(), methods
