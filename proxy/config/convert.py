"""From plain values to settings, with every mistake found on the way.

msgspec stops at its first error; here each leaf is converted on its own, so that one run names them all.
"""

from __future__ import annotations

import difflib
import typing
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from proxy.config.redact import shown
from proxy.config.settings import Section
from proxy.config.units import PARSERS

T = TypeVar("T", bound=Section)


def convert(section: type[T], tree: Any, problems: list[str], path: str = "") -> T | None:
    """Return ``tree`` as a ``section``; None when it cannot be, with a line per mistake added to ``problems``."""
    if tree is None:
        tree = {}  # a key with nothing behind it, as YAML has it
    if not isinstance(tree, dict):
        problems.append(f"{path or 'configuration'}: expected a section with keys (got {shown(tree, path)})")
        return None
    before = len(problems)
    hints = key_types(section)
    values: dict[str, Any] = {}
    for key, value in tree.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in hints:
            problems.append(f"{here}: unknown key{suggestion(str(key), list(hints))}")
        else:
            values[key] = _value(hints[key], value, problems, here)
    missing = [
        field.name for field in msgspec.structs.fields(section) if field.required and field.name not in tree
    ]
    problems.extend(f"{path + '.' if path else ''}{name}: required" for name in missing)
    if len(problems) > before:
        return None
    try:
        return section(**values)
    except ValueError as error:
        problems.append(f"{path or 'configuration'}: {error}")
        return None


def _value(hint: Any, value: Any, problems: list[str], path: str) -> Any:
    section = section_of(hint)
    if section is not None and not (value is None and type(None) in get_args(hint)):
        return convert(section, value, problems, path)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        of = get_args(hint)[0]
        return tuple(_value(of, item, problems, f"{path}[{number}]") for number, item in enumerate(value))
    try:
        unit = unit_of(hint)
        given = PARSERS[unit](value) if unit is not None and value is not None else value
        return msgspec.convert(given, hint)
    except (ValueError, msgspec.ValidationError) as error:
        problems.append(f"{path}: {_rule(hint) or _said(error)} (got {shown(value, path)})")
        return None


def _said(error: Exception) -> str:
    message = str(error).partition(" - at `")[0]
    return f"{message[:1].lower()}{message[1:]}"


def _rule(hint: Any) -> str:
    """Return the rule in people's words where msgspec's own would not do."""
    if get_origin(hint) is typing.Literal:
        return f"expected one of {', '.join(map(str, get_args(hint)))}"
    arms = [hint, *(get_args(hint) if type(None) in get_args(hint) else ())]
    for meta in [meta for arm in arms for meta in getattr(arm, "__metadata__", ())]:
        if isinstance(meta, msgspec.Meta) and meta.description:
            return f"expected {meta.description}"
    return ""


def section_of(hint: Any) -> type[Section] | None:
    """Return the section that a type is, or may be; None where it is none."""
    if isinstance(hint, type) and issubclass(hint, Section):
        return hint
    if get_origin(hint) is tuple:
        return None
    return next((arm for arm in get_args(hint) if isinstance(arm, type) and issubclass(arm, Section)), None)


def unit_of(hint: Any) -> str | None:
    """Return the unit that a type's values are written in, if they are."""
    arms = [hint, *(get_args(hint) if type(None) in get_args(hint) else ())]
    for meta in [meta for arm in arms for meta in getattr(arm, "__metadata__", ())]:
        if isinstance(meta, msgspec.Meta) and meta.extra:
            unit: str | None = meta.extra.get("unit")
            return unit
    return None


def key_types(section: type[Section]) -> dict[str, Any]:
    """Return the type of each key of a section."""
    return typing.get_type_hints(section, include_extras=True)


def suggestion(key: str, known: list[str]) -> str:
    """Return what to say after an unknown key: the one that was meant, or all there are."""
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}"
