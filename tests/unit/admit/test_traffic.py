"""What is remembered of the attempts: rates over 16 s, smoothed latency and share of failures, and the latency's floor."""

from __future__ import annotations

import random

import pytest

from proxy.admit.traffic import Traffic

START = 1000.0


def steady(
    traffic: Traffic, since: float, seconds: float, per_s: float, *, took_s: float = 0.1, ok: bool = True
) -> float:
    """Note attempts at a steady rate; return when the last was."""
    for number in range(int(seconds * per_s)):
        traffic.note(since + (number + 1) / per_s, ok, took_s)
    return since + seconds


def test_rates_are_those_of_the_last_sixteen_seconds() -> None:
    traffic = Traffic(START)
    now = steady(traffic, START, 40.0, 10.0)
    now = steady(traffic, now, 40.0, 5.0)
    assert traffic.ok_per_s(now) == pytest.approx(5.0, rel=0.08)
    now = steady(traffic, now, 40.0, 2.0, ok=False)
    assert traffic.ok_per_s(now) == 0.0
    assert traffic.attempts_per_s(now) == pytest.approx(2.0, rel=0.08)
    assert traffic.failed_share(now) == 1.0
    assert traffic.attempts_per_s(now + 8.0) == pytest.approx(1.0, rel=0.15)
    assert (traffic.attempts_per_s(now + 17.0), traffic.failed_share(now + 17.0)) == (0.0, 0.0)


def test_the_share_of_failures_is_that_of_both_counts() -> None:
    traffic = Traffic(START)
    assert traffic.failed_share(START) == 0.0
    steady(traffic, START, 1.0, 6.0)
    steady(traffic, START, 1.0, 2.0, ok=False)
    assert traffic.failed_share(START + 1.0) == 0.25


def test_the_first_latency_is_taken_as_it_is_and_later_ones_smoothed() -> None:
    traffic = Traffic(START)
    traffic.note(START, False, 9.0)
    assert traffic.latency_s == 0.0, "a failure has no latency to speak of"
    traffic.note(START, True, 0.2)
    assert traffic.latency_s == 0.2
    traffic.note(START, True, 0.4)
    assert 0.2 < traffic.latency_s < 0.23
    steady(traffic, START, 20.0, 10.0, took_s=0.4)
    assert traffic.latency_s == pytest.approx(0.4, rel=0.01)


def test_one_answer_that_took_an_hour_is_no_news_and_many_slow_ones_are() -> None:
    """A process that was stopped; and an upstream that takes a hundred times as long from now on."""
    traffic = Traffic(START)
    now = steady(traffic, START, 10.0, 10.0)
    traffic.note(now, True, 3600.0)
    assert traffic.latency_s < 0.2
    now = steady(traffic, now, 10.0, 10.0, took_s=10.0)
    assert traffic.latency_s > 8.0


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
def test_the_smoothed_share_of_failures_settles_where_it_is(share: float) -> None:
    rng, traffic = random.Random(1), Traffic(START)
    for number in range(2000):
        traffic.note(START + number / 10, rng.random() >= share, 0.1)
    assert traffic.failing == pytest.approx(share, abs=0.08)
    assert 0.0 <= traffic.failing <= 1.0


def test_contention_is_not_known_before_a_whole_block() -> None:
    traffic = Traffic(START)
    unknown = traffic.contention()
    now = steady(traffic, START, 3.1, 10.0)
    traffic.note_block(now)
    assert (traffic.floor_s, traffic.contention()) == (0.0, unknown), "31 are too few"
    traffic.note(now, True, 0.1)
    traffic.note_block(now)
    assert traffic.floor_s == pytest.approx(0.1)
    assert 0.85 < traffic.contention() < 1.0


def test_a_block_that_is_forgotten_does_not_count() -> None:
    traffic = Traffic(START)
    now = steady(traffic, START, 5.0, 10.0, took_s=0.01)
    traffic.forget_block()
    now = steady(traffic, now, 5.0, 10.0, took_s=0.1)
    traffic.note_block(now)
    assert traffic.floor_s == pytest.approx(0.1)


def test_contention_tells_how_many_times_the_floor_it_takes() -> None:
    """Latencies spread widely: the lowest mean of 32 lies below the true mean, and that is allowed for."""
    rng, traffic, now = random.Random(3), Traffic(START), START

    def some(mean_s: float) -> float:
        nonlocal now
        seen = 0.0
        for _ in range(60):
            for _ in range(40):
                now += 0.05
                traffic.note(now, True, rng.gammavariate(9.0, mean_s / 9.0))
            traffic.note_block(now)
            seen += traffic.contention() / 60
        return seen

    assert some(0.1) == pytest.approx(1.0, abs=0.12)
    assert some(0.2) == pytest.approx(2.0, abs=0.25)


def test_the_floor_is_lowered_at_once_and_forgotten_in_ten_to_twenty_minutes() -> None:
    """An upstream that is slower for good is not held against its youth."""
    traffic, now = Traffic(START), START
    floors = []
    for second in range(1500):
        now = steady(traffic, START + second, 1.0, 40.0, took_s=0.1 if second < 60 else 0.3)
        traffic.note_block(now)
        floors.append(traffic.floor_s)
    assert floors[59] == floors[600] == pytest.approx(0.1)
    assert floors[1280] == pytest.approx(0.3)
    now = steady(traffic, now, 1.0, 40.0, took_s=0.05)
    traffic.note_block(now)
    assert traffic.floor_s == pytest.approx(0.05)


@pytest.mark.parametrize("gap_s", [17.0, 3600.0, 1e12])
def test_a_gap_of_any_length_is_passed_over_at_once(gap_s: float) -> None:
    traffic = Traffic(START)
    now = steady(traffic, START, 5.0, 10.0)
    assert traffic.ok_per_s(now + gap_s) == 0.0
    traffic.note(now + gap_s, True, 0.1)
    assert traffic.ok_per_s(now + gap_s) == pytest.approx(1 / 16)


def test_an_attempt_that_ended_a_little_earlier_than_it_was_told_is_counted() -> None:
    traffic = Traffic(START)
    traffic.note(START + 5.0, True, 0.1)
    traffic.note(START + 3.5, False, 0.1)
    assert traffic.failed_share(START + 5.0) == 0.5
    assert traffic.failed_share(START + 40.0) == 0.0
