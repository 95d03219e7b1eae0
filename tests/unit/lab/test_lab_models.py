"""The upstream models in virtual time: what each is there to show, and that a seed repeats it."""

import heapq
import math
import random
from collections import Counter
from typing import Any

import pytest

from proxy.lab.model import Decision, Model, ParamError, Request, lognormal_s
from proxy.lab.models import (
    MODELS,
    BadAddress,
    Brownout,
    Collapse,
    DeepPages,
    IdleClosing,
    Quota,
    build_model,
)


def model(name: str, *, seed: int = 1, **settings: object) -> Model:
    return build_model(name, seed=seed, settings={key: str(value) for key, value in settings.items()})


def drive(upstream: Model, threads: int, seconds: float, *, pause_s: float = 1.0) -> Counter[str]:
    """Closed-loop threads in virtual time; counts each ``why`` that ended within ``seconds``."""
    seen: Counter[str] = Counter()
    due = [(0.0, thread) for thread in range(threads)]
    page = 0
    while due[0][0] < seconds:
        now, thread = heapq.heappop(due)
        decision = upstream.arrive(now, Request(page, thread % upstream.addresses))
        page += 1
        end = now + decision.after_s
        if end < seconds:
            seen[decision.why] += 1
        heapq.heappush(due, (end + (0.005 if decision.status == 200 else pause_s), thread))
    return seen


@pytest.mark.parametrize("name", MODELS)
def test_same_seed_decides_the_same(name: str) -> None:
    """A run is repeated by its seed, and by nothing else."""

    def decisions(seed: int) -> list[Decision]:
        upstream = model(name, seed=seed)
        return [upstream.arrive(i * 0.002, Request(i, i % upstream.addresses)) for i in range(300)]

    assert decisions(5) == decisions(5)
    assert decisions(5) != decisions(6)


@pytest.mark.parametrize("name", MODELS)
def test_fleet_within_its_limit_sees_no_overload(name: str) -> None:
    """``concurrency`` is what the model bears: at that many calls in flight no error is one of load."""
    upstream = model(name)
    limit = upstream.concurrency() or 98
    if upstream.rate_per_s(8) is None:
        seen = drive(upstream, limit, 40.0)
        assert set(seen) <= {"served", "random", "truncated", "deep page", "bad address"}
        assert seen["served"] > 1000


@pytest.mark.parametrize(
    ("name", "why"), [("pool", "overflow"), ("collapse", "lock timeout"), ("brownout", "overflow")]
)
def test_whole_fleet_at_once_overloads(name: str, why: str) -> None:
    assert drive(model(name), 98, 20.0)[why] > 100


def test_healthy_never_fails() -> None:
    assert set(drive(model("healthy"), 98, 10.0)) == {"served"}


def test_pool_serves_no_more_than_its_workers_can() -> None:
    """24 workers at 0.12 s are 200 calls a second, however many ask."""
    served = drive(model("pool"), 98, 20.0, pause_s=0.05)["served"] / 20.0
    assert 185 < served < 205


def test_pool_refuses_fast() -> None:
    upstream = model("pool", workers=1, queue=0, service_cv=0)
    first, second = (upstream.arrive(0.0, Request(0)) for _ in range(2))
    assert first == Decision(200, 0.12)
    assert second == Decision(500, 0.005, "overflow")


def test_collapse_serves_less_the_more_it_is_asked() -> None:
    """Goodput at the knee is about knee / service_s and a fraction of that at three times the knee."""
    at_knee, beyond = (drive(model("collapse"), n, 40.0)["served"] / 40.0 for n in (20, 60))
    assert 140 < at_knee < 170
    assert beyond < at_knee / 2


def test_collapse_formula() -> None:
    """30 in flight at knee 20 is x = 1.5: the 30th takes 0.12·1.5·1.5 = 0.27 s."""
    upstream = Collapse(rng=random.Random(1), service_cv=0)
    times = [upstream.arrive(0.0, Request(0)).after_s for _ in range(30)]
    assert times[19] == pytest.approx(0.12)
    assert times[29] == pytest.approx(0.27)


def test_usl_peaks_where_it_says() -> None:
    """Sqrt(0.98 / 0.0015) = 25.6: 26 in flight beat 8 and 98 in flight."""
    upstream = model("usl")
    assert upstream.concurrency() == 26
    few, best, many = (drive(model("usl"), n, 30.0)["served"] for n in (8, 26, 98))
    assert best > 1.2 * few
    assert best > 1.5 * many


@pytest.mark.parametrize("window_s", [1, 10, 60])
def test_quota_never_serves_more_than_a_window_allows(window_s: int) -> None:
    upstream = model("quota", calls=50, window_s=window_s)
    times = [step / 100 for step in range(2 * window_s * 100)]
    served = [t for t in times if upstream.arrive(t, Request(0)).status == 200]
    assert all(later - sooner >= window_s for sooner, later in zip(served, served[50:], strict=False))
    assert len(served) == 100


def test_aligned_quota_starts_afresh_at_the_boundary() -> None:
    """Twice the quota fits around a boundary, which a sliding window forbids."""
    for aligned, expected in ((True, 20), (False, 10)):
        upstream = model("quota", calls=10, window_s=10, aligned=aligned)
        times = [9.9] * 12 + [10.1] * 12
        assert sum(upstream.arrive(t, Request(0)).status == 200 for t in times) == expected


def test_refused_calls_count_when_told_so() -> None:
    """A client that keeps knocking is never let in again."""
    upstream = model("quota", calls=10, window_s=1, count_refused=True)
    statuses = [upstream.arrive(step * 0.05, Request(0)).status for step in range(200)]
    assert statuses.count(200) == 10


def test_quota_rate_fits_every_window() -> None:
    """Eight buckets of burst 1 at a share of the rate each start at most ``calls`` in a window."""
    for calls, window_s in ((150, 1), (1500, 10), (9000, 60)):
        rate = Quota(rng=random.Random(1), calls=calls, window_s=window_s).rate_per_s(8)
        assert 8 * (rate / 8 * window_s + 1) <= calls + 1e-9
        assert rate > 0.9 * calls / window_s


def test_random_errors_at_their_rate() -> None:
    seen = drive(model("random", p=0.1), 50, 60.0, pause_s=0.0)
    assert seen["random"] / seen.total() == pytest.approx(0.1, abs=0.01)


def test_brownout_has_fewer_workers_at_the_end_of_each_period() -> None:
    upstream = Brownout(rng=random.Random(1))
    assert [upstream.workers_at(t) for t in (0.0, 5.9, 6.0, 9.9, 10.0, 16.5)] == [24, 24, 10, 10, 24, 10]
    assert [upstream.next_change_s(t) for t in (0.0, 6.0, 9.9, 10.0)] == [6.0, 10.0, 10.0, 16.0]


def test_brownout_serves_less_while_it_lasts() -> None:
    upstream = Brownout(rng=random.Random(1), service_cv=0)
    up, down = Counter[bool](), Counter[bool]()
    for step in range(10_000):
        now = step * 0.004
        decision = upstream.arrive(now, Request(0))
        (down if upstream.workers_at(now) == 10 else up)[decision.status == 200] += 1
    assert up[True] / up.total() == pytest.approx(0.8, abs=0.05)
    assert down[True] / down.total() == pytest.approx(0.33, abs=0.05)


def test_truncated_cuts_its_share_in_both_framings() -> None:
    upstream = model("truncated", p=0.2)
    decisions = [upstream.arrive(0.0, Request(0)) for _ in range(2000)]
    cut = [each for each in decisions if each.sent_share < 1.0]
    assert len(cut) / 2000 == pytest.approx(0.2, abs=0.03)
    assert {each.chunked for each in cut} == {True, False}
    assert {each.status for each in decisions} == {200}


def test_idle_close_is_drawn_around_its_middle() -> None:
    upstream = IdleClosing(rng=random.Random(1), idle_s=0.5, jitter_s=0.1)
    drawn = [upstream.idle_close_s() for _ in range(500)]
    assert 0.4 <= min(drawn) < 0.42
    assert 0.58 < max(drawn) <= 0.6
    assert upstream.closing_s == 0.1


def test_only_idle_closing_closes_idle_connections() -> None:
    assert [name for name in MODELS if model(name).idle_close_s() is not None] == ["idle-closing"]


def test_deeper_pages_take_longer_and_the_deepest_time_out() -> None:
    """Up to some 15 % of the deepest pages end in a 500, none of the first ones."""
    upstream = DeepPages(rng=random.Random(1), workers=600, deepest=1000)
    shallow, deep = (
        [upstream.arrive(start + i * 0.01, Request(page)) for i in range(2000)]
        for start, page in ((0.0, 0), (100.0, 1000))
    )
    assert {each.status for each in shallow} == {200}
    assert sum(each.status == 500 for each in deep) / 2000 == pytest.approx(0.16, abs=0.03)
    assert max(each.after_s for each in deep) == 1.5


def test_bad_address_alone_fails() -> None:
    upstream = BadAddress(rng=random.Random(1), p=0.5, queue=100_000)
    failed = Counter(
        address
        for _ in range(400)
        for address in range(4)
        if upstream.arrive(0.0, Request(0, address)).status == 500
    )
    assert set(failed) == {2}
    assert 160 < failed[2] < 240


def test_lognormal_has_the_mean_and_spread_asked_for() -> None:
    rng = random.Random(1)
    drawn = [lognormal_s(rng, 0.12, 0.5) for _ in range(20_000)]
    mean = math.fsum(drawn) / len(drawn)
    spread = math.sqrt(math.fsum((each - mean) ** 2 for each in drawn) / len(drawn))
    assert mean == pytest.approx(0.12, rel=0.02)
    assert spread / mean == pytest.approx(0.5, rel=0.05)
    assert lognormal_s(rng, 0.12, 0) == 0.12


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"worker": "3"}, "pool has no parameter 'worker'; it has service_s, service_cv, workers, queue"),
        ({"workers": "3.5"}, "workers must be a whole number, not '3.5'"),
        ({"workers": "0"}, "workers must be from 1 to 10000, not 0"),
        ({"service_s": "soon"}, "service_s must be a number, not 'soon'"),
        ({"service_s": "nan"}, "service_s must be from 0.001 to 60, not nan"),
    ],
)
def test_wrong_parameter_is_refused_with_its_rule(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ParamError) as caught:
        model("pool", **settings)
    assert str(caught.value) == told


def test_quota_window_is_one_of_three() -> None:
    with pytest.raises(ParamError, match="window_s must be 1, 10 or 60, not 7"):
        model("quota", window_s=7)


def test_flag_parameter_takes_true_or_false() -> None:
    assert model("quota", aligned="TRUE").aligned is True  # type: ignore[attr-defined]
    with pytest.raises(ParamError, match="aligned must be true or false, not 'yes'"):
        model("quota", aligned="yes")


@pytest.mark.parametrize("name", MODELS)
def test_every_model_says_what_it_is(name: str) -> None:
    """The listing needs a sentence for each model and a reason for each parameter."""
    kind = MODELS[name]
    assert kind.__doc__
    assert kind.pages > 0
    for spec in kind.params().values():
        assert spec.metadata["why"]
        assert spec.metadata["low"] <= spec.default <= spec.metadata["high"]
