"""The pod's token bucket, on aiolimiter: rate r and burst b are, in principle, ``AsyncLimiter(b, b / r)``.

Two things keep it from being just that. The event loop's clock counts whole milliseconds and stands still within a turn, so
tokens are seen late: a bucket of one token would lose what drips meanwhile (at 50/s a wake-up 1 ms late costs 5 % of the
rate). It holds what drips in 5 ms on top of one token, where the burst is not larger anyway. And calls reach the upstream with
a jitter of some milliseconds, so a bucket that lets exactly r + b through in a second shows more than that to whoever counts at
the other end now and then. It drips 1.1 % slower than r, which is room for 11 ms: the 5 ms above and 6 ms of jitter:

    size = max(b, 1 + 0.005 * r)            drip = 0.989 * r

At high rates tokens are fetched from the bucket in handfuls of k, so that most calls pay with a subtraction; hand and bucket
together never hold more than ``size``:

    k = floor(0.0025 * r)                   AsyncLimiter(size - k, (size - k) / drip)

Worked example: r = 1000, b = 1: size = 6, k = 2, drip = 989. A second lets at most 989 + 6 = 995 calls through, 6 fewer than
r + b, and the steady state is 0.989 r. r = 200, b = 20: size = 20, at most 197.8 + 20 = 217 calls.
"""

from __future__ import annotations

from contextlib import suppress

from aiolimiter import AsyncLimiter

_LATENESS_S = 0.005
_DRIP = 0.989


class TokenBucket:
    """Tokens that drip at a steady rate. One taker at a time waits; whoever is refused waits elsewhere."""

    __slots__ = ("_hand", "_handful", "_limiter", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        size = max(burst, 1.0 + _LATENESS_S * rate_per_s)
        handful = int(_LATENESS_S * rate_per_s / 2)
        self._handful = max(1, handful)
        self._hand = 0
        self._limiter = AsyncLimiter(size - handful, (size - handful) / (_DRIP * rate_per_s))

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

    def next_token_s(self) -> float:
        """Return how long until there is a token, to about 1 % of the burst, in seconds; 0.0 when there is one."""
        return max(0.0, (1.0 - self.tokens()) / self.rate_per_s)

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
