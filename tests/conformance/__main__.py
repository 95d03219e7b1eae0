"""``make conformance``, or ``python -m tests.conformance``: every rule on every proxy, as a table.

Exit code 1 when Sidegate breaks a rule. What varnishtest says of each broken rule comes after the table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench.words import names_of
from tests.conformance.proxies import PROXIES
from tests.conformance.trial import Rule, complaint, rules
from tests.fakes.ports import free_port
from tests.parts import where


def main() -> int:
    options = _options()
    chosen = [rule for rule in rules() if options.only in rule.path.name]
    with tempfile.TemporaryDirectory(prefix="sidegate-conformance-") as folder:
        broken = {name: _broken(name, chosen, Path(folder)) for name in options.proxies}
    print(_table(chosen, broken))
    for name, complaints in broken.items():
        for rule, why in complaints.items():
            print(f"\n{name}: {rule.path.name}\n{why}")
    return 1 if broken.get("sidegate") else 0


def _broken(name: str, chosen: list[Rule], folder: Path) -> dict[Rule, str]:
    """The rules that the proxy breaks, with what varnishtest says."""
    place = folder / name
    place.mkdir()
    origin = free_port()
    daemon, port = PROXIES[name](place, origin, None)
    with daemon:
        tried = {
            rule: complaint(rule, where("varnishtest") or "varnishtest", port, origin) for rule in chosen
        }
        daemon.check_alive()
    return {rule: why for rule, why in tried.items() if why is not None}


def _table(chosen: list[Rule], broken: dict[str, dict[Rule, str]]) -> str:
    """Markdown: a line a rule, a column a proxy."""
    lines = [f"| section | rule | {' | '.join(broken)} |", f"|---|---|{':-:|' * len(broken)}"]
    for rule in chosen:
        cells = ["**no**" if rule in complaints else "yes" for complaints in broken.values()]
        lines.append(f"| {rule.section} | {rule.words} | {' | '.join(cells)} |")
    kept = [str(len(chosen) - len(complaints)) for complaints in broken.values()]
    lines.append(f"| | kept, of {len(chosen)} | {' | '.join(kept)} |")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make conformance CONFORMANCE=…", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--proxies", type=names_of(PROXIES), default=list(PROXIES), help=f"of {','.join(PROXIES)}"
    )
    parser.add_argument("--only", default="", help="rules whose file name has this in it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
