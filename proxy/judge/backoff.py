"""The pause before a retry.

    full = min(max, base * 2^(n-1))          n: the retry's number, from 1
    pause = full / 2 + uniform(0, full / 2)  equal jitter: never near zero, so an overloaded upstream is left alone

Worked example: base 0.1 s, max 10 s: the first pause lies in 0.05..0.1 s, the third in 0.2..0.4 s, the eighth in 5..10 s.
Source: "equal jitter" of the AWS Architecture Blog's "Exponential Backoff And Jitter".
"""

from __future__ import annotations

import random


def pause_s(retry: int, *, base_s: float, max_s: float, rng: random.Random) -> float:
    """Return the pause before retry number ``retry`` (from 1), in seconds."""
    full_s = min(max_s, base_s * 2.0 ** min(retry - 1, 60))
    return full_s / 2 + rng.uniform(0.0, full_s / 2)
