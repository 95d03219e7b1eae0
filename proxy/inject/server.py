"""The admission webhook, ``sidegate injector``: HTTPS on aiohttp, in a process of its own.

    POST /inject/namespace     pods of namespaces that ask for a sidecar
    POST /inject/pod           pods of other namespaces that ask for one themselves

and on a port of its own, plain HTTP:

    GET  /livez, /readyz       for the kubelet
    GET  /metrics              how many pods were injected, skipped, refused

Certificates are read again when they change, so that a rotation needs no restart: the TLS context stays, its chain is replaced.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest

from proxy.config.settings import split_address
from proxy.inject.options import Plan, read_plan
from proxy.inject.pod import Outcome
from proxy.inject.review import NotAReview, answer
from proxy.observe.line_writer import LineWriter, hold_standard_descriptors
from proxy.observe.logs import set_up_logging

_log = logging.getLogger("sidegate.injector")
_MOST_BYTES = 8 << 20
"""A review holds one pod; the API server's own bound on a request is 3 MiB."""
_LOOK_EVERY_S = 1.0


class Tally:
    """What became of the pods so far, by outcome."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        pods = Counter(
            "sidegate_injector_pods", "Pods that were looked at.", ["outcome"], registry=self.registry
        )
        self._by = {name: pods.labels(name) for name in ("injected", "skipped", "refused", "error")}

    def note(self, outcome: Outcome | None) -> None:
        """Count one; None is a request that was no review."""
        if outcome is None:
            self._by["error"].inc()
        else:
            self._by[
                "refused" if outcome.problems else "injected" if outcome.pod is not None else "skipped"
            ].inc()


class Certificate:
    """A chain and a key on disk, and the context that serves them."""

    def __init__(self, cert_file: str, key_file: str) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._read()
        self.context.load_cert_chain(cert_file, key_file)

    def reread(self) -> bool:
        """Take what is on disk if it changed; whether it did. A pair that does not fit is left for the next look."""
        seen = self._read()
        if seen == self._seen:
            return False
        try:
            # A fresh context first: a half-written pair must not spoil the one that serves.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._cert_file, self._key_file)
            self.context.load_cert_chain(self._cert_file, self._key_file)
        except (ssl.SSLError, OSError) as error:
            _log.warning("the certificate changed but cannot be used yet: %s", error)
            return False
        self._seen = seen
        return True

    def _read(self) -> tuple[bytes, bytes]:
        try:
            return Path(self._cert_file).read_bytes(), Path(self._key_file).read_bytes()
        except OSError:
            return b"", b""


def make_apps(plan: Callable[[], Plan], version: str) -> tuple[web.Application, web.Application]:
    """Return the webhook and what the kubelet and Prometheus ask; ``plan`` is asked at each review, for it may be replaced."""
    tally = Tally()

    async def review(request: web.Request) -> web.Response:
        try:
            body: Any = json.loads(await request.read())
            said, outcome = answer(
                body, plan(), is_namespace_asking=request.match_info["whom"] == "namespace", version=version
            )
        except (ValueError, NotAReview, RecursionError) as error:
            tally.note(None)
            return web.json_response({"error": f"bad request: {error}"}, status=400)
        tally.note(outcome)
        _say(body, outcome)
        return web.json_response(said)

    async def well(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(tally.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    webhook = web.Application(client_max_size=_MOST_BYTES)
    webhook.router.add_post(r"/inject/{whom:namespace|pod}", review)
    ops = web.Application()
    for path in ("/livez", "/readyz"):
        ops.router.add_get(path, well)
    ops.router.add_get("/metrics", metrics)
    return webhook, ops


@dataclass(frozen=True, slots=True)
class Served:
    """What the command line says."""

    config: str | None
    flags: Mapping[str, str | None]
    listen: str
    ops: str
    cert: str
    key: str
    version: str


class Plans:
    """The plan in force, and the file it comes from. A bad file keeps the plan that is in force."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._seen = self._text()
        self.plan, self.problems = read_plan(served.config, served.flags)

    def reread(self) -> None:
        """Take the file's plan if the file changed."""
        text = self._text()
        if text == self._seen:
            return
        self._seen = text
        plan, problems = read_plan(self._served.config, self._served.flags)
        for problem in problems:
            _log.error("the configuration changed but cannot be used: %s", problem)
        if not problems:
            self.plan = plan
            _log.info("the configuration was read again")

    def _text(self) -> bytes:
        try:
            return Path(self._served.config).read_bytes() if self._served.config else b""
        except OSError:
            return b""


def serve(served: Served) -> tuple[int, list[str]]:
    """Serve until SIGTERM or SIGINT; return the exit code and what was wrong."""
    plans = Plans(served)
    if plans.problems:
        return 2, plans.problems
    try:
        certificate = Certificate(served.cert, served.key)
    except (ssl.SSLError, OSError) as error:
        return 2, [f"--cert {served.cert}, --key {served.key}: cannot be used: {error}"]
    hold_standard_descriptors()
    lines = LineWriter(2)
    set_up_logging(lines, format="text", level="info")
    try:
        asyncio.run(_serve(served, plans, certificate))
    except OSError as error:
        return 1, [f"cannot listen: {error}"]
    finally:
        lines.close()
    return 0, []


async def _serve(served: Served, plans: Plans, certificate: Certificate) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    runners = [web.AppRunner(app, access_log=None) for app in make_apps(lambda: plans.plan, served.version)]
    fresh = asyncio.create_task(keep_fresh(certificate, plans.reread))
    try:
        for runner, address, tls in zip(
            runners, (served.listen, served.ops), (certificate.context, None), strict=True
        ):
            await runner.setup()
            host, port = split_address(address)
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        ports = [runner.addresses[0][1] for runner in runners]
        ready = LineWriter(1)
        ready.put(json.dumps({"event": "ready", "listen": ports[0], "ops": ports[1]}))
        ready.close(0.0)
        await stopped.wait()
    finally:
        fresh.cancel()
        for runner in runners:
            await runner.cleanup()


async def keep_fresh(certificate: Certificate, reload_plan: Callable[[], None]) -> None:
    """Look at the files once a second, for ever. Kubernetes replaces mounted files by renaming, so contents are compared."""
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        if certificate.reread():
            _log.info("the certificate was read again")
        reload_plan()


def _say(body: Mapping[str, Any], outcome: Outcome) -> None:
    request = body["request"]
    pod = request.get("object")
    metadata = pod.get("metadata") if isinstance(pod, Mapping) else None
    if not isinstance(metadata, Mapping):
        metadata = {}
    name = metadata.get("name") or f"{metadata.get('generateName', '')}*"
    where = f"{request.get('namespace', '')}/{name}"
    if outcome.problems:
        _log.warning("%s refused: %s", where, "; ".join(outcome.problems))
    elif outcome.pod is not None:
        _log.info("%s injected", where)
    elif outcome.skip is not None:
        _log.info("%s left alone: %s", where, outcome.skip)
