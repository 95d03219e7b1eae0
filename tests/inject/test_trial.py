"""What `helm test` says of a pod: no sidecar, a sidecar without upstream, all well."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from proxy.inject import trial


class Sidecar(ThreadingHTTPServer):
    """Answers as a sidecar would; ``asked`` holds what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str]] = []
        self.status, self.headers = 200, {"Sidegate-Attempts": "1"}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One answer for all."""

    def _answer(self) -> None:
        server = self.server
        assert isinstance(server, Sidecar)
        server.asked.append((self.command, self.path))
        is_probe = self.path == "/readyz"
        self.send_response(200 if is_probe else server.status)
        for name, value in ({} if is_probe else server.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = _answer

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def sidecar() -> Iterator[Sidecar]:
    with Sidecar() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def tried(sidecar: Sidecar) -> int:
    return trial.main([f"{sidecar.url}/pages/1", f"{sidecar.url}/readyz", f"{sidecar.url}/shutdown"])


def test_any_answer_of_the_upstream_will_do_and_the_sidecar_is_told_to_end(
    sidecar: Sidecar, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY, which the injector sets, is not for the trial's own calls."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for status in (200, 404, 500):
        sidecar.status = status
        assert tried(sidecar) == 0
        assert f"answered {status} through the sidecar, attempt 1" in capsys.readouterr().out
    assert sidecar.asked[-3:] == [("GET", "/readyz"), ("GET", "/pages/1"), ("POST", "/shutdown")]


def test_an_answer_that_the_sidecar_made_is_a_failure_with_its_reason(
    sidecar: Sidecar, capsys: pytest.CaptureFixture[str]
) -> None:
    sidecar.status, sidecar.headers = 502, {"Sidegate-Reason": "dns_failed"}
    assert tried(sidecar) == 1
    assert "the upstream did not answer: dns_failed (status 502)" in capsys.readouterr().err
    assert sidecar.asked[-1] == ("POST", "/shutdown")


def test_without_a_sidecar_it_says_where_to_look() -> None:
    wrong = trial.attempt("http://127.0.0.1:1/", "http://127.0.0.1:1/readyz", within_s=0.1)
    assert wrong is not None
    assert "sidegate.dev/status" in wrong


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert trial.main([]) == 2
    assert "usage" in capsys.readouterr().err
