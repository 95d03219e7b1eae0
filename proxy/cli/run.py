"""``sidegate run``: the sidecar."""

from __future__ import annotations

import argparse
import json
import os
import sys


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the configuration comes from."""
    parser.add_argument("--config", metavar="FILE", help="configuration file (YAML)")
    parser.add_argument("--upstream", metavar="URL", help="upstream.url")
    parser.add_argument("--listen", metavar="HOST:PORT", help="where the app calls")
    parser.add_argument("--ops", metavar="HOST:PORT", help="metrics and probes")
    parser.add_argument("--admin", metavar="HOST:PORT", help="operator's side")
    parser.add_argument(
        "--set", metavar="a.b=c", action="append", default=[], dest="settings", help="any setting, by path"
    )


def flags_of(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the given flags as (path, text) pairs; SystemExit(2) for a --set without '='."""
    flags = []
    for name, path in (
        ("upstream", "upstream.url"),
        ("listen", "listen"),
        ("ops", "ops"),
        ("admin", "admin"),
    ):
        value = getattr(args, name)
        if value is not None:
            flags.append((path, json.dumps(value)))
    for item in args.settings:
        path, equals, text = item.partition("=")
        if not equals or not path:
            print("sidegate: --set: expected a.b=c, for example --set limits.rate=50", file=sys.stderr)
            raise SystemExit(2)
        flags.append((path, text))
    return flags


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("run", help="run the sidecar", description="Run the sidecar.")
    add_source_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run until stopped; 2 when the configuration cannot be used, 1 when a port is taken."""
    from proxy.config.load import ConfigError, Sources
    from proxy.main import serve

    sources = Sources(args.config or os.environ.get("SIDEGATE_CONFIG"), os.environ, flags_of(args))
    try:
        settings = sources.load()
    except ConfigError as error:
        for problem in error.problems:
            print(f"sidegate: {problem}", file=sys.stderr)
        return 2
    return serve(sources, settings)
