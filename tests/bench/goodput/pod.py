"""A lab pod that never runs dry: it pulls its pages in laps, over and over, until its seconds are up.

Run: ``python -m tests.bench.goodput.pod ORDER`` with an ``Order`` whose ``pages`` are those of one lap. Each pod
begins at another place of the lap, so that the fleet as a whole asks for the same mix of pages at all times.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable

from proxy.lab.pages import pages_of_pod
from proxy.lab.pod import Order, Pod


class Laps(deque[int]):
    """A queue in which a page that is taken from the front goes to the back."""

    def popleft(self) -> int:
        page = self[0]
        self.rotate(-1)
        return page


class EndlessPod(Pod):
    """A pod on ``Laps``."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._pages = Laps(lap(order))


def lap(order: Order) -> Iterable[int]:
    """The pod's pages of one lap, from its place in it: the share of the threads that come before its own."""
    pages = deque(pages_of_pod(order.pod, order.pages, order.threads))
    pages.rotate(-(len(pages) * sum(order.threads[: order.pod]) // sum(order.threads)))
    return pages


def main(kind: Callable[[Order], Pod] = EndlessPod) -> int:
    """Make the pod of the order on the command line, say that it is ready, and run it once told to."""
    pod = kind(Order.from_text(sys.argv[1]))
    print(json.dumps({"event": "ready"}), flush=True)
    if sys.stdin.readline():
        pod.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
