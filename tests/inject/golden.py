"""Shapes of pods, one a file in golden/: what comes in, and what has to come out.

    # what shape it is, and why it matters
    values: what the operator says beside upstream.url (none where it is left out)
    namespace: where the pod is created (shop)
    asked: whether its namespace asks for sidecars (true)
    pod: the pod, as the webhook sees it or as somebody wrote it
    expect: patch, or skip, or refused; and warnings where there are any

``python -m tests.inject.golden [NAME ...]`` writes again what stands below ``expect:``, and nothing else. It writes what the
product does, right or wrong: whoever runs it reads every line of the diff before it is committed.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy.config.yaml12 import read_yaml
from proxy.inject.options import Plan
from proxy.inject.patch import diff
from proxy.inject.pod import Outcome, inject
from tests.inject.pods import plan

FOLDER = Path(__file__).parent / "golden"
VERSION = "1.2.3"
_KEYS = {"values", "namespace", "asked", "pod", "expect"}


@dataclass(frozen=True)
class Golden:
    """One file, read."""

    name: str
    why: str
    plan: Plan
    namespace: str
    is_asked: bool
    pod: dict[str, Any]
    expect: Any

    def outcome(self) -> Outcome:
        """What the product makes of the pod."""
        return inject(
            self.pod, self.plan, namespace=self.namespace, is_namespace_asking=self.is_asked, version=VERSION
        )

    def found(self) -> dict[str, Any]:
        """That, as it is written below ``expect:``."""
        outcome = self.outcome()
        said: dict[str, Any] = {}
        if outcome.skip is not None:
            said["skip"] = str(outcome.skip)
        if outcome.problems:
            said["refused"] = outcome.problems
        if outcome.warnings:
            said["warnings"] = outcome.warnings
        if outcome.pod is not None:
            said["patch"] = list(diff(self.pod, outcome.pod))
        return said


def names() -> list[str]:
    """The files' names, without .yaml."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@functools.cache
def read(name: str) -> Golden:
    """One of them. Keys that are not known here are a mistake in the file."""
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    tree = read_yaml(text)
    assert set(tree) <= _KEYS, f"{name}: {set(tree) - _KEYS}"
    return Golden(
        name=name,
        why="\n".join(line for line in text.partition("\n\n")[0].splitlines() if line.startswith("# ")),
        plan=plan(**(tree.get("values") or {})),
        namespace=tree.get("namespace", "shop"),
        is_asked=tree.get("asked", True),
        pod=tree["pod"],
        expect=tree.get("expect"),
    )


def injected() -> list[Golden]:
    """Those that get a sidecar."""
    return [golden for golden in map(read, names()) if "patch" in (golden.expect or {})]


class _Dumper(yaml.SafeDumper):
    """Block style, long lines whole, texts of several lines as they are, nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def write(name: str) -> bool:
    """Write what the product does below ``expect:``; whether that is anything new."""
    path = FOLDER / f"{name}.yaml"
    before = path.read_text(encoding="utf-8")
    kept = before.partition("\nexpect:")[0].rstrip("\n")
    found = yaml.dump(
        {"expect": read(name).found()},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=1 << 20,
        default_flow_style=None,
    )
    after = f"{kept}\n{found}"
    path.write_text(after, encoding="utf-8")
    return after != before


if __name__ == "__main__":
    for each in sys.argv[1:] or names():
        if write(each):
            print(f"wrote {each}: read its diff")
