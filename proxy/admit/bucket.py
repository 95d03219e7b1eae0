"""The pod's token bucket, on aiolimiter: rate r and burst b are ``AsyncLimiter(b, b / r)``.

The event loop's clock counts whole milliseconds, so a bucket of exactly b tokens would lose what drips while a timer is late:
with burst 1 at 50/s a wake-up 1 ms late costs 5 % of the rate. The bucket is therefore larger than b by ``slack``, what drips
in 2 ms. A slack below one token cannot be seen in a count of whole calls; what exceeds that, at rates above 450/s, is taken
off the rate itself:

    slack = 0.002 * r            rate' = max(0.98 r, r - max(0, slack - 0.9))

At high rates tokens are fetched from the bucket in handfuls of k, so that most calls pay with a subtraction. A handful is part
of the slack, so bucket and hand together never hold more than b + slack:

    k = floor(slack / 2)         AsyncLimiter(b + slack - k, (b + slack - k) / rate')

Any second therefore sees at most rate' + b + slack calls. Worked example: r = 1000, b = 1: slack = 2.0, rate' = 998.9, k = 1,
and no second sees more than 998.9 + 1 + 2.0 = 1001.9, that is 1001 calls = r + b; the steady state is 0.9989 r.
"""

from __future__ import annotations

from contextlib import suppress

from aiolimiter import AsyncLimiter

_LATENESS_S = 0.002
_HIDDEN_TOKENS = 0.9


class TokenBucket:
    """Tokens that drip at a steady rate. One taker at a time waits; whoever is refused waits elsewhere."""

    __slots__ = ("_hand", "_handful", "_limiter", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        slack = _LATENESS_S * rate_per_s
        drip_per_s = max(rate_per_s - max(0.0, slack - _HIDDEN_TOKENS), rate_per_s * 0.98)
        handful = int(slack / 2)
        size = burst + slack - handful
        self._handful = max(1, handful)
        self._hand = 0
        self._limiter = AsyncLimiter(size, size / drip_per_s)

    def try_take(self) -> bool:
        """Take one token if there is one; whether it was taken."""
        if self._hand:
            self._hand -= 1
            return True
        limiter = self._limiter
        wanted = self._handful if limiter.has_capacity(self._handful) else 1
        if wanted == 1 and not limiter.has_capacity():
            return False
        # With capacity in this very step of the loop, acquire() comes to its end without suspending.
        with suppress(StopIteration):
            limiter.acquire(wanted).send(None)
        self._hand = wanted - 1
        return True

    async def take(self) -> None:
        """Take one token, waiting until there is one. Cancelling takes none."""
        if not self.try_take():
            await self._limiter.acquire()

    def tokens(self) -> float:
        """Return how many tokens there are, to about 1 % of the burst. For gauges: it asks a dozen times."""
        low, high = 0.0, self._limiter.max_rate
        for _ in range(12):
            middle = (low + high) / 2
            if self._limiter.has_capacity(middle):
                low = middle
            else:
                high = middle
        return min(low + self._hand, self.burst)

    def __repr__(self) -> str:
        return f"<TokenBucket {self.rate_per_s:g}/s burst={self.burst:g}>"
