"""The right to one attempt: a slot of a limiter, and a token where there is a rate.

    out ── close (how it went) ──▶ given back
     └─── release (nothing came of it) ──▶ given back

Who holds a permit gives it back by ``close``, or by ``release`` in a ``finally``. Only the first of all these calls does
anything, so a slot comes back once, however many ends an attempt has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.base.outcomes import AttemptOutcome, Verdict

if TYPE_CHECKING:
    from proxy.admit.limiter import Limiter


class Permit:
    """One slot that is out; ``is_probe`` says whether as the outage gate's probe. Made by the limiter only."""

    __slots__ = ("_limiter", "is_probe")

    def __init__(self, limiter: Limiter, is_probe: bool) -> None:
        self._limiter: Limiter | None = limiter
        self.is_probe = is_probe

    @property
    def is_out(self) -> bool:
        """Whether the slot has still to be given back."""
        return self._limiter is not None

    def close(self, outcome: AttemptOutcome, verdict: Verdict, held_s: float) -> None:
        """Give the slot back and say how its attempt went; ``held_s`` is how long it was out."""
        limiter = self._limiter
        if limiter is not None:
            self._limiter = None
            limiter.take_back(outcome, verdict, held_s)

    def release(self) -> None:
        """Give back a slot that nothing came of."""
        limiter = self._limiter
        if limiter is not None:
            self._limiter = None
            limiter.take_back_unused(self.is_probe)

    def __repr__(self) -> str:
        return f"<Permit{' of the probe' if self.is_probe else ''} {'out' if self.is_out else 'given back'}>"
