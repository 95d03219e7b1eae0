"""Whole slots for each pod: max-min by what each wants, odd slots in turns, and their sum is the total.

    1. real shares: nobody gets more than it wants, beyond that all get the same
    2. each gets the whole part; the odd slots go to the pods that are owed most, for some seconds at a time.
       A pod that wants nothing takes none while another does
    3. slots that nobody wants lie evenly with all
    4. giver first: a slot that moves counts at its giver until the giver's call has ended, unless calls are short

Worked example: a total of 7 for wants of 1, 9 and 9: real 1, 3 and 3. A total of 8: 1, 3.5 and 3.5; the odd one goes to and fro.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

_TURN_S = 2.0
_TURN_CALLS = 8.0
"""A turn lasts so many calls, and no less than ``_TURN_S``: each change of hands costs a call's time."""

_SHORT_S = 0.3

_WANTS_NONE = 0.1
"""What a pod wants, below which it carried no call for some seconds."""


def max_min(total: float, wants: Mapping[K, float]) -> dict[K, float]:
    """Return real shares: none above its want, equal beyond that, their sum the total where so much is wanted."""
    shares: dict[K, float] = {}
    left, count = float(total), len(wants)
    for pod, want in sorted(wants.items(), key=lambda item: item[1]):
        shares[pod] = min(want, left / count)
        left -= shares[pod]
        count -= 1
    return shares


class Shares:
    """Remembers who was owed what, and who holds what."""

    def __init__(self, held: Mapping[str, int] | None = None) -> None:
        self.held: dict[str, int] = dict(held or {})
        """Slots in force."""
        self.leaving: dict[str, int] = {}
        """Slots that still carry a call of a pod that must give them up."""
        self._due: dict[str, int] = dict(self.held)
        """Slots in force without those that nobody wanted: to have had more than one wants is no debt."""
        self._owed: dict[str, float] = {}
        self._turn_ends = 0.0

    def give(
        self,
        t: float,
        passed_s: float,
        total: int,
        wants: Mapping[str, float],
        most: Mapping[str, int],
        inflight: Mapping[str, int],
        call_s: float,
    ) -> dict[str, int]:
        """Return each pod's slots. ``t`` is any clock in seconds, ``call_s`` what a call takes, ``inflight`` as last read."""
        idle = {pod for pod, want in wants.items() if want < _WANTS_NONE}
        wants = {pod: min(float(most[pod]), max(1.0, wants[pod])) for pod in wants}
        whole = self._whole(t, passed_s, min(total, sum(most.values())), wants, idle, most, call_s)
        before = self.held
        could = {pod: before.get(pod, 0) + self.leaving.get(pod, 0) for pod in whole}
        self.leaving = {
            pod: n for pod in whole if (n := min(inflight.get(pod, 0), could[pod]) - whole[pod]) > 0
        }
        granted = dict(whole)
        # A call that ends before the next plan overlaps for less time than its slot would lie idle.
        missing = sum(self.leaving.values()) if call_s > _SHORT_S else 0
        self.leaving = self.leaving if missing else {}
        growers = [pod for pod in whole if whole[pod] > before.get(pod, 0) and pod not in self.leaving]
        while missing and growers:
            for pod in list(growers):
                if not missing:
                    break
                granted[pod] -= 1
                missing -= 1
                if granted[pod] <= before.get(pod, 0):
                    growers.remove(pod)
        self.held = granted
        self._due = {pod: min(n, self._due[pod]) for pod, n in granted.items()}
        return granted

    def _whole(
        self,
        t: float,
        passed_s: float,
        total: int,
        wants: Mapping[str, float],
        idle: Collection[str],
        most: Mapping[str, int],
        call_s: float,
    ) -> dict[str, int]:
        real = max_min(total, wants)
        whole = {pod: int(share + 1e-9) for pod, share in real.items()}
        turn_s = max(_TURN_S, _TURN_CALLS * call_s)
        self._owed = {
            pod: min(2 * turn_s, max(-2 * turn_s, self._owed.get(pod, 0.0) + owed * passed_s))
            for pod in real
            for owed in (real[pod] - self._due.get(pod, real[pod]),)
        }
        odd = min(total, int(sum(real.values()) + 1e-6)) - sum(whole.values())
        if t >= self._turn_ends:
            self._turn_ends = t + turn_s
            keeps = set[str]()
        else:
            keeps = {pod for pod in real if self._due.get(pod, 0) > whole[pod]}
        takers = sorted(
            (pod for pod in real if whole[pod] < wants[pod]),
            key=lambda pod: (pod not in idle, pod in keeps, self._owed[pod], pod),
            reverse=True,
        )
        for pod in takers[:odd]:
            whole[pod] += 1
        self._due = dict(whole)
        self._spread(total - sum(whole.values()), whole, most)
        return whole

    def _spread(self, spare: int, whole: dict[str, int], most: Mapping[str, int]) -> None:
        """Let what nobody wants lie where least is."""
        while spare > 0:
            open_ = sorted(
                (pod for pod in whole if whole[pod] < most[pod]), key=lambda pod: (whole[pod], pod)
            )
            if not open_:
                return
            each = max(1, spare // len(open_))
            for pod in open_:
                give = min(each, spare, most[pod] - whole[pod])
                whole[pod] += give
                spare -= give
                if not spare:
                    return
