"""``sidegate lab``: eight pods pull pages from a fragile upstream, directly and through sidecars."""

import argparse
from pathlib import Path

DEFAULT_MODE = "collapse"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``lab`` to the commands."""
    parser = subparsers.add_parser(
        "lab",
        help="compare a fragile upstream with and without Sidegate",
        description="Starts a fragile upstream and eight pods of 5-20 threads that pull pages from it: first "
        "directly, then through eight real sidecars. Prints both. Exits 1 when an error came through.",
    )
    add = parser.add_argument
    add(
        "--mode",
        action="append",
        metavar="MODEL",
        help=f"repeatable, or all (default {DEFAULT_MODE}); see --list",
    )
    add("--pages", type=int, metavar="N", help="pages to pull (default: what takes some 10-20 s)")
    add("--seed", type=int, default=1, metavar="N", help="of everything random (default 1)")
    add("--seconds", type=float, metavar="S", help="upper bound per side and model (default 60 or more)")
    add(
        "--param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the model or the app; see --list",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="a setting of every sidecar, as of sidegate run",
    )
    add("--told", action="store_true", help="give each sidecar its share of the right limit instead")
    add("--direct-only", action="store_true", help="leave the sidecars out")
    add("--json", type=Path, metavar="FILE", help="write the results there as JSON too")
    add("--logs", type=Path, metavar="DIR", help="keep every process's output there")
    add("--list", action="store_true", help="print the models and their parameters, run nothing")


def run(args: argparse.Namespace) -> int:
    """Run the comparison; 0 fine, 1 an error came through or a process failed, 2 wrong usage."""
    from proxy.lab.command import execute

    return execute(args)
