"""A pod's calls to other hosts, by the variables that the injector sets: as without a sidecar.

Each program runs without a sidecar and in pods. What it was given is equal in all of them, and what the other host received.
Tunnels are compared byte for byte at both ends of the sidecar. A request that is passed through in the open is compared less
``OF_A_HOP``, the place of ``PLACED`` among its headers, and what a client itself says otherwise to a proxy.

==============================  ===================================================================================
curl, requests, httpx, urllib   heed HTTP_PROXY, HTTPS_PROXY and NO_PROXY by themselves
urllib3, aiohttp                heed them where the app says so: a ProxyManager; ``trust_env`` (``-told``)
node's fetch and http           ignore them; a package may send absolute targets (``-told``); Node 24 and 22.21 have
                                NODE_USE_ENV_PROXY, which is not tested here
Java                            ignores variables; has -Dhttp.proxyHost (``-told``), and spares 127.* unless it is told
websockets                      heeds HTTP_PROXY for ws:// and HTTPS_PROXY for wss://, both by a tunnel
aiohttp's WebSocket             heeds WS_PROXY alone, where the app says so: Upgrade with an absolute target
grpcio                          heeds http_proxy for plain text and TLS, both by a tunnel
==============================  ===================================================================================

The injector sets no HTTPS_PROXY, so most clients call https:// hosts directly. A pod that sets ``HTTPS_PROXY: $(SIDEGATE_URL)``
itself has them call by tunnels. A client that ignores the variables goes past the sidecar.
"""

from __future__ import annotations

import importlib
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore

from tests.e2e.clients import Answer, Call
from tests.e2e.clients.as_programs import HERE
from tests.e2e.clients.in_pod import CLIENTS, Client, Trust, environment
from tests.e2e.origin import COOKIES, Origin, Received, pattern
from tests.e2e.pod import Pod, assert_tunnels_are_plain, tunnels, until
from tests.e2e.sidecar import Sidecar
from tests.e2e.tap import Carried, Tap

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
OTHER, SPARED = "127.0.0.2", "127.0.0.1"
"""Both on loopback; the second is in NO_PROXY. Names would be nicer, but no name is the first on every machine."""
AS_INJECTED: Mapping[str, str] = {}
WITH_TUNNELS = {"HTTPS_PROXY": "$(SIDEGATE_URL)", "WS_PROXY": "$(SIDEGATE_URL)"}
"""What a pod's manifest sets by itself, before the injector sees it."""
OF_A_HOP = ("connection", "proxy-connection", "keep-alive", "te", "upgrade", "http2-settings")
"""RFC 9110 §7.6.1: they speak of the app's own connection, and end with it."""
PLACED = ("host", "transfer-encoding", "expect")
"""Host comes first (RFC 9112 §3.2), and what is said anew at each hop comes last."""


class Host:
    """Another host: a server on 127.0.0.1 and the tap by which it is reached."""

    def __init__(self, stack: ExitStack, server: Any, scheme: str, address: str = OTHER) -> None:
        self.server = stack.enter_context(server)
        self.tap = stack.enter_context(Tap(self.server.port, address))
        self.url = f"{scheme}://{self.tap.authority}"

    def forget(self) -> None:
        self.server.forget()
        self.tap.connections.clear()


def part(name: str) -> None:
    """Whether a package of the dev extra is here: a skipped test where it is not, in CI a failed one."""
    if os.environ.get("CI") == "true":
        importlib.import_module(name)
    else:
        pytest.importorskip(name)


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


@pytest.fixture(scope="module")
def pod(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """Its upstream is there, and none of the calls is for it."""
    upstream = stack.enter_context(Origin())
    sidecar = stack.enter_context(Sidecar(upstream.url, tmp_path_factory.mktemp("sidecar")))
    yield Pod(sidecar, stack.enter_context(Tap(sidecar.port)), upstream.url)
    assert upstream.received == []
    assert sidecar.stop() == 0, sidecar.log()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(OTHER).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trust(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Trust:
    folder = tmp_path_factory.mktemp("trust")
    made = Trust(folder / "ca.pem", folder / "ca.p12", "changeit")
    authority.cert_pem.write_to_path(str(made.pem))
    certificate = PKCS12Certificate(x509.load_pem_x509_certificate(authority.cert_pem.bytes()), b"other")
    locked = BestAvailableEncryption(made.password.encode())
    made.store.write_bytes(serialize_java_truststore([certificate], locked))
    return made


# HTTP and HTTPS


@pytest.fixture(scope="module")
def hosts(stack: ExitStack, tls: ssl.SSLContext) -> dict[str, Host]:
    # In this order they are called: a cookie of one is sent to the next, so what is called alone must be the first.
    return {
        "https": Host(stack, Origin(tls), "https"),
        "http": Host(stack, Origin(), "http"),
        "spared": Host(stack, Origin(), "http", SPARED),
    }


def calls_to(base: str) -> list[Call]:
    made = [
        Call("GET", "/bytes/1000?cursor=a%2Fb%20c&x=1,2&y=%C3%A9"),
        Call("HEAD", "/bytes/12345"),
        Call("POST", "/echo", pattern(20_000)),
        Call("POST", "/echo", pattern(20_001), chunked=True),
        Call("PUT", "/echo", b""),
        Call("GET", "/chunked/5"),
        Call("GET", f"/chunked/{MIB}"),
        Call("GET", "/moved/bytes/7"),
        Call("GET", "/status/500"),
        Call("POST", "/status/503", b"one"),
        Call("GET", f"/bytes/{4 * MIB}"),
        Call("POST", "/echo", pattern(2 * MIB)),
        Call("GET", "/bytes/10"),
    ]
    return [Call(call.method, base + call.path, call.body, call.chunked) for call in made]


@dataclass(frozen=True, repr=False)
class Run:
    """What came of the calls to one host. ``app`` and ``host`` are connections to the sidecar and to the host."""

    calls: list[Call]
    answers: list[Answer]
    received: list[Received]
    app: list[Carried]
    host: list[Carried]


@dataclass(frozen=True)
class Runs:
    """One client's: without a sidecar, in a pod as it is injected, and in one that asks for tunnels. By host."""

    client: Client
    direct: dict[str, Run]
    injected: dict[str, Run]
    tunnelled: dict[str, Run]
    passed_through: int

    def pairs(self) -> Iterator[tuple[Run, Run]]:
        """What came of calls in a pod, and without a sidecar."""
        for runs in (self.injected, self.tunnelled):
            for name, run in runs.items():
                yield run, self.direct[name]


class Surroundings:
    """Runs clients. What they do without a sidecar is kept: a ``-told`` one has nothing to heed there."""

    def __init__(self, pod: Pod, hosts: dict[str, Host], trust: Trust, folder: Path) -> None:
        self.pod, self.hosts, self.trust, self.folder = pod, hosts, trust, folder
        self._direct: dict[str, dict[str, Run]] = {}

    def runs(self, name: str) -> Runs:
        client = CLIENTS[name]
        base = name.removesuffix("-told")
        if base not in self._direct:
            self._direct[base] = self._run(client, None, *self.hosts)
        before = self.pod.count("passthrough")
        if client.reads_variables:
            injected = self._run(client, AS_INJECTED, *self.hosts)
            tunnelled = self._run(client, WITH_TUNNELS, "https") if client.tunnels else {}
        else:  # it is told of both proxies at once
            injected = self._run(client, WITH_TUNNELS, *self.hosts)
            tunnelled = {"https": injected.pop("https")}
        made = Runs(client, self._direct[base], injected, tunnelled, 0)
        until(
            lambda: self.pod.count("passthrough") - before >= in_the_sidecar(made),
            f"{in_the_sidecar(made)} calls have been counted",
        )
        return replace(made, passed_through=self.pod.count("passthrough") - before)

    def _run(self, client: Client, own: Mapping[str, str] | None, *names: str) -> dict[str, Run]:
        for host in self.hosts.values():
            host.forget()
        self.pod.tap.connections.clear()
        calls = {name: calls_to(self.hosts[name].url) for name in names}
        if "spared" in calls:
            calls["spared"] = calls["spared"][:1]
        env = {**self.trust.variables, **(self.pod.variables(own) if own is not None else {})}
        answers = iter(client.run([call for each in calls.values() for call in each], self.folder, env))
        return {
            name: Run(
                calls[name],
                [next(answers) for _ in calls[name]],
                list(self.hosts[name].server.received),
                list(self.pod.tap.connections),
                list(self.hosts[name].tap.connections),
            )
            for name in names
        }


def in_the_sidecar(runs: Runs) -> int:
    """How many calls it carried: one a request in the open, one a tunnel."""
    if not runs.client.heeds:
        return 0
    in_the_open = len(runs.injected["http"].received)
    if not runs.client.spares:
        in_the_open += len(runs.injected["spared"].received)
    return in_the_open + sum(len(tunnels(run.app)) for run in runs.tunnelled.values())


@pytest.fixture(scope="module")
def surroundings(
    pod: Pod, hosts: dict[str, Host], trust: Trust, tmp_path_factory: pytest.TempPathFactory
) -> Surroundings:
    return Surroundings(pod, hosts, trust, tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="module", params=CLIENTS)
def runs(request: pytest.FixtureRequest, surroundings: Surroundings) -> Runs:
    return surroundings.runs(request.param)


def essence(received: Received, client: Client) -> tuple[object, ...]:
    """What is to be the same in the open: all of it, less what the module's docstring names."""
    said = [(name.lower(), value) for name, value in received.headers]
    kept = [each for each in said if each[0] not in OF_A_HOP + PLACED and each not in client.says_to_proxies]
    placed = sorted(each for each in said if each[0] in PLACED)
    return received.method, received.target, kept, placed, received.body


def raw(run: Run) -> list[tuple[bytes, bytes]]:
    return [(each.raw_head, each.body) for each in run.received]


def test_an_app_is_given_the_same(runs: Runs) -> None:
    """Status, every header and its order, and the body; none of them is ours."""
    for run, direct in runs.pairs():
        for call, got, expected in zip(run.calls, run.answers, direct.answers, strict=True):
            said = f"{call.method} {call.path}"
            headers = [each for each in got.headers if each[0] not in OF_A_HOP]
            assert (got.status, headers) == (expected.status, expected.headers), said
            assert got.body == expected.body, said
            assert got.header("set-cookie") == list(COOKIES), said
            assert not [name for name, _ in got.headers if name == "via" or name.startswith("sidegate-")], (
                said
            )


def test_an_http_host_receives_the_same(runs: Runs) -> None:
    """As often, too: a 500 is answered and not tried again."""
    run, direct = runs.injected["http"], runs.direct["http"]
    assert [essence(each, runs.client) for each in run.received] == [
        essence(each, runs.client) for each in direct.received
    ]
    assert bool(run.app) is runs.client.heeds
    if not runs.client.heeds:
        assert raw(run) == raw(direct)


def test_an_https_host_receives_the_same_bytes(runs: Runs) -> None:
    """Past the sidecar as the injector has it, by a tunnel where the pod asks for that."""
    if "https" in runs.injected:
        assert raw(runs.injected["https"]) == raw(runs.direct["https"])
        assert tunnels(runs.injected["https"].app) == []
    for run in runs.tunnelled.values():
        assert raw(run) == raw(runs.direct["https"])
        assert_tunnels_are_plain(run.app, run.host)


def test_an_address_in_no_proxy_is_called_past_the_sidecar(runs: Runs, hosts: dict[str, Host]) -> None:
    run, direct = runs.injected["spared"], runs.direct["spared"]
    if runs.client.spares:
        assert raw(run) == raw(direct)
        assert not [each for each in run.app if hosts["spared"].tap.authority.encode() in each.said]
    else:
        assert [essence(each, runs.client) for each in run.received] == [
            essence(each, runs.client) for each in direct.received
        ]


def test_calls_are_counted_as_passed_through(runs: Runs) -> None:
    assert runs.passed_through == in_the_sidecar(runs)


# WebSocket and gRPC


def run_app(script: str, words: Sequence[str], env: Mapping[str, str], folder: Path) -> str:
    """Run one of the apps; return what it printed."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *words],
        env=environment(env, folder),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, f"{script} {words} left with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True, repr=False)
class Talk:
    """What an app printed, what the host received, and the app's connections to the sidecar."""

    printed: str
    received: list[object]
    app: list[Carried]


class Talks:
    """Runs an app that talks to one host, without a sidecar and in pods."""

    def __init__(self, pod: Pod, host: Host, trust: Trust, folder: Path) -> None:
        self.pod, self.host, self.trust, self.folder = pod, host, trust, folder

    def run(self, script: str, words: Sequence[str], own: Mapping[str, str] | None) -> Talk:
        self.host.forget()
        self.pod.tap.connections.clear()
        env = {**self.trust.variables, **(self.pod.variables(own) if own is not None else {})}
        printed = run_app(script, words, env, self.folder)
        if script == "app_websocket.py":
            until(self.host.server.has_ended.is_set, "the WebSocket has ended")
        return Talk(printed, list(self.host.server.received), list(self.pod.tap.connections))


@pytest.fixture(scope="module")
def websocket_hosts(stack: ExitStack, tls: ssl.SSLContext) -> dict[str, Host]:
    part("websockets")
    from tests.e2e.websockets_host import WebSocketHost

    return {
        "ws": Host(stack, WebSocketHost(), "ws"),
        "wss": Host(stack, WebSocketHost(tls), "wss"),
        "spared": Host(stack, WebSocketHost(), "ws", SPARED),
    }


@pytest.mark.parametrize(
    ("client", "to", "own", "comes_by"),
    [
        ("websockets", "ws", AS_INJECTED, b"CONNECT "),
        ("websockets", "wss", AS_INJECTED, b""),
        ("websockets", "wss", WITH_TUNNELS, b"CONNECT "),
        ("websockets", "spared", WITH_TUNNELS, b""),
        ("aiohttp", "ws", WITH_TUNNELS, b""),
        ("aiohttp-told", "ws", AS_INJECTED, b""),
        ("aiohttp-told", "ws", WITH_TUNNELS, b"GET ws://"),
        ("aiohttp-told", "spared", WITH_TUNNELS, b""),
    ],
)
def test_a_websocket_to_another_host_is_the_same(
    client: str,
    to: str,
    own: Mapping[str, str],
    comes_by: bytes,
    pod: Pod,
    websocket_hosts: dict[str, Host],
    trust: Trust,
    tmp_path: Path,
) -> None:
    """Text, binary, pings of both sides, and the code and the words that it closes with."""
    host = websocket_hosts[to]
    talks = Talks(pod, host, trust, tmp_path)
    words = [client, f"{host.url}/chat?a=b%2F"]
    direct = talks.run("app_websocket.py", words, None)
    before = pod.count("passthrough")
    through = talks.run("app_websocket.py", words, own)
    assert through.printed == direct.printed
    assert through.received == direct.received
    assert [bytes(each.said[: len(comes_by)]) for each in through.app] == ([comes_by] if comes_by else [])
    until(lambda: pod.count("passthrough") - before == len(through.app), "the WebSocket has been counted")
    if comes_by == b"CONNECT ":
        assert_tunnels_are_plain(through.app, host.tap.connections)


@pytest.mark.parametrize(
    ("client", "by", "route"),
    [
        ("websockets", "SIDEGATE_URL", "default"),
        ("aiohttp", "SIDEGATE_URL", "default"),
        ("aiohttp-told", "its address", "default"),
        ("websockets", "its address", "passthrough"),
    ],
)
def test_a_websocket_to_the_upstream_is_the_same(
    client: str,
    by: str,
    route: str,
    pod_of_websockets: tuple[Pod, Host],
    trust: Trust,
    tmp_path: Path,
) -> None:
    """By SIDEGATE_URL, and by the upstream's own address as an app calls that knows nothing of us."""
    pod, host = pod_of_websockets
    talks = Talks(pod, host, trust, tmp_path)
    own = f"{host.url}/chat?a=b"
    direct = talks.run("app_websocket.py", [client, own], None)
    before = pod.count(route)
    to = (
        own if by != "SIDEGATE_URL" else pod.variables({})["SIDEGATE_URL"].replace("http", "ws") + "/chat?a=b"
    )
    through = talks.run("app_websocket.py", [client, to], WITH_TUNNELS)
    assert through.printed == direct.printed
    assert through.received == direct.received
    assert len(through.app) == 1
    until(lambda: pod.count(route) - before == 1, "the WebSocket has been counted")


@pytest.fixture(scope="module")
def pod_of_websockets(
    stack: ExitStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Pod, Host]]:
    part("websockets")
    from tests.e2e.websockets_host import WebSocketHost

    host = Host(stack, WebSocketHost(), "ws")
    url = host.url.replace("ws", "http")
    with Sidecar(url, tmp_path_factory.mktemp("sidecar")) as sidecar, Tap(sidecar.port) as tap:
        yield Pod(sidecar, tap, url), host
        assert sidecar.stop() == 0, sidecar.log()


@pytest.fixture(scope="module")
def grpc_hosts(stack: ExitStack, authority: trustme.CA) -> dict[str, Host]:
    part("grpc")
    from tests.e2e.grpc_host import GrpcHost

    made = authority.issue_cert(OTHER)
    key_and_chain = made.private_key_pem.bytes(), b"".join(pem.bytes() for pem in made.cert_chain_pems)
    return {
        "plain": Host(stack, GrpcHost(), "grpc"),
        "tls": Host(stack, GrpcHost(key_and_chain), "grpc"),
        "spared": Host(stack, GrpcHost(), "grpc", SPARED),
    }


@pytest.mark.parametrize("to", ["plain", "tls", "spared"])
def test_a_grpc_server_hears_and_says_the_same(
    to: str, pod: Pod, grpc_hosts: dict[str, Host], trust: Trust, tmp_path: Path
) -> None:
    """Single calls, a stream, a stream both ways and a refusal, with metadata both ways."""
    host = grpc_hosts[to]
    talks = Talks(pod, host, trust, tmp_path)
    words = [host.tap.authority, "tls" if to == "tls" else "plain"]
    direct = talks.run("app_grpc.py", words, None)
    assert "FAILED_PRECONDITION" in direct.printed
    through = talks.run("app_grpc.py", words, AS_INJECTED)
    assert through.printed == direct.printed
    assert through.received == direct.received
    assert len(tunnels(through.app)) == len(through.app) == (0 if to == "spared" else 1)
    if to != "spared":
        assert_tunnels_are_plain(through.app, host.tap.connections)
