"""What turns one JSON value into another, as a JSON Patch (RFC 6902) of add, remove and replace alone.

jsonpatch applies patches well; the ones it makes move values about and do not always give what was meant (found by
tests/inject: containers with equal variables, one put in front). A list that grew is compared where most of it still stands,
for what comes into a pod comes in front or behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Step = dict[str, Any]


def diff(before: Any, after: Any, path: str = "") -> Iterator[Step]:
    """Yield the steps, to be applied in order; none where the two are equal, types included: 1 is not true."""
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _diff_objects(before, after, path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _diff_lists(before, after, path)
    elif before != after or isinstance(before, bool) is not isinstance(after, bool):
        yield {"op": "replace", "path": path, "value": after}


def _diff_objects(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[Step]:
    for key in before:
        if key not in after:
            yield {"op": "remove", "path": _below(path, key)}
    for key, value in after.items():
        if key in before:
            yield from diff(before[key], value, _below(path, key))
        else:
            yield {"op": "add", "path": _below(path, key), "value": value}


def _diff_lists(before: list[Any], after: list[Any], path: str) -> Iterator[Step]:
    if len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from diff(old, new, f"{path}/{index}")
        return
    if len(before) < len(after):
        # The longest run of what was there, by name where items have one: what is new lies before and behind it.
        first = _where(before, after)
        for index in range(first):
            yield {"op": "add", "path": f"{path}/{index}", "value": after[index]}
        for index, old in enumerate(before, first):
            yield from diff(old, after[index], f"{path}/{index}")
        for value in after[first + len(before) :]:
            yield {"op": "add", "path": f"{path}/-", "value": value}
        return
    yield {"op": "replace", "path": path, "value": after}


def _where(before: list[Any], after: list[Any]) -> int:
    """Return where in ``after`` most of ``before`` still stands in its order."""

    def same(first: int) -> int:
        return sum(_name(old) == _name(after[first + index]) for index, old in enumerate(before))

    return max(range(len(after) - len(before) + 1), key=same)


def _name(item: Any) -> Any:
    return item.get("name", item) if isinstance(item, dict) else item


def _below(path: str, key: str) -> str:
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
