"""``sidegate injector``: the admission webhook that puts sidecars into pods."""

from __future__ import annotations

import argparse
import sys

from proxy.cli.inject import add_plan_options


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "injector", help="the admission webhook", description="Serve the admission webhook."
    )
    add_plan_options(parser)
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="0.0.0.0:8443", help="HTTPS (default: 0.0.0.0:8443)"
    )
    parser.add_argument(
        "--ops", metavar="HOST:PORT", default="0.0.0.0:8881", help="metrics and probes, plain HTTP"
    )
    parser.add_argument("--cert", metavar="FILE", required=True, help="PEM chain; read again when it changes")
    parser.add_argument("--key", metavar="FILE", required=True, help="PEM key")
    parser.add_argument(
        "--image-tag", metavar="TAG", help="tag of the sidecar's image (default: this version)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM; 2 when the configuration or the certificate cannot be used, 1 when a port is taken."""
    from proxy import __version__
    from proxy.inject.server import Served, serve

    served = Served(
        config=args.config,
        flags={"upstream": args.upstream, "kubeVersion": args.kube_version},
        listen=args.listen,
        ops=args.ops,
        cert=args.cert,
        key=args.key,
        version=args.image_tag or __version__,
    )
    code, problems = serve(served)
    for problem in problems:
        print(f"sidegate: {problem}", file=sys.stderr)
    return code
