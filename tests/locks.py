"""Whether the locked lists of deploy/locks still fit pyproject.toml; says what does not, and that ``make lock`` remakes them.

Offline, and so no full resolution: every requirement must be pinned, to a release it allows, with a hash, and every
pin must say which requirement it is there for.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
_PIN = re.compile(r"^([\w.-]+)==(\S+) \\\n +--hash=sha256:", re.MULTILINE)


def wanted() -> dict[str, list[str]]:
    """What pyproject.toml asks of each list."""
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    project = pyproject["project"]
    runtime, extras = project["dependencies"], project["optional-dependencies"]
    build = pyproject["build-system"]["requires"]
    return {
        "runtime": runtime,
        "build": build,
        "dev": [*runtime, *extras["dev"], *build],
        "bench": [*runtime, *extras["bench"]],
        "compile": [*runtime, *extras["compile"], *build],
    }


def complaints() -> Iterator[str]:
    for name, requirements in wanted().items():
        text = (REPOSITORY / "deploy" / "locks" / f"{name}.txt").read_text()
        pins = {canonicalize_name(pin[1]): pin[2] for pin in _PIN.finditer(text)}
        for requirement in map(Requirement, requirements):
            version = pins.get(canonicalize_name(requirement.name))
            if version is None:
                yield f"{name}.txt: {requirement} is not pinned"
            elif not requirement.specifier.contains(version, prereleases=True):
                yield f"{name}.txt: {requirement} is pinned to {version}"
        asked_for = {canonicalize_name(Requirement(one).name) for one in requirements}
        for pin in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]:
            pinned = canonicalize_name(pin.partition("==")[0])
            if "sidegate (pyproject.toml)" in pin and pinned not in asked_for:
                yield f"{name}.txt: nothing asks for {pinned} any more"


if __name__ == "__main__":
    found = list(complaints())
    for complaint in found:
        print(complaint)
    sys.exit(f"{len(found)} out of date: make lock" if found else None)
