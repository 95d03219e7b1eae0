"""The clients as an app in a pod has them: programs with that pod's variables and no others, their proxy settings untouched.

``CLIENTS`` says of each which calls it sends to a proxy that HTTP_PROXY names; ``-told`` are those of an app that had to ask
its client for it: ``trust_env`` of aiohttp, a ProxyManager of urllib3, an agent of node's http, ``-Dhttp.proxyHost`` of Java.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.e2e.clients import Answer, Call
from tests.e2e.clients.as_programs import HERE, by_curl, by_lines, java
from tests.parts import require

Variables = Mapping[str, str]
Program = Callable[[Sequence[Call], Path, Variables], list[Answer]]
"""(calls whose paths are whole URLs, a folder for its files, the pod's variables) → the answers in order."""

_HEADER = "X-App: kept"


@dataclass(frozen=True)
class Trust:
    """The authority of the other hosts, as a PEM file and as Java's store."""

    pem: Path
    store: Path
    password: str

    @property
    def variables(self) -> dict[str, str]:
        """By which an app is told of it, whatever it calls with."""
        names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        options = (
            f"-Djavax.net.ssl.trustStore={self.store} -Djavax.net.ssl.trustStorePassword={self.password}"
        )
        return {
            **dict.fromkeys((*names, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"), str(self.pem)),
            "JDK_JAVA_OPTIONS": options,
        }


def environment(pod: Variables, folder: Path) -> dict[str, str]:
    """The whole environment of a pod's program; an empty home, for a .netrc or a .curlrc is no part of it."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), **pod}


def with_curl(calls: Sequence[Call], folder: Path, pod: Variables) -> list[Answer]:
    words = ["--header", _HEADER, "--location"]
    return by_curl("", calls, folder, words, waits=True, env=environment(pod, folder))


def in_python(name: str) -> Program:
    command = [sys.executable, str(HERE / "app.py"), name]
    return lambda calls, folder, pod: by_lines(command, calls, folder, environment(pod, folder))


def in_node(kind: str) -> Program:
    def run(calls: Sequence[Call], folder: Path, pod: Variables) -> list[Answer]:
        command = [require("node"), str(HERE / "client.mjs"), kind, "", _HEADER]
        return by_lines(command, calls, folder, environment(pod, folder))

    return run


def in_java(*, is_told: bool) -> Program:
    def run(calls: Sequence[Call], folder: Path, pod: Variables) -> list[Answer]:
        told = {"JAVA_TOOL_OPTIONS": java_proxy(pod)} if is_told else {}
        command = [*java(), "-cp", str(_classes(folder)), "Client", "", _HEADER]
        return by_lines(command, calls, folder, environment({**pod, **told}, folder))

    return run


def _classes(folder: Path) -> Path:
    """Where the compiled client lies: once for all its runs, for to compile takes longer than to call."""
    classes = folder.parent / "java-classes"
    if not classes.exists():
        command = [require("javac"), "-d", str(classes), str(HERE / "Client.java")]
        subprocess.run(command, check=True, timeout=90)
    return classes


def java_proxy(pod: Variables) -> str:
    """What a JVM has to be told (docs/kubernetes.md). Without an empty nonProxyHosts it would spare all of 127.*."""
    words = []
    for scheme in ("http", "https"):
        proxy = pod.get(f"{scheme.upper()}_PROXY")
        if proxy is not None:
            url = urlsplit(proxy)
            words += [f"-D{scheme}.proxyHost={url.hostname}", f"-D{scheme}.proxyPort={url.port}"]
    return " ".join([*words, "-Dhttp.nonProxyHosts="])


@dataclass(frozen=True)
class Client:
    """``heeds``: whether it sends its calls to the proxy of the variables; ``spares``: NO_PROXY's directly all the same.

    ``tunnels``: whether it calls https:// by a tunnel where HTTPS_PROXY is set. ``says_to_proxies``: what it adds to a call
    that goes to a proxy. ``reads_variables``: whether it can be told of one proxy and not of the other.
    """

    run: Program
    heeds: bool
    spares: bool = True
    tunnels: bool = False
    says_to_proxies: tuple[tuple[str, str], ...] = ()
    reads_variables: bool = True


CLIENTS: dict[str, Client] = {
    "curl": Client(with_curl, heeds=True, tunnels=True),
    "requests": Client(in_python("requests"), heeds=True, tunnels=True),
    "httpx": Client(in_python("httpx"), heeds=True, tunnels=True),
    "urllib": Client(in_python("urllib"), heeds=True, tunnels=True),
    "urllib3": Client(in_python("urllib3"), heeds=False),
    "urllib3-told": Client(
        in_python("urllib3-told"), heeds=True, tunnels=True, says_to_proxies=(("accept", "*/*"),)
    ),
    "aiohttp": Client(in_python("aiohttp"), heeds=False),
    "aiohttp-told": Client(in_python("aiohttp-told"), heeds=True, tunnels=True),
    "node-fetch": Client(in_node("fetch"), heeds=False),
    "node-http": Client(in_node("http"), heeds=False),
    "node-http-told": Client(in_node("http-told"), heeds=True, tunnels=False),
    "java": Client(in_java(is_told=False), heeds=False),
    "java-told": Client(in_java(is_told=True), heeds=True, tunnels=True, spares=False, reads_variables=False),
}
