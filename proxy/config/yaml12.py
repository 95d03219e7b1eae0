"""YAML 1.2 (core schema) as configuration is written in it: read strictly, and written so that any reader agrees.

What YAML 1.1 and 1.2 read differently as a number is refused: ``010`` is 8 or 10, ``1:30`` is 90 or a word. Words are words:
``on``, ``off``, ``yes`` and ``no`` are no booleans. A key that stands twice in one mapping is refused, for one of its values
would be lost without a word. Every such mistake of a text is told at once, with its line and its rule.

A short text must not cost much: depth is bounded while the text is split into tokens, and what aliases unfold to is counted.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scanner import Scanner
from ruamel.yaml.tag import Tag

DEEPEST = 32
"""Sections and lists within each other. The deepest setting lies 5 deep; without a bound 3,000 brackets take a second."""

_TOO_DEEP = f"nested more than {DEEPEST} deep"

MOST_VALUES = 100_000
"""Values of one text, each alias counted with all that it stands for."""

_MOST_DIGITS = 64

_CORE = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_WORDS_OF_11 = re.compile(r"(?i)y|n|yes|no|on|off")

_DOUBTFUL = (
    (
        re.compile(r"[-+]?0[0-9_]+"),
        "a number that begins with 0 is octal to some readers: write it without, or in quotes",
    ),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"),
        "digits and colons are a count of seconds to some readers: write 90s or 1m30s, or use quotes",
    ),
    (
        re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?"),
        "a number takes no _: write it without, or in quotes",
    ),
    (
        re.compile(r"[-+]?0b[01_]+"),
        "a binary number is a word to some readers: write it in decimal, or in quotes",
    ),
)
"""Plain scalars that readers disagree on, and the rule."""


_REFUSED: Any = object()


class NotYaml(ValueError):
    """A text cannot be read. ``problems`` holds a line per mistake; nothing of the text is quoted but keys and numbers."""

    def __init__(self, problems: list[str], *, is_yaml: bool = True, value: Any = None) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.is_yaml = is_yaml
        """Whether the text is well-formed, and what it says is refused."""
        self.value = value
        """What the text says without what is refused, so that mistakes in the rest can be told too."""


class _Scanner(Scanner):
    def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:
        if self.flow_level >= DEEPEST:
            raise NotYaml([_at(self.reader.get_mark(), _TOO_DEEP)])
        super().fetch_flow_collection_start(TokenClass, to_push)


class _Resolver(VersionedResolver):
    """Decides by the core schema of YAML 1.2, whatever version a text claims."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0]:
            return Tag(suffix=_CORE + _kind_of(value))
        return super().resolve(kind, value, (False, False))


class _CarefulResolver(_Resolver):
    """For writing: what any version might take for something else than a word is quoted."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0] and _is_doubtful(value):
            return Tag(suffix=_CORE + "doubtful")
        return super().resolve(kind, value, implicit)


class _Composer(Composer):
    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # YAML 1.2 §3.2.2.2: the later one counts


class _WithoutAliases(_Composer):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.parser.check_event(AliasEvent):
            raise NotYaml([_at(self.parser.peek_event().start_mark, "aliases are not taken here")])
        return super().compose_node(parent, index)


def read_yaml(text: str, *, is_trusted: bool = True) -> Any:
    """Return what ``text`` says; NotYaml with every mistake. Who is not trusted may use no aliases."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    yaml.Resolver = _Resolver
    yaml.max_depth = DEEPEST
    yaml.Composer = _Composer if is_trusted else _WithoutAliases
    try:
        root = yaml.compose(text)
    except NotYaml:
        raise
    except MaxDepthExceededError as error:
        raise NotYaml([_at(error.problem_mark, _TOO_DEEP)]) from error
    except (YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise NotYaml([not_yaml(error)], is_yaml=False) from error
    builder = _Builder()
    value = builder.value(root, 0) if root is not None else None
    if builder.problems:
        raise NotYaml(builder.problems, value=None if value is _REFUSED else value)
    return value


def not_yaml(error: Exception) -> str:
    """Return why a text is not YAML, in one line that quotes nothing of it: a secret may stand beside the mistake."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = ""
    if isinstance(error, DuplicateKeyError):  # its own words quote both values
        said = "a key stands in one section twice"
    elif isinstance(error, MarkedYAMLError):
        said = str(error.problem or "")
    why = " ".join((said or "a character or a value that no reader takes").split())
    return f"not YAML: {_at(mark, why) if mark is not None else why}"


def write_yaml(tree: Any) -> str:
    """Return a tree of plain values as YAML, keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver = _CarefulResolver
    yaml.Representer = _Representer
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.default_flow_style = False
    yaml.width = 1 << 20
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue().removesuffix("...\n")


class _Representer(SafeRepresenter):
    def represent_str(self, data: str) -> Any:
        # Other styles of the emitter turn line breaks of Unicode into blanks.
        style = None if data.isprintable() else '"'
        return self.represent_scalar(_CORE + "str", data, style=style)

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Representer.add_representer(str, _Representer.represent_str)


class _Builder:
    """Makes values of nodes, and notes what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._left = MOST_VALUES

    def value(self, node: Any, depth: int) -> Any:
        """Return a node's value, ``_REFUSED`` where it is refused."""
        self._left -= 1
        if self._left < 0 or depth > DEEPEST:
            bound = _TOO_DEEP if depth > DEEPEST else f"more than {MOST_VALUES} values"
            if self._left > -MOST_VALUES:  # said once
                self.problems.append(_at(node.start_mark, f"{bound}, aliases included"))
                self._left = -MOST_VALUES
            return _REFUSED
        if isinstance(node, MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, SequenceNode):
            self._check_tag(node, "seq")
            values = [self.value(item, depth + 1) for item in node.value if self._left >= 0]
            return [value for value in values if value is not _REFUSED]
        return self._scalar(node)

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        self._check_tag(node, "map")
        lines: dict[str, int] = {}
        made: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if self._left < 0:
                break
            if not isinstance(key_node, ScalarNode):
                self.problems.append(_at(key_node.start_mark, "a key must be a word"))
                continue
            key = key_node.value
            line = key_node.start_mark.line + 1
            if key in lines:
                self.problems.append(
                    f"line {line}: the key {key!r} stands in one section twice, first in line {lines[key]}: keep one"
                )
            lines.setdefault(key, line)
            value = self.value(value_node, depth + 1)
            if key == "<<" and key_node.style is None:
                merged = self._merged(value, value_node)
            elif value is not _REFUSED:
                made[key] = value
        return {**merged, **made}

    def _merged(self, value: Any, node: Any) -> dict[str, Any]:
        """Return what ``<<`` brings in: of several sections the first that has a key gives it."""
        sections = value if isinstance(value, list) else [value]
        if not all(isinstance(section, dict) for section in sections):
            self.problems.append(_at(node.start_mark, "<< takes a section, or a list of sections"))
            return {}
        return {key: each for section in reversed(sections) for key, each in section.items()}

    def _scalar(self, node: Any) -> Any:
        kind, text = str(node.tag).removeprefix(_CORE), node.value
        if kind == "str":
            rule = next((rule for pattern, rule in _DOUBTFUL if pattern.fullmatch(text)), None)
            if rule is not None and node.style is None and not node.ctag.handle:
                self.problems.append(_at(node.start_mark, f"{text[:32]}: {rule}"))
                return _REFUSED
            return text
        try:
            return _READERS[kind](text)
        except ValueError:
            rule = (
                f"a number of {len(text)} digits is too long"
                if len(text) > _MOST_DIGITS
                else f"this is no {kind}"
            )
        except KeyError:
            rule = f"the tag {node.tag} is not taken: use no tags"
        self.problems.append(_at(node.start_mark, rule))
        return _REFUSED

    def _check_tag(self, node: Any, kind: str) -> None:
        if str(node.tag) != _CORE + kind:
            self.problems.append(_at(node.start_mark, f"the tag {node.tag} is not taken: use no tags"))


def _int(text: str) -> int:
    if not _INT.fullmatch(text) or len(text) > _MOST_DIGITS:
        raise ValueError(text)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise ValueError(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _bool(text: str) -> bool:
    if not _BOOL.fullmatch(text):
        raise ValueError(text)
    return text.lower() == "true"


def _null(text: str) -> None:
    if not _NULL.fullmatch(text):
        raise ValueError(text)


_READERS: dict[str, Callable[[str], Any]] = {"int": _int, "float": _float, "bool": _bool, "null": _null}


def _kind_of(text: str) -> str:
    """Return what a plain scalar is. What readers disagree on is a word here, and refused later."""
    if any(pattern.fullmatch(text) for pattern, _ in _DOUBTFUL):
        return "str"
    for kind, pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
        if pattern.fullmatch(text):
            return kind
    return "str"


def _is_doubtful(text: str) -> bool:
    return bool(_WORDS_OF_11.fullmatch(text)) or any(pattern.fullmatch(text) for pattern, _ in _DOUBTFUL)


def _at(mark: Any, rule: str) -> str:
    return f"line {mark.line + 1}: {rule}"
