"""What a pod says for itself: ``sidegate.dev/<path>`` annotations, such as ``sidegate.dev/limits.rate: "20"``.

The value is read as YAML, as in the file. Everything is checked with the product's own schema together with what it changes;
a mistake refuses the pod, for a limit that was meant and is not there is worse than a pod that does not start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.config.convert import key_types, section_of
from proxy.config.load import ENVIRONMENT_PREFIX, read_override
from proxy.config.redact import shown
from proxy.config.settings import Section, Settings
from proxy.config.yaml12 import NotYaml

PREFIX = "sidegate.dev/"
INJECT = PREFIX + "inject"
STATUS = PREFIX + "status"
CONFIG = PREFIX + "config"
SERVICE = PREFIX + "service"
_MOST_CHARACTERS = 16 << 10
"""Of all overrides of a pod: reading 16 KiB of YAML takes half a second, in which nobody else is answered."""
_RESERVED = frozenset({INJECT, STATUS, CONFIG, SERVICE})


def texts_of(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return what is overridden: path and text."""
    return {
        key.removeprefix(PREFIX): value
        for key, value in sorted(annotations.items())
        if key.startswith(PREFIX) and key not in _RESERVED
    }


def tree_of(texts: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """Return the overrides as a tree; a line per mistake is added to ``problems``."""
    tree: dict[str, Any] = {}
    if sum(map(len, texts.values())) > _MOST_CHARACTERS:
        problems.append(
            f"{min(texts)}: the overrides of a pod have {_MOST_CHARACTERS} characters at most, together"
        )
        return tree
    for path, text in texts.items():
        *above, last = path.split(".")
        node = tree
        for key in above:
            below = node[key] = {} if node.get(key) is None else node[key]
            if not isinstance(below, dict):
                problems.append(f"{path}: another annotation makes {key} a value (got {shown(below)})")
                below = {}
            node = below
        try:
            # Anybody may have written it who may create a pod.
            node[last] = read_override(text, is_trusted=False)
        except NotYaml as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
    return tree


def leaves(
    changed: Mapping[str, Any], whole: Mapping[str, Any], section: type[Section] = Settings, path: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield each setting that ``changed`` touches: its path, and what it is in ``whole``, where ``changed`` is part of."""
    hints = key_types(section)
    for key, value in changed.items():
        here = f"{path}.{key}" if path else key
        below = section_of(hints[key])
        if below is not None and isinstance(value, Mapping):
            yield from leaves(value, whole[key], below, here)
        else:
            yield here, whole[key]


def environment(
    texts: Mapping[str, str], changed: Mapping[str, Any], whole: Mapping[str, Any]
) -> dict[str, str]:
    """Return what the sidecar reads in its environment, path and text: it replaces where annotations join sections."""
    return {
        path: texts[path] if path in texts and not isinstance(value, Mapping) else json.dumps(value)
        for path, value in leaves(changed, whole)
    }


def variable_of(path: str) -> str:
    """Return the environment variable that overrides a path of the sidecar's file."""
    return ENVIRONMENT_PREFIX + path.upper().replace(".", "__")
