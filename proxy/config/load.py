"""From file, environment and flags to one ``Settings``: flags beat environment, environment beats file.

Every error is collected before anything is said, each with its path and the rule it broke.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from proxy.config.convert import convert
from proxy.config.settings import Settings
from proxy.config.yaml12 import NotYaml, read_yaml

ENVIRONMENT_PREFIX = "SIDEGATE_"
_NOT_SETTINGS = frozenset({"SIDEGATE_CONFIG", "SIDEGATE_POD", "SIDEGATE_NAMESPACE", "SIDEGATE_NODE"})
_SERVICE_LINK = re.compile(r".*_SERVICE_(HOST|PORT(_\w+)?)|.*_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?")
"""Variables Kubernetes sets in every pod when a Service is called sidegate or sidegate-something."""


_NULLS = frozenset({"null", "Null", "NULL", "~"})

_MOST_BYTES = 1 << 20
"""Of a configuration file: what a ConfigMap holds. Reading more would take a minute."""


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` holds one line per mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Sources:
    """Where the configuration comes from; ``load`` reads it afresh each time, so that a reload sees what a start would."""

    def __init__(
        self, path: str | None, environment: Mapping[str, str], flags: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.path = path
        self._overrides = [
            (name, _path_of_variable(name), text)
            for name, text in sorted(environment.items())
            if name.startswith(ENVIRONMENT_PREFIX)
            and name not in _NOT_SETTINGS
            and not _SERVICE_LINK.fullmatch(name)
        ]
        self._overrides += [(f"--set {key}", key.split("."), text) for key, text in flags]

    def load(self) -> Settings:
        """Return the settings; ConfigError with every problem found."""
        problems: list[str] = []
        tree = read_file(self.path, problems) if self.path else {}
        is_unread = bool(problems) and not tree
        problems += self._twice()
        for origin, path, text in self._overrides:
            _override(tree, origin, path, text, problems)
        settings = convert(Settings, tree, problems) if not is_unread else None
        if problems or settings is None:
            raise ConfigError(problems)
        return settings

    def _twice(self) -> Iterator[str]:
        """Yield a line per setting that two variables give, which differ in capitals only."""
        names: dict[tuple[str, ...], str] = {}
        for origin, path, _ in self._overrides:
            first = names.setdefault(tuple(path), origin)
            if first != origin and origin.startswith(ENVIRONMENT_PREFIX):
                yield f"{origin}: {first} sets the same: keep one"


def _path_of_variable(name: str) -> list[str]:
    return name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")


def read_file(path: str, problems: list[str]) -> dict[str, Any]:
    """Return the mapping in a YAML file, without what is refused of it; a line per mistake is added to ``problems``."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            problems.append(f"{path}: has more than {_MOST_BYTES} bytes: is it a configuration file?")
            return {}
        tree = read_yaml(data.decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read: {error}")
        return {}
    except NotYaml as error:
        problems += [f"{path}: {problem}" for problem in error.problems]
        tree = error.value
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        problems.append(f"{path}: expected a mapping of settings, got {type(tree).__name__}")
        return {}
    return tree


def read_override(text: str, *, is_trusted: bool = True) -> Any:
    """Return the value that a variable, flag or annotation gives; NotYaml where it is refused.

    One that says nothing is refused: a variable that a template left empty would take a limit away.
    """
    value = read_yaml(text, is_trusted=is_trusted)
    if value is None and text.strip() not in _NULLS:
        raise NotYaml(["is empty: leave it out, or write null to set nothing"])
    return value


def _override(tree: dict[str, Any], origin: str, path: list[str], text: str, problems: list[str]) -> None:
    try:
        value = read_override(text)
    except NotYaml as error:
        if error.is_yaml:
            problems += [f"{origin}: {problem}" for problem in error.problems]
            return
        value = text
    node = tree
    for key in path[:-1]:
        below = node.get(key)
        if below is None:
            below = node[key] = {}
        if not isinstance(below, dict):
            problems.append(f"{origin}: {key} is not a section")
            return
        node = below
    if not all(path):
        problems.append(f"{origin}: expected a path such as limits.rate")
        return
    node[path[-1]] = value
