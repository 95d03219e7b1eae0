"""What a learner knows is one value: written down, read by another pod, it goes on exactly as it would have.

The windows come from a small upstream of the test's own, which takes the learner through its modes; what the modes do there is
no matter here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import cache

import msgspec
import pytest

from proxy.learn.decision import Decision
from proxy.learn.evidence.tally import Window
from proxy.learn.learner import Learner

LATENCY_S = 0.1
PERIOD_S = 0.5

Upstream = Callable[[Decision], Window]


def window(ok: int, latency_s: float, n: float, *, fast: int = 0, slow: int = 0, wanted: int = 200) -> Window:
    log = math.log(latency_s)
    return Window(
        span_s=PERIOD_S,
        ok=ok,
        bad=fast + slow,
        fast=fast,
        took_s=ok * latency_s,
        log=ok * log,
        log2=ok * (log * log + 0.04),
        n=n,
        wanted=wanted,
        waiting=max(0, wanted - round(n)),
        pods=3,
    )


def kink(rng: random.Random, room: Callable[[], float]) -> Upstream:
    """Latency rises with what is beyond its room."""

    def carry(decision: Decision) -> Window:
        n = float(min(decision.slots, 200))
        latency_s = LATENCY_S * max(1.0, n / room()) * rng.uniform(0.97, 1.03)
        return window(round(n * PERIOD_S / latency_s), latency_s, n)

    return carry


def refusing(rng: random.Random, per_s: float) -> Upstream:
    """So many a second; what is beyond is refused at once."""

    def carry(decision: Decision) -> Window:
        n = float(min(decision.slots, 200))
        started = n * PERIOD_S / LATENCY_S
        if decision.rate:
            started = min(started, decision.rate * PERIOD_S)
        ok = round(min(started, per_s * PERIOD_S) * rng.uniform(0.99, 1.0))
        return window(ok, LATENCY_S, n, fast=max(0, round(started) - ok))

    return carry


def closing(rng: random.Random, quota: int) -> Upstream:
    """So many pages every 8 s, then refusals that close the gates for what is left of them."""
    at, spent = 0.0, 0

    def carry(decision: Decision) -> Window:
        nonlocal at, spent
        at += PERIOD_S
        if at >= 8.0:
            at, spent = 0.0, 0
        n = float(min(decision.slots, 20))
        if spent >= quota:
            shut = Window(span_s=PERIOD_S, wanted=200, waiting=200, shut=1.0, shut_now=1.0, pods=3)
            shut.shut_now = 0.0 if at >= 7.5 else 1.0
            return shut
        started = round(min(n * PERIOD_S / LATENCY_S, (decision.rate or 1e9) * PERIOD_S))
        ok = min(started, quota - spent)
        spent += ok
        return window(ok, LATENCY_S * rng.uniform(0.97, 1.03), n, fast=started - ok)

    return carry


def changing(rng: random.Random) -> Upstream:
    """Half of its room for a minute, now and then."""
    steps = iter(range(1_000_000))
    return kink(rng, lambda: 40.0 if next(steps) // 120 % 2 == 0 else 15.0)


UPSTREAMS: dict[str, Callable[[random.Random], Upstream]] = {
    "kink": lambda rng: kink(rng, lambda: 30.0),
    "changing": changing,
    "refusing": lambda rng: refusing(rng, 50.0),
    "closing": lambda rng: closing(rng, 200),
}


@cache
def recorded(name: str) -> tuple[list[Window], list[str]]:
    """The windows of some minutes, and the mode after each."""
    learner, carry = Learner(start=4), UPSTREAMS[name](random.Random(7))
    decision = Decision(4)
    windows, modes = [], []
    for _ in range(900):
        windows.append(carry(decision))
        decision = learner.step(windows[-1])
        modes.append(learner.name)
    return windows, modes


def test_the_recordings_reach_every_mode() -> None:
    """Else what follows would say nothing of one."""
    reached = {mode for name in UPSTREAMS for mode in recorded(name)[1]}
    assert reached == {"search", "hold", "pace", "stop"}


def copied(learner: Learner) -> Learner:
    return msgspec.json.decode(msgspec.json.encode(learner), type=Learner)


@pytest.mark.parametrize("name", UPSTREAMS)
def test_a_learner_that_was_written_down_goes_on_as_the_original(name: str) -> None:
    """From every moment of the recording, for a while: the same decisions with the same reasons, and the same state."""
    windows, modes = recorded(name)
    original = Learner(start=4)
    copies: list[tuple[int, Learner]] = []
    for number, each in enumerate(windows):
        decision = original.step(each)
        for _, copy in copies:
            assert copy.step(each) == decision
        written = msgspec.json.encode(original)
        assert all(msgspec.json.encode(copy) == written for _, copy in copies)
        copies = [(since, copy) for since, copy in copies if number - since < 30]
        if number % 10 == 0 or modes[number] != modes[number - 1]:
            copies.append((number, copied(original)))


@pytest.mark.parametrize("name", UPSTREAMS)
def test_a_copy_shares_nothing_with_the_original(name: str) -> None:
    windows, _ = recorded(name)
    original = Learner(start=4)
    for each in windows[:300]:
        original.step(each)
    copy = copied(original)
    written = msgspec.json.encode(copy)
    for each in windows[300:400]:
        original.step(each)
    assert msgspec.json.encode(copy) == written
    assert msgspec.json.encode(original) != written


def test_a_learner_has_its_place_in_a_record() -> None:
    """However long it has learnt: what it remembers is bounded."""
    assert max(len(msgspec.json.encode(learner_after(name))) for name in UPSTREAMS) < 64 << 10


def learner_after(name: str) -> Learner:
    learner = Learner(start=4)
    for each in recorded(name)[0]:
        learner.step(each)
    return learner


def test_a_learner_that_goes_on_from_elsewhere_holds_that_height() -> None:
    learner = Learner.at(17)
    assert (learner.name, learner.resting, learner.slots) == ("hold", 17, 17)
    assert learner.step(window(85, LATENCY_S, 17.0)).slots == 17
    assert copied(learner) == learner
