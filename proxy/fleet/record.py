"""What pods tell each other: one record a pod, and in the pilot's the plan. JSON, so that a person can read it as well."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from proxy.learn.evidence.tally import Reading
from proxy.learn.learner import Learner

VERSION = 1
"""Pods of another version are left alone: a plan that is half understood is worse than none."""
MOST_BYTES = 1 << 20
_MOST = 1 << 30
"""No count of slots or calls is larger, and no number of seconds."""


class Share(Struct, array_like=True):
    """One pod's part of one limiter."""

    slots: int
    rate: float = 0.0
    """Starts a second, 0.0 for no rate."""
    rest: int = 0
    """Slots to keep when the board is gone: the part of the height that is held, not of one that is looked at."""


class Portion(Struct):
    """What was decided for one limiter, and how it is shared out."""

    slots: int
    rate: float
    mode: str
    shares: dict[str, Share]
    leaving: dict[str, int] = {}
    """Slots that a pod must give up and whose calls have not ended: with ``shares`` they make up the total."""
    learner: Learner | None = None
    """What the next pilot goes on from."""


class Plan(Struct):
    """The pilot's decisions. ``serial`` grows with each."""

    serial: int
    portions: dict[str, Portion]
    pods: dict[str, str]
    """Where each pod is read: ``host:port`` by the pod's id."""
    most: int = 0
    """The most pods ever seen together."""
    is_awake: bool = True
    """Whether any pod carried calls lately; where none did, the next plan is not due before long."""
    by: str = ""
    """The pilot that made it."""
    count: int = 0
    """How many pods it is for: who follows may be told its own shares only."""

    @property
    def id(self) -> str:
        """What no other plan is called."""
        return f"{self.serial}@{self.by}"


class Record(Struct):
    """What one pod posts. Counts only ever grow, so that a lost record delays evidence and loses none."""

    version: int
    fleet: str
    """Which pods belong together: the upstream's scheme, host and port unless told otherwise."""
    pod: str
    """Begins with when the pod started: the lowest id is the oldest pod's."""
    pilot: str
    """The id of the pod that this one follows; its own where it is the pilot, "" while it knows none."""
    readings: dict[str, Reading] = {}
    """By the limiter's name."""
    plan: Plan | None = None
    plan_age_s: float = 0.0
    is_awake: bool = True
    """Whether this pod carried calls since its last record."""
    is_leaving: bool = False
    """Whether this pod stops: it is to be given nothing, and keeps what its calls hold until they have ended."""
    plan_id: str = ""
    """The plan in force at this pod; "" for none."""
    holds: dict[str, Share] = {}
    """What this pod may use by limiter, where the owner set totals."""

    @property
    def serial(self) -> int:
        """The serial of the plan in force; 0 for none."""
        serial = self.plan_id.partition("@")[0]
        return int(serial) if serial.isascii() and serial.isdigit() and len(serial) < 16 else 0


class RecordError(ValueError):
    """What was read is no record; the text says why."""


def encode(record: Record) -> bytes:
    """Return the record as JSON."""
    return msgspec.json.encode(record)


def decode(data: bytes) -> Record:
    """Return the record that some bytes hold; raises RecordError."""
    if len(data) > MOST_BYTES:
        raise RecordError(f"{len(data)} bytes are more than a record may have")
    try:
        record = msgspec.json.decode(data, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"not a record: {error}") from error
    if record.version != VERSION:
        raise RecordError(f"version {record.version}, and this pod speaks {VERSION}")
    if not all(_is_sound(reading) for reading in record.readings.values()):
        raise RecordError("a reading counts what cannot be")
    if not all(_is_count(share.slots) and 0 <= share.rate <= _MOST for share in record.holds.values()):
        raise RecordError("it holds what cannot be")
    if record.plan is not None and not _is_sound_plan(record.plan):
        raise RecordError("its plan shares out what cannot be")
    return record


def encode_plan(plan: Plan) -> bytes:
    """Return the plan without its shares as JSON."""
    bare = {name: msgspec.structs.replace(portion, shares={}) for name, portion in plan.portions.items()}
    return msgspec.json.encode(msgspec.structs.replace(plan, portions=bare))


def decode_plan(data: bytes, shares: Mapping[str, bytes]) -> Plan:
    """Return the plan that some bytes hold, with the shares of some pods; raises RecordError."""
    try:
        plan = msgspec.json.decode(data, type=Plan)
        for pod, its in shares.items():
            for name, share in msgspec.json.decode(its, type=dict[str, Share]).items():
                if name in plan.portions:
                    plan.portions[name].shares[pod] = share
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"not a plan: {error}") from error
    if not _is_sound_plan(plan):
        raise RecordError("it shares out what cannot be")
    return plan


def encode_shares(plan: Plan) -> dict[str, bytes]:
    """Return each pod's shares of a plan as JSON, by pod."""
    shares: dict[str, dict[str, Share]] = {}
    for name, portion in plan.portions.items():
        for pod, share in portion.shares.items():
            shares.setdefault(pod, {})[name] = share
    return {pod: msgspec.json.encode(its) for pod, its in shares.items()}


def _is_sound(reading: Reading) -> bool:
    counts = (reading.wanted, reading.waiting, reading.inflight, reading.most, reading.fixed, reading.start)
    return math.isfinite(reading.at) and all(_is_count(count) for count in counts if count is not None)


def _is_sound_plan(plan: Plan) -> bool:
    portions = plan.portions.values()
    slots = [plan.most, plan.count, *(portion.slots for portion in portions)]
    rates = [portion.rate for portion in portions]
    for portion in portions:
        slots += [*portion.leaving.values(), *(n for s in portion.shares.values() for n in (s.slots, s.rest))]
        rates += [share.rate for share in portion.shares.values()]
    ports = (where.rpartition(":")[2] for where in plan.pods.values())
    return (
        all(_is_count(n) for n in slots)
        and all(0 <= rate <= _MOST for rate in rates)
        and all(port.isascii() and port.isdigit() and len(port) <= 5 for port in ports)
    )


def _is_count(n: int) -> bool:
    return 0 <= n <= _MOST
