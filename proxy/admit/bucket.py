"""The pod's token bucket, on aiolimiter: rate r and burst b are ``AsyncLimiter(b, b / r)``.

The event loop's clock counts whole milliseconds, so a bucket of exactly b tokens would lose what drips while a timer is late:
with burst 1 at 50/s a wake-up 1 ms late costs 5 % of the rate. The bucket is therefore a little larger than b, by ``slack``
tokens, enough for 2 ms of lateness. A slack below one token cannot be seen in a count of whole calls (any second holds at most
``floor(r + b + slack)`` of them, and r + b is whole or the floor hides it); what exceeds that, at rates above 450/s, is taken
off the rate itself:

    slack = 0.002 * r            rate' = r - max(0, slack - 0.9)

Worked example: r = 1000, b = 1: slack = 2.0, rate' = 998.9, so no second sees more than 998.9 + 1 + 2.0 = 1001.9, that is 1001
calls, and the steady state is 0.9989 r.
"""

from __future__ import annotations

from contextlib import suppress

from aiolimiter import AsyncLimiter

_LATENESS_S = 0.002
_HIDDEN_TOKENS = 0.9


class TokenBucket:
    """Tokens that drip at a steady rate. One taker at a time waits; whoever is refused waits elsewhere."""

    __slots__ = ("_limiter", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        slack = _LATENESS_S * rate_per_s
        drip_per_s = max(rate_per_s - max(0.0, slack - _HIDDEN_TOKENS), rate_per_s * 0.98)
        size = burst + slack
        self._limiter = AsyncLimiter(size, size / drip_per_s)

    def try_take(self) -> bool:
        """Take one token if there is one; whether it was taken."""
        if not self._limiter.has_capacity():
            return False
        # With capacity in this very step of the loop, acquire() comes to its end without suspending.
        with suppress(StopIteration):
            self._limiter.acquire().send(None)
        return True

    async def take(self) -> None:
        """Take one token, waiting until there is one. Cancelling takes none."""
        await self._limiter.acquire()

    def tokens(self) -> float:
        """Return how many tokens the bucket holds, to about 1 % of the burst. For gauges: it asks a dozen times."""
        low, high = 0.0, self._limiter.max_rate
        for _ in range(12):
            middle = (low + high) / 2
            if self._limiter.has_capacity(middle):
                low = middle
            else:
                high = middle
        return min(low, self.burst)

    def __repr__(self) -> str:
        return f"<TokenBucket {self.rate_per_s:g}/s burst={self.burst:g}>"
