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
class Believing:
    """The shapes that an upstream's response may have, and how much a comparison says of them."""

    grid: float = 0.125
    highest: float = 8.4
    """Knees lie so far apart, up to that (ln): 12 % apart, up to 4,400 slots."""
    drops: tuple[float, ...] = (1.0, 1.6, 2.5, 4.0)
    """Fall of the slope at the knee: a queue that grows, a kink, a collapse, a collapse with timeouts or refusals."""
    edge: float = 4.0
    """How sharp the top is: half of the fall lies within 50 % of the knee."""
    fine: float = 0.04
    """How far apart heights are tried for the best (ln)."""
    tail: float = 4.0
    """Degrees of freedom of Student's t: one comparison that a burst spoilt does not decide."""
    doubt: float = 0.01
    """Weight of all shapes together whatever is seen: a capacity may change at any time."""
    strain_sd: float = 0.6
    """How well latency over its floor tells contention (ln): pages that cost more look like it."""


@dataclass(frozen=True)
class Searching:
    """Steps of twice the slots, or half."""

    up: float = 2.0
    gentle: float = 1.5
    """First step up from a height that was good: a kink that did not move costs a third of a step."""
    better: float = 0.25
    """Worth (ln) that half the load must bring after an alarm: it costs 0.69 where load was not to blame."""
    sure: float = 1.5
    """Standard deviations that it must be above chance."""
    blur: float = 0.3
    """A step is judged when the standard deviation of what was seen is below so much of its length (ln)."""
    windows: int = 2
    """The fewest windows: quotas of a second show half of themselves in each."""
    patience: int = 10
    """Windows that a step waits for that; four times as many while what ends does not account for what is under way."""
    steps: int = 12
    """The most steps."""


@dataclass(frozen=True)
class Looking:
    """Which visits are worth what they cost. Steps and worth are logarithms."""

    steps: tuple[float, ...] = (0.08, 0.16, 0.32, 0.64)
    """Ratios that are looked at, up and down."""
    least: float = 0.02
    """A shorter step shows nothing."""
    horizon_s: float = 30.0
    """How long what a visit shows is of use: too long looks around too often, too short finds a rise too late."""
    visits: float = 4.0
    """The same in lengths of the visit, where that is longer: slow upstreams need long visits."""
    worth_it: float = 0.1
    """Worth times seconds that a visit must promise beyond its cost."""
    drift: float = 0.03
    """How far knees drift in a second, a random walk: 20 % in a minute."""
    jump: float = 0.7
    """How far when answers became slow, or fast, at once."""
    far: float = 0.35
    """A best height farther off is searched for."""
    moves: float = 0.003
    """Worth that a move must be expected to bring."""


@dataclass(frozen=True)
class Holding:
    """Staying at the best height, and looking around."""

    blur: float = 0.6
    visit_windows: int = 10
    """A visit ends when the standard deviation of what it saw is below ``blur`` of its step (ln), or after so many windows."""
    alarm: float = 0.25
    """Rise of the strain (ln) that calls for a look at half the load."""
    alarm_sd: float = 4.0
    usual: float = 0.05
    """How fast the usual strain of a height follows, a window."""
    pause_s: float = 4.0
    pause_longest_s: float = 60.0
    """Pauses between looks of one kind; they double while nothing comes of them."""
    refused_share: float = 0.015
    refused_few: int = 5
    refused_windows: int = 5
    """Share refused at the door, with latency at its floor, that calls for a look at fewer slots or at a rate; and
    the fewest refusals and windows that tell it."""
    burst_share: float = 0.1
    burst_windows: int = 6
    """Failures so far beyond the usual are trouble; after so many windows half the load is tried: most bursts are over then."""
    looks: int = 3
    """How often that is tried until the trouble is taken for the usual."""
    vain: float = 0.15
    """A search that ends within so much (ln) of where it began found nothing."""
    room: float = 1.5
    """Slots for a rate, over those in use on average: answers come in bunches."""
    yields: float = 0.7
    """Share of a height that is kept when the outage gates keep closing there."""
    wall_s: float = 30.0
    wall_longest_s: float = 60.0
    """How long a height at which the outage gates closed is not looked beyond; doubles each time it is met again."""


@dataclass(frozen=True)
class Pacing:
    """Starting attempts at a rate, where a rate is what is short."""

    borne_share: float = 0.03
    chance: float = 1.0
    """Share that may be refused, and refusals beyond that, before the rate steps down: one of a few attempts is chance."""
    safe: float = 0.99
    most: float = 0.8
    """A step down is to ``safe`` of what was carried, at least ``most`` of the rate."""
    growth: float = 0.1
    quota_growth: float = 0.02
    scale_s: float = 4.0
    """The rate grows as 1 + growth (t / scale)^3: 10 % after one scale, 80 % after two."""
    slow: float = 1.6
    """Latency over its floor that ends it: then it is room that is short."""
    lowest: float = 0.5
    """Share of the rate it began with below which it ends: the steps down had no effect, or the quota is another one."""
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
BELIEF = Believing()
SEARCHING = Searching()
LOOKING = Looking()
HOLDING = Holding()
PACING = Pacing()
