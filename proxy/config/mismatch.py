"""Settings that are fine each, and of which one has no effect because another ends sooner.

No reason to refuse anything: who shortens ``timeouts.total`` need not shorten all that it spans. So a setting is named only where
it is not at its default, for then somebody meant it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from proxy.config.settings import Settings
from proxy.config.units import format_duration

PAIRS = (
    ("queue.max_wait", "timeouts.total"),
    ("outage.max_hold", "timeouts.total"),
    ("timeouts.connect", "timeouts.total"),
    ("timeouts.response_head", "timeouts.total"),
    ("timeouts.body_idle", "timeouts.total"),
    ("retry.backoff.max", "timeouts.total"),
    ("pool.idle", "pool.max_age"),
    ("drain.quiet", "drain.grace"),
    ("limits.concurrency.max", "pool.max_connections"),
    ("limits.concurrency.limit", "pool.max_connections"),
)
"""A setting, and the one beyond which it has no effect."""


def mismatches(settings: Settings) -> list[str]:
    """Return a sentence for each setting that is never reached."""
    found = list(_found(settings, PAIRS, ""))
    for index, route in enumerate(settings.routes):
        given = msgspec.structs.asdict(route).items()
        own = {key: value for key, value in given if value is not None and hasattr(settings, key)}
        pairs = [pair for pair in PAIRS if pair[0].partition(".")[0] in own]
        found += _found(msgspec.structs.replace(settings, **own), pairs, f"routes[{index}].")
    return found


def _found(settings: Settings, pairs: Iterable[tuple[str, str]], at: str) -> Iterator[str]:
    defaults = Settings(upstream=settings.upstream)
    for path, bound in pairs:
        value, most = _value(settings, path), _value(settings, bound)
        if value > most and value != _value(defaults, path):
            is_time = isinstance(most, float)
            said, said_most = (format_duration(each) if is_time else str(each) for each in (value, most))
            yield f"{at}{path}: {said} is never reached, for {bound} is {said_most}"


def _value(settings: Settings, path: str) -> float:
    """Return the value at a path; 0, which is beyond nothing, where it is null."""
    node: Any = settings
    for key in path.split("."):
        node = getattr(node, key)
    return node or 0
