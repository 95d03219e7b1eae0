"""The one value by which anything that was learnt changes, with the words that `/decisions` shows."""

from __future__ import annotations

from msgspec import Struct


class Decision(Struct):
    """What all pods together may use from now on. ``rate`` is starts a second, 0.0 for none; ``slots`` is at least 1."""

    slots: int
    rate: float = 0.0
    because: str = ""
    """Why, in words for a stranger; "" where it goes on as before."""
