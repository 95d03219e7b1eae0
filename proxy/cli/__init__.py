"""The commands. One file each; a file offers ``add_parser(subparsers)`` and ``run(args) -> exit code``.

A file imports what is heavy inside ``run``: the sidecar's memory must not pay for the lab.

Exit codes: 0 fine, 1 failed at its job, 2 wrong usage or configuration.
"""

import argparse
import importlib

from proxy import __version__

COMMANDS = ("run", "lab", "inject", "injector", "config")


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``sidegate`` and ``python -m proxy``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="sidegate", description="A sidecar that carries calls to one fragile HTTP server."
    )
    parser.add_argument("--version", action="version", version=f"sidegate {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    for name in COMMANDS:
        modules[name] = importlib.import_module(f"proxy.cli.{name}")
        modules[name].add_parser(subparsers)
    args = parser.parse_args(argv)
    result: int = modules[args.command].run(args)
    return result
