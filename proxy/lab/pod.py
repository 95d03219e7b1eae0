"""One pod: an application with threads that pulls its pages over stdlib keep-alive connections.

Its own process: ``python -m proxy.lab.pod ORDER`` with an ``Order`` as JSON. It prints a ready line, waits
for a line on stdin so that all pods start together, then prints progress lines and one ``done`` line.
"""

import http.client
import json
import random
import select
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from proxy.lab.pages import Habits, page_fault, pages_of_pod

REPORT_EVERY_S = 0.25


@dataclass(slots=True)
class Order:
    """What a pod is told: which of the pods it is, whom to call, and until when."""

    pod: int
    threads: Sequence[int]
    pages: int
    target: str
    """``host:port`` of the upstream or of the pod's own sidecar."""
    seconds: float
    seed: int
    habits: Habits = field(default_factory=Habits)

    def as_text(self) -> str:
        """The order as one JSON argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Order":
        """The order that ``as_text`` wrote."""
        told = json.loads(text)
        return cls(**{**told, "habits": Habits(**told["habits"])})


class Client:
    """A thread's kept connection. Reopens it quietly when seen closed before a call, as urllib3 does."""

    def __init__(self, target: str, timeout_s: float) -> None:
        host, _, port = target.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)

    def page_error(self, page: int, size: int, timeout_s: float) -> str | None:
        """Ask for a page once; None when it came whole, else the kind of error the app saw."""
        connection = self._connection
        self._drop_if_closed()
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        try:
            connection.request("GET", f"/pages/{page}?size={size}")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return type(error).__name__
        if response.status != 200:
            return f"status {response.status}"
        fault = page_fault(body, page, size)
        return f"body: {fault}" if fault else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _drop_if_closed(self) -> None:
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()


class Pod:
    """The pages still to pull and what came of the others; its threads share it under a lock."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._lock = threading.Lock()
        self._pages = deque(pages_of_pod(order.pod, order.pages, order.threads))
        self._expected = len(self._pages)
        self._started = 0.0
        self._last_page_s = 0.0
        self._page_s: list[float] = []
        self._call_s: list[float] = []
        self._errors: Counter[str] = Counter()

    def run(self) -> None:
        """Pull everything, reporting on stdout; returns when all threads are through or time is up."""
        self._started = time.monotonic()
        threads = [
            threading.Thread(target=self._pull, args=(index,), daemon=True)
            for index in range(self.order.threads[self.order.pod])
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and self._left_s() > -1:
            self._report("progress")
            self._wait_for(threads)
        self._report("done")

    def _pull(self, index: int) -> None:
        order, habits = self.order, self.order.habits
        rng = random.Random(f"{order.seed}/{order.pod}/{index}")
        client = Client(order.target, habits.timeout_s)
        while (page := self._next_page()) is not None:
            self._pull_page(client, page)
            pause_s = habits.think_s
            if rng.random() < habits.pause_share:
                pause_s += rng.uniform(habits.pause_low_s, habits.pause_high_s)
            self._sleep(pause_s)
        client.close()

    def _pull_page(self, client: Client, page: int) -> None:
        habits = self.order.habits
        first_asked = time.monotonic()
        for _ in range(habits.max_repeats):
            patience_s = min(habits.timeout_s, self._left_s())
            if patience_s <= 0:
                return
            asked = time.monotonic()
            error = client.page_error(page, habits.size, patience_s)
            now = time.monotonic()
            if error is None:
                self._delivered(now, now - first_asked, now - asked)
                return
            if self._left_s() <= 0:
                return
            self._failed(error, now - asked)
            self._sleep(habits.repeat_pause_s)

    def _next_page(self) -> int | None:
        with self._lock:
            return self._pages.popleft() if self._pages and self._left_s() > 0 else None

    def _delivered(self, now: float, page_s: float, call_s: float) -> None:
        with self._lock:
            self._page_s.append(round(page_s, 4))
            self._call_s.append(round(call_s, 4))
            self._last_page_s = max(self._last_page_s, now - self._started)

    def _failed(self, error: str, call_s: float) -> None:
        with self._lock:
            self._errors[error] += 1
            self._call_s.append(round(call_s, 4))

    def _left_s(self) -> float:
        return self._started + self.order.seconds - time.monotonic()

    def _sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self._left_s())))

    def _wait_for(self, threads: list[threading.Thread]) -> None:
        until = time.monotonic() + REPORT_EVERY_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _report(self, event: str) -> None:
        with self._lock:
            told = {"event": event, "delivered": len(self._page_s), "errors": sum(self._errors.values())}
            if event == "done":
                told |= {
                    "expected": self._expected,
                    "last_page_s": self._last_page_s,
                    "kinds": self._errors,
                    "page_s": self._page_s,
                    "call_s": self._call_s,
                }
        print(json.dumps(told), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Entry point of a pod's process."""
    text = (argv or sys.argv[1:])[0]
    pod = Pod(Order.from_text(text))
    print(json.dumps({"event": "ready"}), flush=True)
    if sys.stdin.readline():
        pod.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
