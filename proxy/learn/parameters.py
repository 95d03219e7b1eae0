"""Every number the learning goes by: unit, why, and what chose it (`make sim-weather` draws the weathers).

Names with ``_share`` are shares of 1. A window is half a second: that is how often pods are read.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sight:
    """How evidence is read."""

    period_s: float = 0.5
    """Seconds. Shorter windows hold too few pages to say anything, longer ones find a fall too late."""
    settles_s: float = 0.3
    """Latency that has settled one window after a change; each half second more takes one window more."""
    longest_settling: int = 24
    """The most windows that are waited for that; beyond, what is seen is better than nothing."""
    few: float = 20.0
    """Pages under which a mean says nothing."""
    usual: float = 0.05
    """How fast what is usual follows, a window."""
    contended: float = 1.2
    """Times its floor that latency may be before it counts as contention: page costs and chance reach 1.15."""
    flaps_s: float = 5.0
    """Gates that close so soon after they opened, twice, say that even this is too much."""
    shut_share: float = 0.1
    """Share of the time that gates may be closed in a window that still says something."""


@dataclass(frozen=True)
class Worth:
    """What is good: ln pages/s, less a little for waiting upstream and for failed attempts."""

    thrift: float = 0.08
    """Per cents of goodput that 100 % more in flight must bring: without it a flat top is climbed to where refusals begin."""
    failing: float = 1.0
    """Weight of ln(attempts per page): one failed attempt is as bad as one page not carried."""


@dataclass(frozen=True)
class Searching:
    """Doubling, or halving, while that brings something."""

    up: float = 2.0
    gentle: float = 1.5
    """First step up from a height that was good: a kink that did not move costs a third of a step."""
    down: float = 0.5
    gain: float = 0.35
    """Elasticity of worth that a step up must show to go on."""
    hope: float = 2.0
    """Standard deviations that are given to the first search: there is little to lose yet."""
    better: float = 0.25
    """Worth (ln) that a step down must bring: half the load costs 0.69 where it was not to blame."""
    sure: float = 1.5
    """Standard deviations that it must be above chance."""
    blur: float = 0.3
    """A step is judged when the standard deviation of what was seen is below so much of its length (ln)."""
    windows: int = 2
    """The fewest windows: quotas of a second show half of themselves in each."""
    patience: int = 10
    """Windows that a step waits for that; twice as many while what ends does not account for what is under way."""


@dataclass(frozen=True)
class Holding:
    """Staying at the best height, and looking around."""

    step: float = 0.08
    """Shortest step of a visit (ln), and never less than one slot."""
    contrast: float = 0.4
    """What chance leaves of the longest visit, over its step."""
    longest_step: float = 0.7
    stale: float = 0.2
    """What is known of the slopes fades with a move of so much (ln): their shape is another there."""
    clear: float = 0.5
    """Elasticity that begins a search."""
    belief: float = 1.0
    """Standard deviation of the elasticity between rungs that is believed in where nothing is known."""
    optimism: float = 0.6
    """A neighbour is visited while its gain and so many standard deviations are above 0."""
    sure: float = 1.0
    """Standard deviations by which a neighbour must be better to be moved to."""
    memory_s: float = 40.0
    """Evidence about neighbours fades over so many seconds."""
    memory_pages: float = 1500.0
    """... or over so many pages, where that is longer."""
    hope: float = 0.3
    """Elasticity that is believed in without evidence while latency is at its floor."""
    blur: float = 0.6
    visit_windows: int = 10
    """A visit ends when the standard deviation of what it saw is below ``blur`` of its step (ln), or after so many windows."""
    leap: float = 1.16
    """How far a leap looks: far enough to tell more room from chance at once."""
    leap_s: float = 4.0
    """Pause before the first leap after a search."""
    leap_longest_s: float = 10.0
    alarm: float = 0.25
    """Rise of the strain (ln) that calls for a look at half the load."""
    alarm_sd: float = 4.0
    usual: float = 0.05
    """How fast the usual strain of a height follows, a window."""
    easier: float = 0.05
    """Fall of the strain (ln) that calls for a leap at once."""
    pause_s: float = 4.0
    pause_longest_s: float = 60.0
    """Pauses between looks of one kind; they double while nothing comes of them."""
    refused_share: float = 0.03
    """Refusals at the door beyond the usual that call for a look at a lower height."""
    burst_share: float = 0.1
    burst_windows: int = 6
    """Failures so far beyond the usual are trouble; after so many windows half the load is tried: most bursts are over then."""
    looks: int = 3
    """How often that is tried until the trouble is taken for the usual."""
    vain: float = 0.15
    """A search that ends within so much (ln) of where it began found nothing."""
    surprise: float = 0.2
    """Share of what is known of a slope that is left when refusals begin anew, or when a visit contradicts it."""
    surprised_sd: float = 2.5
    """Standard deviations from which on it does."""
    plausible: float = 2.0
    """The most elasticity that one visit can show: a burst of failures is no slope."""
    leap_rare: float = 4.0
    """Pause of leaps in times that the last one was away."""
    room: float = 1.5
    """Slots for a rate, over those in use on average: answers come in bunches."""
    yields: float = 0.7
    """The lowest that such a look goes, of the height it leaves."""
    wall_s: float = 30.0
    wall_longest_s: float = 60.0
    """How long a height at which refusals begin is not looked beyond; doubles each time it is met again."""


@dataclass(frozen=True)
class Pacing:
    """Starting attempts at a rate, where a rate is what is short."""

    borne_share: float = 0.03
    step_s: float = 1.4
    safe: float = 0.99
    most: float = 0.8
    """A step down is to ``safe`` of what was carried, at least ``most`` of the rate."""
    growth: float = 0.1
    quota_growth: float = 0.02
    scale_s: float = 4.0
    """The rate grows as 1 + growth (t / scale)^3: 10 % after one scale, 80 % after two."""
    slow: float = 1.6
    """Latency over its floor that ends it: then it is room that is short."""
    vain: int = 6
    """Steps down without effect that end it."""
    unused: float = 2.0
    """Rate over what is carried at which it binds nobody."""
    shortest_s: float = 3.0
    alike: float = 0.1
    """Two stretches between openings that differ by less carry the same: a quota."""
    free_s: float = 20.0
    """Until the height before is tried again without the rate; doubles."""
    bar_s: float = 60.0
    bar_longest_s: float = 600.0


SIGHT = Sight()
WORTH = Worth()
SEARCHING = Searching()
HOLDING = Holding()
PACING = Pacing()
