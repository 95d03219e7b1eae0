"""A pod whose threads read large bodies slowly, each at its own speed. A mebibyte that came is one page to the report.

Run: ``python -m tests.bench.real.reader ORDER`` with an ``Order``; its pages are not looked at.
"""

from __future__ import annotations

import http.client
import sys
import time

from proxy.lab.pod import Pod
from tests.bench.goodput.pod import main

PATH = "/ten-mebibytes"
BYTES_PER_S = 256 * 1024
MIB = 1024 * 1024
PIECE_BYTES = 64 * 1024


class SlowReaders(Pod):
    """A pod of threads that pull the same body over and over, ``BYTES_PER_S`` each."""

    def _pull(self, index: int) -> None:
        time.sleep(index / 20)  # so that the threads of a pod are not in step
        while self._left_s() > 0:
            error = self._read_once()
            if error is not None and self._left_s() > 0:
                self._failed(error, 0.0)
                self._sleep(self.order.habits.repeat_pause_s)

    def _read_once(self) -> str | None:
        """One body from its head to its end; None when it came whole, else what went wrong."""
        host, _, port = self.order.target.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=self.order.habits.timeout_s)
        try:
            connection.request("GET", PATH)
            response = connection.getresponse()
            if response.status != 200:
                return f"status {response.status}"
            return self._read_body(response)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()

    def _read_body(self, response: http.client.HTTPResponse) -> str | None:
        started = time.monotonic()
        read, expected = 0, response.length
        while self._left_s() > 0 and (piece := response.read(PIECE_BYTES)):
            read += len(piece)
            now = time.monotonic()
            if read % MIB < len(piece):
                self._delivered(now, 0.0, 0.0)
            self._sleep(started + read / BYTES_PER_S - now)
        return None if read == expected or self._left_s() <= 0 else "truncated"


if __name__ == "__main__":
    sys.exit(main(SlowReaders))
