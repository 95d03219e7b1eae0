"""YAML in, YAML out: the documents that hold pods come out with their sidecar, everything else byte for byte as it was.

In a document that changes, comments, quotes and the order of keys stay. Documents are told apart by ``---`` lines, as kubectl
does.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonpatch
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from proxy.config.yaml12 import not_yaml
from proxy.inject.options import Plan
from proxy.inject.patch import diff
from proxy.inject.pod import Outcome, inject

_TEMPLATES = {
    "Pod": "",
    "Deployment": "spec.template",
    "StatefulSet": "spec.template",
    "DaemonSet": "spec.template",
    "ReplicaSet": "spec.template",
    "ReplicationController": "spec.template",
    "Job": "spec.template",
    "Rollout": "spec.template",
    "CronJob": "spec.jobTemplate.spec.template",
}
"""Where each kind keeps its pod."""
_LIST = re.compile(r"^( *)[^\s#-][^\n]*:[ \t]*(?:#[^\n]*)?\n( *)- ", re.MULTILINE)
_SEPARATOR = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)


@dataclass(slots=True)
class Report:
    """What became of the documents. ``text`` is to be used only while there are no ``problems``."""

    text: str = ""
    injected: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def inject_all(text: str, plan: Plan, *, version: str, is_asked: bool = True) -> Report:
    """Return ``text`` with a sidecar in each pod of it; with ``is_asked`` off, in those that ask for it only."""
    report = Report()
    parts = []
    for number, (separator, document) in enumerate(_documents(text), 1):
        parts += [separator, _inject_document(document, number, plan, version, is_asked, report)]
    report.text = "".join(parts)
    return report


def _documents(text: str) -> Iterator[tuple[str, str]]:
    """Yield each document and the separator before it."""
    at, separator = 0, ""
    for found in _SEPARATOR.finditer(text):
        yield separator, text[at : found.start()]
        separator, at = found.group(), found.end()
    yield separator, text[at:]


def _inject_document(text: str, number: int, plan: Plan, version: str, is_asked: bool, report: Report) -> str:
    try:
        tree = _reader().load(text)
        pods = list(_pods(tree))
        uses = _uses(tree)
        for _, _, pod in pods:
            _write_out(pod, uses)
    except (YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        report.problems.append(f"document {number}: {not_yaml(error)}")
        return text
    changed = False
    for name, namespace, pod in pods:
        outcome = inject(pod, plan, namespace=namespace, is_namespace_asking=is_asked, version=version)
        changed |= _note(name, pod, outcome, report)
    if not changed:
        return text
    return _dump(tree, text)


def _note(name: str, pod: Any, outcome: Outcome, report: Report) -> bool:
    report.problems += [f"{name}: {problem}" for problem in outcome.problems]
    report.warnings += [f"{name}: {warning}" for warning in outcome.warnings]
    if outcome.skip is not None:
        report.skipped.append((name, str(outcome.skip)))
    if outcome.pod is None:
        return False
    jsonpatch.apply_patch(pod, list(diff(pod, outcome.pod)), in_place=True)
    report.injected.append(name)
    return True


def _uses(tree: Any) -> Counter[int]:
    """Return how often each section and list of a document stands in it: an anchor's more than once."""
    uses: Counter[int] = Counter()
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, Mapping | list):
            uses[id(node)] += 1
            if uses[id(node)] == 1:
                left += node.values() if isinstance(node, Mapping) else node
    return uses


def _write_out(node: Any, uses: Counter[int]) -> None:
    """Give each place in a pod a section of its own where it shares one by an anchor, or a change to one were one to all."""
    # The last first: what merges an anchor (`<<: *anchor`) stands behind it, and follows it until it has its own.
    for key, child in reversed(list(node.items() if isinstance(node, Mapping) else enumerate(node))):
        if isinstance(child, Mapping | list):
            if uses[id(child)] > 1:
                node[key] = _plain(child)
                node.ca.items.pop(
                    key, None
                )  # a comment beside the anchor stands beside each alias, and breaks the second
            else:
                _write_out(child, uses)


def _plain(node: Any) -> Any:
    """Return a copy without the author's hand: ruamel.yaml writes comments of a copied list where they break it."""
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(item) for item in node] if isinstance(node, list) else node


def _pods(tree: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield the pods and pod templates below a document, with what to call them and the namespace they say."""
    if not isinstance(tree, Mapping):
        return
    kind, metadata = tree.get("kind"), tree.get("metadata")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(tree.get("items"), list):
        for item in tree["items"]:
            yield from _pods(item)
        return
    if not isinstance(kind, str) or kind not in _TEMPLATES:
        return
    named = metadata if isinstance(metadata, Mapping) else {}
    pod: Any = tree
    for key in filter(None, _TEMPLATES[kind].split(".")):
        pod = pod.get(key) if isinstance(pod, Mapping) else None
    if isinstance(pod, Mapping):
        name = named.get("name") or named.get("generateName") or "?"
        yield f"{kind}/{name}", str(named.get("namespace") or ""), pod


def _reader() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # a long line is the author's
    return yaml


def _dump(tree: Any, text: str) -> str:
    """Return a changed document in the author's hand: lists as far in as the first of theirs, what stood before it before it."""
    yaml = _reader()
    first = _LIST.search(text)
    offset = len(first[2]) - len(first[1]) if first else 0
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    out = io.StringIO()
    yaml.dump(tree, out)
    said = out.getvalue()
    return said if said.startswith("\n") or not text.startswith("\n") else "\n" + said
