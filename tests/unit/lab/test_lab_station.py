"""The station: first come first served, bounded, with a number of workers that may change."""

import math

from proxy.lab.model import Station


def station(workers: int, queue: int) -> Station:
    return Station(lambda _: workers, queue)


def test_worked_example_of_the_docstring() -> None:
    """2 workers, 1 place, 1 s of work: four arrivals at 0 end at 1, 1, 2 and a refusal."""
    two = station(2, 1)
    assert [two.admit(0.0, 1.0) for _ in range(4)] == [1.0, 1.0, 2.0, None]


def test_place_in_the_queue_is_free_again_when_its_job_starts() -> None:
    one = station(1, 1)
    assert [one.admit(0.0, 1.0), one.admit(0.0, 1.0), one.admit(0.5, 1.0)] == [1.0, 2.0, None]
    assert one.admit(1.0, 1.0) == 3.0


def test_short_job_does_not_overtake() -> None:
    """A later arrival never starts before an earlier one, however short it is."""
    two = station(2, 10)
    two.admit(0.0, 5.0)
    two.admit(0.0, 1.0)
    assert two.admit(0.1, 1.0) == 2.0
    assert two.admit(0.2, 0.1) == 2.1


def test_no_queue_refuses_when_the_workers_are_busy() -> None:
    bare = station(1, 0)
    assert bare.admit(0.0, 1.0) == 1.0
    assert bare.admit(0.999, 1.0) is None
    assert bare.admit(1.0, 1.0) == 2.0


def test_idle_time_is_not_made_up_for() -> None:
    one = station(1, 0)
    one.admit(0.0, 1.0)
    assert one.admit(10.0, 1.0) == 11.0
    assert one.in_system(10.5) == 1
    assert one.in_system(11.0) == 0


def test_lost_workers_finish_what_they_run_but_start_nothing() -> None:
    """4 workers until 1 s, 1 from then to 10 s: what waits then goes one by one."""
    falling = Station(
        lambda t: 1 if 1.0 <= t < 10.0 else 4,
        queue=10,
        next_change_s=lambda t: 1.0 if t < 1.0 else 10.0 if t < 10.0 else math.inf,
    )
    first = [falling.admit(0.0, 2.0) for _ in range(4)]
    assert first == [2.0] * 4
    assert [falling.admit(1.5, 2.0) for _ in range(3)] == [4.0, 6.0, 8.0]


def test_returning_workers_start_what_waits_at_once() -> None:
    """1 worker until 5 s, 3 afterwards: two waiting jobs both start at 5."""
    rising = Station(
        lambda t: 3 if t >= 5.0 else 1, queue=10, next_change_s=lambda t: 5.0 if t < 5.0 else math.inf
    )
    assert rising.admit(0.0, 20.0) == 20.0
    assert [rising.admit(0.0, 1.0), rising.admit(0.0, 1.0)] == [6.0, 6.0]


def test_repr_counts() -> None:
    one = station(1, 3)
    one.admit(0.0, 1.0)
    assert repr(one) == "<Station jobs=1 queue=3>"
