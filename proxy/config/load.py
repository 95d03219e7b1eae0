"""From file, environment and flags to one ``Settings``: flags beat environment, environment beats file.

Every error is collected before anything is said, each with its path and the rule it broke.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from proxy.config.convert import convert
from proxy.config.settings import Settings

ENVIRONMENT_PREFIX = "SIDEGATE_"
_NOT_SETTINGS = frozenset({"SIDEGATE_CONFIG", "SIDEGATE_POD", "SIDEGATE_NAMESPACE", "SIDEGATE_NODE"})
_SERVICE_LINK = re.compile(r".*_SERVICE_(HOST|PORT(_\w+)?)|.*_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?")
"""Variables Kubernetes sets in every pod when a Service is called sidegate or sidegate-something."""


class _Yaml12(yaml.SafeLoader):
    """YAML as of 1.2 where booleans are concerned: ``on``, ``off``, ``yes`` and ``no`` are words.

    PyYAML reads 1.1, in which the key of ``retry: {on: [500]}`` is true and ``log: {access: off}`` is false.
    """


_Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class _WithoutAliases(_Yaml12):
    """A few lines of aliases say more than memory holds, so who is not trusted may use none."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken here")
        return super().compose_node(parent, index)


def read_yaml(text: str, *, is_trusted: bool = True) -> Any:
    """Return what ``text`` says; yaml.YAMLError where it is not YAML."""
    try:
        return yaml.load(text, Loader=_Yaml12 if is_trusted else _WithoutAliases)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        # What PyYAML lets through from its constructors: a 13th month, !!int of nothing, a thousand brackets.
        raise yaml.YAMLError(f"a value that cannot be read: {error}") from error


def not_yaml(error: Exception) -> str:
    """Return why a text is not YAML, in one line."""
    return f"not YAML: {' '.join(str(error).split())}"


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
        for origin, path, text in self._overrides:
            _override(tree, origin, path, text, problems)
        settings = convert(Settings, tree, problems)
        if problems or settings is None:
            raise ConfigError(problems)
        return settings


def _path_of_variable(name: str) -> list[str]:
    return name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")


def read_file(path: str, problems: list[str]) -> dict[str, Any]:
    """Return the mapping in a YAML file; nothing, and a line of ``problems``, where there is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        tree = read_yaml(text)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read: {error}")
        return {}
    except yaml.YAMLError as error:
        problems.append(f"{path}: {not_yaml(error)}")
        return {}
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        problems.append(f"{path}: expected a mapping of settings, got {type(tree).__name__}")
        return {}
    return tree


def _override(tree: dict[str, Any], origin: str, path: list[str], text: str, problems: list[str]) -> None:
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
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
