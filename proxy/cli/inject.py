"""``sidegate inject``: manifests in, manifests with the sidecar out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is injected."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the sidecar's configuration, or the chart's values: configuration, image, capture, services",
    )
    parser.add_argument("--upstream", metavar="URL", help="upstream.url")
    parser.add_argument("--kube-version", metavar="1.N", help="the cluster's version (default: 1.29)")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "inject",
        help="put the sidecar into manifests",
        description="Read manifests, write them with a sidecar in each pod: Pods, Deployments, StatefulSets, DaemonSets, "
        "ReplicaSets, Jobs, CronJobs and Lists of them. What is not changed stays byte for byte as it is.",
    )
    parser.add_argument(
        "-f",
        "--filename",
        metavar="MANIFESTS",
        action="append",
        required=True,
        help="a YAML file; - is standard input",
    )
    parser.add_argument(
        "--labelled-only",
        action="store_true",
        help='only pods with sidegate.dev/inject: "true"; without it all but those with "false"',
    )
    add_plan_options(parser)


def run(args: argparse.Namespace) -> int:
    """Return 0 when all went well, 1 when a pod cannot be injected (nothing is written then), 2 on bad configuration."""
    from proxy import __version__
    from proxy.inject.manifests import inject_all
    from proxy.inject.options import read_plan

    plan, problems = read_plan(args.config, {"upstream": args.upstream, "kubeVersion": args.kube_version})
    texts = []
    for name in args.filename:
        try:
            texts.append(sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{name}: cannot be read: {error}")
    if problems:
        for problem in problems:
            print(f"sidegate: {problem}", file=sys.stderr)
        return 2
    reports = [inject_all(text, plan, version=__version__, is_asked=not args.labelled_only) for text in texts]
    for report in reports:
        for name, why in report.skipped:
            print(f"{name}: left alone: {why}", file=sys.stderr)
        for warning in report.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        for name in report.injected:
            print(f"{name}: injected", file=sys.stderr)
    failed = [problem for report in reports for problem in report.problems]
    for problem in failed:
        print(f"sidegate: {problem}", file=sys.stderr)
    if failed:
        return 1
    for number, report in enumerate(reports):
        between = "" if number == 0 or report.text.startswith("---") else "---\n"
        print(between + report.text, end="" if report.text.endswith("\n") else "\n")
    return 0
