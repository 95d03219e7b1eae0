"""One microservice as it runs in a pod of its own: ``python -m proxy.lab.app``, for deploy/examples and the load Job.

It pulls numbered pages with some threads from the base URL in ``DATA_URL`` (or ``SIDEGATE_URL``, or ``--url``) and knows nothing
of Sidegate. Each round ends with one line of JSON; with ``--rounds 0`` rounds go on until SIGTERM. The exit code is 1 where the
app saw an error or a page is missing, 2 where it was told nonsense.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
from typing import Any
from urllib.parse import urlsplit

from proxy.lab.pages import Habits
from proxy.lab.pod import Order, Pod

_SOURCES = ("DATA_URL", "SIDEGATE_URL")


def main(argv: list[str] | None = None) -> int:
    """Entry point of the app's process."""
    parser = argparse.ArgumentParser(
        prog="python -m proxy.lab.app", description=(__doc__ or "").partition("\n")[0]
    )
    found = next((os.environ[name] for name in _SOURCES if os.environ.get(name)), None)
    parser.add_argument(
        "--url", default=found, help="base URL, http://host:port (default: $DATA_URL, then $SIDEGATE_URL)"
    )
    parser.add_argument(
        "--name", default=os.environ.get("HOSTNAME", "app"), help="of the service, in its lines"
    )
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--pages", type=int, default=400, help="a round")
    parser.add_argument("--rounds", type=int, default=1, help="0: until SIGTERM")
    parser.add_argument("--seconds", type=float, default=600.0, help="upper bound of a round")
    args = parser.parse_args(argv)
    url = urlsplit(args.url or "")
    if url.scheme != "http" or not url.hostname or url.path.strip("/"):
        parser.error(
            f"the base URL has the form http://host:port, without a path (got {args.url!r}); set DATA_URL or --url"
        )
    if min(args.threads, args.pages, args.seconds) <= 0 or args.rounds < 0:
        parser.error("--threads, --pages and --seconds are more than 0, --rounds 0 or more")
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    target = f"{url.hostname}:{url.port or 80}"
    number, is_clean = 0, True
    while not stopped and (args.rounds == 0 or number < args.rounds):
        order = Order(0, [args.threads], args.pages, target, args.seconds, number, Habits())
        told = pulled(order)
        is_clean = is_clean and told["delivered"] == args.pages and not told["errors"]
        print(json.dumps({"event": "round", "service": args.name, "round": number, **told}), flush=True)
        number += 1
    return 0 if is_clean else 1


def pulled(order: Order) -> dict[str, Any]:
    """Pull once; return how many pages came, how long it took, and the errors by kind."""
    pod, said = Pod(order), io.StringIO()
    with contextlib.redirect_stdout(said):
        pod.run()
    done = json.loads(said.getvalue().splitlines()[-1])
    return {
        "delivered": done["delivered"],
        "expected": done["expected"],
        "errors": done["errors"],
        "kinds": done["kinds"],
        "seconds": round(done["last_page_s"], 3),
    }


if __name__ == "__main__":
    sys.exit(main())
