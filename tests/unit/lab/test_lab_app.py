"""The microservice of the examples: it pulls, it says what came of it, and its exit code tells."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest

from proxy.lab import app
from proxy.lab.models import build_model
from proxy.lab.server import Upstream, start_servers


@pytest.fixture
def upstream() -> Iterator[str]:
    """A healthy upstream's base URL."""
    loop = asyncio.new_event_loop()
    model = build_model("healthy", seed=1, settings={})
    servers = loop.run_until_complete(start_servers(Upstream(model, loop.time)))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{servers[0].sockets[0].getsockname()[1]}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for server in servers:
        server.close()
    loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()


def test_it_pulls_its_pages_and_says_so(
    upstream: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_URL", upstream)
    assert app.main(["--name", "orders", "--threads", "3", "--pages", "30", "--rounds", "2"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["service"], first["round"], first["delivered"], first["errors"]) == ("orders", 0, 30, 0)
    assert second["round"] == 1


def test_a_page_that_did_not_come_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        app.main(["--url", "http://127.0.0.1:1", "--pages", "2", "--threads", "1", "--seconds", "0.2"]) == 1
    )
    told = json.loads(capsys.readouterr().out)
    assert told["delivered"] == 0
    assert told["errors"] >= 1


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a/base", "a:80"])
def test_a_base_url_that_cannot_be_is_wrong_usage(url: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        app.main(["--url", url])
    assert stopped.value.code == 2
