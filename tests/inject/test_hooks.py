"""What a plain container runs at its start and its end."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator

import pytest

from proxy.inject import hooks


class _Slow(http.server.BaseHTTPRequestHandler):
    """503 twice, then 200."""

    left = [503, 503, 200]

    def do_GET(self) -> None:
        self.send_response(self.left.pop(0) if len(self.left) > 1 else self.left[0])
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/startupz"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_ready_waits_for_200(url: str) -> None:
    assert hooks.main(["ready", url]) == 0


def test_ready_gives_up() -> None:
    assert hooks.ready("http://127.0.0.1:9/startupz", within_s=0.2) is False


def test_linger_takes_its_time() -> None:
    began = time.monotonic()
    assert hooks.main(["linger", "200ms"]) == 0
    assert time.monotonic() - began >= 0.2


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert hooks.main(["dance"]) == 2
    assert "usage" in capsys.readouterr().err
