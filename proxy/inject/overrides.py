"""What a pod says for itself: ``sidegate.dev/<path>`` annotations, such as ``sidegate.dev/limits.rate: "20"``.

The value is read as YAML, as in the file. Everything is checked with the product's own schema together with what it changes;
a mistake refuses the pod, for a limit that was meant and is not there is worse than a pod that does not start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from proxy.config.load import ENVIRONMENT_PREFIX, read_yaml

PREFIX = "sidegate.dev/"
INJECT = PREFIX + "inject"
STATUS = PREFIX + "status"
CONFIG = PREFIX + "config"
SERVICE = PREFIX + "service"
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
    for path, text in texts.items():
        *above, last = path.split(".")
        node = tree
        for key in above:
            below = node.setdefault(key, {})
            if not isinstance(below, dict):
                below = node[key] = {}
            node = below
        try:
            node[last] = read_yaml(text)
        except yaml.YAMLError as error:
            problems.append(f"{path}: not YAML: {' '.join(str(error).split())}")
    return tree


def variable_of(path: str) -> str:
    """Return the environment variable that overrides a path of the sidecar's file."""
    return ENVIRONMENT_PREFIX + path.upper().replace(".", "__")
