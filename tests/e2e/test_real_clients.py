"""Whatever an application calls with, its calls go through unchanged; it need not know of the sidecar."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.clients import Answer, Call, Client, as_programs, in_python
from tests.e2e.conftest import Front
from tests.e2e.origin import COOKIES, Origin, Received, pattern
from tests.e2e.tap import Tap

pytestmark = pytest.mark.slow

CLIENTS: dict[str, Client] = {
    "curl": as_programs.with_curl,
    "requests": in_python.with_requests,
    "httpx": in_python.with_httpx,
    "aiohttp": in_python.with_aiohttp,
    "urllib3": in_python.with_urllib3,
    "node-fetch": as_programs.with_node_fetch,
    "node-http": as_programs.with_node_http,
    "java": as_programs.with_java,
}
WAITS_FOR_100 = (
    as_programs.with_curl,
    as_programs.with_node_http,
    as_programs.with_java,
    in_python.with_aiohttp,
)
"""The others send the body at once; RFC 9110 §10.1.1 lets a server that already has it leave the 100 out."""

HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "te")
MIB = 1024 * 1024


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    return CLIENTS[request.param]


def assert_call_arrived(call: Call, received: Received, front: Front) -> None:
    """The origin got the method, the target and the body as sent; the headers less those of one hop."""
    assert (received.method, received.target) == (call.method, call.path)
    assert received.body == (call.body or b"")
    assert received.header("X-App") == ["kept"]
    if front.sidecar is not None:
        assert received.header("Sidegate-Priority") == []
        # RFC 9110 §7.6.1: what belongs to the client's own connection stays there.
        assert [name for name, _ in received.headers if name.lower() in HOP_BY_HOP] == []


def assert_answer_arrived(answer: Answer, expected: bytes, front: Front) -> None:
    assert answer.status == 200
    assert answer.body == expected
    assert answer.header("x-origin") == ["kept"]
    assert answer.header("set-cookie") == list(COOKIES)
    if front.sidecar is not None:
        assert answer.header("sidegate-attempts") == ["1"]


def exchange(client: Client, calls: list[Call], tap: Tap, origin: Origin, folder: Path) -> list[Answer]:
    answers = client(tap.url, calls, folder)
    assert origin.errors == []
    assert len(origin.received) == len(calls)
    return answers


def test_get_brings_the_origins_bytes(
    client: Client, tap: Tap, origin: Origin, front: Front, tmp_path: Path
) -> None:
    """A GET with an awkward target reaches the origin as written, and its answer comes back as sent."""
    call = Call("GET", "/bytes/1000?cursor=a%2Fb%20c&x=1,2&y=%C3%A9")
    [answer] = exchange(client, [call], tap, origin, tmp_path)
    assert_call_arrived(call, origin.received[0], front)
    assert_answer_arrived(answer, pattern(1000), front)


def test_head_has_the_length_and_no_body(
    client: Client, tap: Tap, origin: Origin, front: Front, tmp_path: Path
) -> None:
    """The answer to HEAD says how long the body would be, and the next call on the connection still works."""
    calls = [Call("HEAD", "/bytes/12345"), Call("GET", "/bytes/10")]
    answers = exchange(client, calls, tap, origin, tmp_path)
    assert_answer_arrived(answers[0], b"", front)
    assert answers[0].header("content-length") == ["12345"]
    assert_answer_arrived(answers[1], pattern(10), front)


def test_posted_body_arrives_whole(
    client: Client, tap: Tap, origin: Origin, front: Front, tmp_path: Path
) -> None:
    """A body with a length goes up and comes back byte for byte."""
    call = Call("POST", "/echo", pattern(70_000))
    [answer] = exchange(client, [call], tap, origin, tmp_path)
    assert_call_arrived(call, origin.received[0], front)
    assert_answer_arrived(answer, pattern(70_000), front)


def test_body_without_a_length_arrives_whole(
    client: Client, tap: Tap, origin: Origin, front: Front, tmp_path: Path
) -> None:
    """A chunked upload as the very first request; Java puts Upgrade: h2c on that one."""
    call = Call("POST", "/echo", pattern(300_000), chunked=True)
    [answer] = exchange(client, [call], tap, origin, tmp_path)
    assert b"transfer-encoding: chunked" in bytes(tap.connections[0].said[:2000]).lower()
    assert_call_arrived(call, origin.received[0], front)
    assert_answer_arrived(answer, pattern(300_000), front)


def test_upload_too_large_to_replay_arrives_whole(
    client: Client, tap: Tap, origin: Origin, front: Front, tmp_path: Path
) -> None:
    """Past body.replay_up_to the upload streams; nothing of it is lost."""
    call = Call("POST", "/echo", pattern(3 * MIB))
    [answer] = exchange(client, [call], tap, origin, tmp_path)
    assert_call_arrived(call, origin.received[0], front)
    assert_answer_arrived(answer, pattern(3 * MIB), front)


@pytest.mark.parametrize("framing", ["bytes", "chunked"])
def test_download_larger_than_any_buffer_is_whole(
    framing: str, client: Client, tap: Tap, origin: Origin, front: Front, tmp_path: Path
) -> None:
    """10 MiB come through equal, whether the origin said the length or sent chunks."""
    [answer] = exchange(client, [Call("GET", f"/{framing}/{10 * MIB}")], tap, origin, tmp_path)
    assert_answer_arrived(answer, pattern(10 * MIB), front)


def test_one_client_connection_carries_every_call(
    client: Client, tap: Tap, origin: Origin, front: Front, tmp_path: Path
) -> None:
    """Calls of all kinds one after the other stay on one connection: the sidecar never closes without need."""
    calls = [
        Call("GET", "/bytes/100"),
        Call("POST", "/echo", b"one"),
        Call("GET", "/chunked/50000"),
        Call("HEAD", "/bytes/100"),
        Call("POST", "/echo", pattern(20_000), chunked=True),
        Call("POST", "/echo", b""),
        Call("GET", "/bytes/0"),
        Call("GET", "/bytes/200000"),
    ]
    answers = exchange(client, calls, tap, origin, tmp_path)
    for call, received in zip(calls, origin.received, strict=True):
        assert_call_arrived(call, received, front)
    bodies = [pattern(100), b"one", pattern(50_000), b"", pattern(20_000), b"", b"", pattern(200_000)]
    for answer, body in zip(answers, bodies, strict=True):
        assert_answer_arrived(answer, body, front)
    # Node's fetch asks its pool before the last connection is back in it, and closes one after a HEAD.
    assert len(tap.connections) <= (3 if client is as_programs.with_node_fetch else 1)


# Node's fetch has no Expect.
@pytest.mark.parametrize("client", sorted(CLIENTS.keys() - {"node-fetch"}), indirect=True)
def test_client_that_expects_100_continue_gets_it(
    client: Client, tap: Tap, origin: Origin, front: Front, tmp_path: Path
) -> None:
    """Expect: 100-continue is answered, by the origin or for it, and the body then arrives whole."""
    calls = [Call("POST", "/echo", pattern(40_000), expect=True), Call("GET", "/bytes/10")]
    answers = exchange(client, calls, tap, origin, tmp_path)
    assert b"expect: 100-continue" in bytes(tap.connections[0].said[:2000]).lower()
    if client in WAITS_FOR_100:
        assert bytes(tap.connections[0].heard).startswith(b"HTTP/1.1 100 ")
    assert_call_arrived(calls[0], origin.received[0], front)
    assert_answer_arrived(answers[0], pattern(40_000), front)
    assert_answer_arrived(answers[1], pattern(10), front)
