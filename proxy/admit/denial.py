"""Why a caller was not let in, in words that an app's developer understands."""

from __future__ import annotations

from typing import NamedTuple

from proxy.admit.limit import UNLIMITED
from proxy.admit.limiter import Limiter
from proxy.admit.waiter import Denied
from proxy.base.reasons import Problem, Reason


class Denial(NamedTuple):
    """A refusal: why, a sentence, and in how many seconds asking again may help."""

    why: Reason | Problem
    detail: str
    retry_after_s: float = 1.0


STOPPING = Denial(Reason.DRAINING, "the sidecar is stopping")


def denial(
    limiter: Limiter, denied: Denied, *, now: float, waited_s: float, is_late: bool, is_rate_bound: bool
) -> Denial:
    """Return the refusal. ``waited_s`` is how long the caller waited, ``is_late`` whether its deadline has passed."""
    retry_after_s = max(1.0, limiter.predicted_wait_s(now))
    if denied is Denied.QUEUE_FULL:
        return Denial(Reason.QUEUE_FULL, f"{limiter.waiting} calls are waiting already", retry_after_s)
    if denied is Denied.CLOSED:
        return STOPPING
    if denied is Denied.OUTAGE:
        detail = f"everything has failed for {now - limiter.gated.closed_at:.1f} s; held for {waited_s:.1f} s"
        last = limiter.gated.last_failure()
        if last:
            detail += f"; the last attempt: {last}"
        return Denial(Reason.OUTAGE, detail, max(retry_after_s, limiter.next_probe_s(now)))
    if denied is Denied.TIMED_OUT and is_late:
        return Denial(Reason.DEADLINE, f"no turn within {waited_s:.1f} s")
    others = "another call waits" if limiter.waiting == 1 else f"{limiter.waiting or 'no'} other calls wait"
    words = f"the turn would come in {retry_after_s:.1f} s: {others}, behind {_bounds(limiter)}"
    return Denial(Problem.RATE if is_rate_bound else Reason.QUEUE_TIMEOUT, words, retry_after_s)


def _bounds(limiter: Limiter) -> str:
    """Return what bounds a limiter, in words."""
    bounds = []
    if limiter.limit.value < UNLIMITED:
        bounds.append(f"a limit of {limiter.limit.value} attempts at a time")
    if limiter.bucket is not None:
        bounds.append(f"a rate of {limiter.bucket.rate_per_s:g} attempts a second")
    return " and ".join(bounds) or "the upstream's own wish to be left alone"
