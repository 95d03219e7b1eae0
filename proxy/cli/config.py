"""``sidegate config check|schema|show``: the configuration, before anything runs on it."""

from __future__ import annotations

import argparse
import json
import os
import sys

from proxy.cli.run import add_source_options, flags_of


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("config", help="check, show or describe the configuration")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="validate; every error is listed")
    check.add_argument("file", nargs="?", help="configuration file (YAML)")
    show = actions.add_parser("show", help="print the effective configuration, secrets blanked")
    for sub in (check, show):
        add_source_options(sub)
    actions.add_parser("schema", help="print the JSON Schema of the configuration file")


def run(args: argparse.Namespace) -> int:
    """Return 0 when all is well, 2 when the configuration cannot be used."""
    from proxy.config.load import ConfigError, Sources
    from proxy.config.mismatch import mismatches
    from proxy.config.redact import redacted
    from proxy.config.schema import json_schema
    from proxy.config.yaml12 import write_yaml

    if args.action == "schema":
        print(json.dumps(json_schema(), indent=2))
        return 0
    path = args.config or getattr(args, "file", None) or os.environ.get("SIDEGATE_CONFIG")
    try:
        settings = Sources(path, os.environ, flags_of(args)).load()
    except ConfigError as error:
        for problem in error.problems:
            print(f"sidegate: {problem}", file=sys.stderr)
        return 2
    if args.action == "show":
        print(write_yaml(redacted(settings)), end="")
        return 0
    print("configuration is valid")
    for mismatch in mismatches(settings):
        print(f"but {mismatch}")
    return 0
