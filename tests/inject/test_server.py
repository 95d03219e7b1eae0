"""The webhook as a process: real HTTPS, certificates that change under it, configuration that changes under it."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.inject.pods import URL, pod
from tests.inject.test_review import review

pytestmark = pytest.mark.slow


class Webhook:
    """A running injector, its files and the authority it is trusted by."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.cert, self.key, self.values = (
            directory / "tls.crt",
            directory / "tls.key",
            directory / "values.yaml",
        )
        self.issue()
        self.values.write_text(f"upstream: {{url: '{URL}'}}\n")
        files = ["--cert", str(self.cert), "--key", str(self.key), "--config", str(self.values)]
        ports = ["--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "injector", *files, *ports],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        self.port, self.ops = said["listen"], said["ops"]

    def issue(self) -> None:
        """Write a new certificate, as Kubernetes does: each file replaced at once."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        for path, text in (
            (self.key, issued.private_key_pem.bytes()),
            (self.cert, issued.cert_chain_pems[0].bytes()),
        ):
            new = path.with_suffix(".new")
            new.write_bytes(text)
            os.replace(new, path)

    def context(self) -> ssl.SSLContext:
        made = ssl.create_default_context()
        self.authority.configure_trust(made)
        return made

    def ask(self, body: Any, whom: str = "namespace") -> dict[str, Any]:
        request = urllib.request.Request(
            f"https://localhost:{self.port}/inject/{whom}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5, context=self.context()) as answer:
            made: dict[str, Any] = json.load(answer)
            return made

    def served_cert(self) -> str:
        return ssl.get_server_certificate(("127.0.0.1", self.port))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=10)
        return self.process.returncode


@pytest.fixture
def webhook(tmp_path: Path) -> Iterator[Webhook]:
    made = Webhook(tmp_path)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.communicate(timeout=10)


def test_it_injects_over_https_counts_and_stops(webhook: Webhook) -> None:
    response = webhook.ask(review(pod()))["response"]
    patch = json.loads(base64.b64decode(response["patch"]))
    assert any(step["path"].startswith("/spec/initContainers") for step in patch)
    assert "patch" not in webhook.ask(review(pod()), "pod")["response"], "nobody asked"
    with urllib.request.urlopen(f"http://127.0.0.1:{webhook.ops}/metrics", timeout=5) as answer:
        metrics = answer.read().decode()
    assert 'sidegate_injector_pods_total{outcome="injected"} 1.0' in metrics
    assert 'sidegate_injector_pods_total{outcome="skipped"} 1.0' in metrics
    assert webhook.stop() == 0


def test_a_new_certificate_is_served_without_a_failed_admission(webhook: Webhook) -> None:
    """Asked all the time while the files change three times, one of them half at first."""
    seen = {webhook.served_cert()}
    for number in range(3):
        webhook.issue()
        if number == 1:
            whole = webhook.key.read_text()
            webhook.key.write_text(whole[:100])
            time.sleep(1.5)
            webhook.key.write_text(whole)
        until = time.monotonic() + 10
        while webhook.served_cert() in seen:
            assert time.monotonic() < until, "the old certificate is still served"
            assert webhook.ask(review(pod()))["response"]["allowed"] is True
            time.sleep(0.05)
        seen.add(webhook.served_cert())
    assert len(seen) == 4


@pytest.mark.parametrize("metadata", [None, "orders", ["orders"]])
def test_a_pod_that_is_none_is_left_to_the_api_server(webhook: Webhook, metadata: Any) -> None:
    """What is logged of it was looked for where it was not, and the answer was 500."""
    said = webhook.ask(review({**pod(), "metadata": metadata}))
    assert said["response"]["allowed"] is True


def test_new_values_are_taken_and_bad_ones_are_not(webhook: Webhook) -> None:
    for text, url in (
        ("upstream: {url: 'http://other.example.com'}\n", "other.example.com"),
        ("upstream: {url: 3}\n", "other.example.com"),
    ):
        webhook.values.write_text(text)
        time.sleep(2.5)
        response = webhook.ask(review(pod()))["response"]
        assert url in base64.b64decode(response["patch"]).decode()


@pytest.mark.parametrize("body", [b"", b"[1", b"{}", b'{"kind": "AdmissionReview"}', b"\xff"])
def test_what_is_no_review_is_answered_400_and_said(webhook: Webhook, body: bytes) -> None:
    request = urllib.request.Request(f"https://localhost:{webhook.port}/inject/pod", data=body)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=5, context=webhook.context())
    assert caught.value.code == 400
    assert "error" in json.load(caught.value)
    caught.value.close()


@pytest.mark.parametrize(
    ("flags", "code", "said"), [(["--upstream", URL], 2, "cannot be used"), ([], 2, "upstream: required")]
)
def test_a_start_that_cannot_be_says_why(tmp_path: Path, flags: list[str], code: int, said: str) -> None:
    command = [
        sys.executable,
        "-m",
        "proxy",
        "injector",
        "--cert",
        str(tmp_path / "no"),
        "--key",
        str(tmp_path / "no"),
        *flags,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == code
    assert said in ran.stderr
