"""Halves of the experiment as they may have gone."""

from __future__ import annotations

from proxy.admit.experiment import Half


def half(
    ok: int,
    bad: int = 0,
    *,
    took_s: float = 0.12,
    limit: float = 10.0,
    seconds: float = 2.0,
    binding: bool = True,
    used: float = 1.0,
    clean: bool = True,
) -> Half:
    """Return one that is over.

    So many answers and failures of ``took_s`` each, ``used`` of ``limit`` in flight for ``seconds``.
    """
    it = Half(0, limit, 100.0)
    it.was_binding = binding
    it.is_clean = clean
    it.stay(100.0 + seconds, seconds, int(used * limit))
    for number in range(ok + bad):
        it.note(101.0, number < ok, took_s)
    return it
