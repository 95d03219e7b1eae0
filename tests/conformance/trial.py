"""One rule tried on one proxy."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

RULES = Path(__file__).with_name("rules")
_TITLE = re.compile(r'^varnishtest "(RFC \d+ [\d.]+): (.+)"$')
_TIMEOUT_S = 10
"""varnishtest ends a script that hangs; the proxy did not answer, or did not pass the request on."""


@dataclass(frozen=True)
class Rule:
    """One script: ``section`` of which document, and the rule in words."""

    path: Path
    section: str
    words: str


def rules() -> list[Rule]:
    """Every rule, by its section; ValueError for a file whose first line names none."""
    return sorted(map(_rule, RULES.glob("*.vtc")), key=lambda one: (_by_number(one.section), one.path.name))


def _rule(path: Path) -> Rule:
    match = _TITLE.match(path.read_text().partition("\n")[0])
    if match is None:
        raise ValueError(f'{path}: the first line is not: varnishtest "RFC NNNN SECTION: rule"')
    return Rule(path, match[1], match[2])


def _by_number(section: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", section)]


def complaint(rule: Rule, varnishtest: str, proxy: int, origin: int) -> str | None:
    """Run the script between two ports of loopback. None where the proxy keeps the rule, else what varnishtest says."""
    ran = subprocess.run(
        [varnishtest, "-t", str(_TIMEOUT_S), f"-Dpport={proxy}", f"-Doport={origin}", str(rule.path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if ran.returncode == 0:
        return None
    return "\n".join(line for line in ran.stdout.splitlines() if line.startswith("---")) or ran.stdout
