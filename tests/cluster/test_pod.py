"""Unmodified apps in real pods: every capture mode carries their calls, jobs end, and no call is lost when a pod ends."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from proxy.inject.options import Plan
from proxy.inject.pod import inject
from tests.cluster import images
from tests.cluster.outside import NAME, Outside
from tests.cluster.pod import Pod, PodError
from tests.parts import require

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

CURL = """\
for item in $(seq 30); do
  curl -sS -o /dev/null -w '%{http_code} %header{sidegate-attempts}\\n' $BASE/items/$item
done
"""
URLLIB = """\
import os, urllib.error, urllib.request
for item in range(1, 31):
    try:
        with urllib.request.urlopen(f"{os.environ['BASE']}/items/{item}") as answer:
            answer.read()
            print(answer.status, answer.headers["Sidegate-Attempts"] or "")
    except urllib.error.HTTPError as error:
        print(error.code, error.headers["Sidegate-Attempts"] or "")
"""
APPS = {"curl": ["sh", "-c", CURL], "urllib": ["python3", "-c", URLLIB]}
"""Programs that call $BASE/items/1 to 30 and print status and tries of each. They know of no sidecar."""
SHOW = "python -m proxy.inject.redirect && iptables-nft -t nat -S && ip6tables-nft -S"
LEGACY = """\
import os
from proxy.inject import redirect
redirect.BACKENDS = ("legacy",)
raise SystemExit(redirect.main(os.environ))
"""
STEADY = """\
import os, signal, threading, urllib.request
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
done = []
def pull(worker):
    left = 5
    while left:
        left -= told.is_set()
        try:
            with urllib.request.urlopen(f"{os.environ['BASE']}/{worker}/{len(done)}") as answer:
                answer.read()
                done.append((answer.status, told.is_set()))
        except OSError as error:
            done.append((repr(error), told.is_set()))
workers = [threading.Thread(target=pull, args=(number,)) for number in range(4)]
for worker in workers: worker.start()
for worker in workers: worker.join()
import json; print(json.dumps(done))
"""
"""An app of four threads that calls until it is told to stop, and five times each after that."""


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    for part in ("debootstrap", "podman", "runc", "ip"):
        require(part)
    images.sidecar()
    images.redirect()


def injected(
    command: list[str], base: str, capture: dict[str, Any], *, upstream: str = f"http://{NAME}", **spec: Any
) -> dict[str, Any]:
    """A pod with one app, a job's unless ``spec``, which is laid over its own, says otherwise; as the injector makes it."""
    app = {
        "name": "app",
        "image": images.reference(images.BASE),
        "command": command,
        "env": [{"name": "BASE", "value": base}],
    }
    pod = {
        "metadata": {"name": "orders-1", "namespace": "shop"},
        "spec": {"containers": [app], "restartPolicy": "Never", **spec},
    }
    sidecar, redirect = (
        {"repository": repository, "tag": images.TAG, "pullPolicy": "Never"}
        for repository in (images.SIDECAR, images.REDIRECT)
    )
    capture = {**capture, "redirect": {"image": redirect, **capture.get("redirect", {})}}
    plan = Plan({"upstream": {"url": upstream}, "image": sidecar, "capture": capture})
    outcome = inject(pod, plan, namespace="shop", is_namespace_asking=True, version="0")
    assert outcome.pod is not None, outcome
    return outcome.pod


def plain(command: list[str], base: str) -> dict[str, Any]:
    """The same pod without a sidecar."""
    pod = injected(command, base, {"mode": "none"})
    spec = {key: value for key, value in pod["spec"].items() if key not in ("initContainers", "volumes")}
    return {**pod, "spec": spec}


CAPTURES: dict[str, dict[str, Any]] = {
    "env": {"mode": "env"},
    "env, a base URL": {"mode": "env", "baseUrlVars": ["BASE"], "httpProxy": False},
    "hostAliases": {"mode": "hostAliases"},
    "redirect": {"mode": "redirect"},
    "none": {"mode": "none"},
}


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("capture", CAPTURES)
def test_a_jobs_calls_reach_a_fragile_upstream_through_the_sidecar_and_the_pod_ends(
    capture: str, app: str
) -> None:
    base = "http://127.0.0.1:8880" if capture == "none" else f"http://{NAME}"
    with Outside() as outside, Pod(injected(APPS[app], base, CAPTURES[capture]), outside) as pod:
        assert pod.wait("app") == 0, pod.log("app")
        rows = [line.split() for line in pod.log("app").splitlines()]
        assert [status for status, *_ in rows] == ["200"] * 30, rows
        tries = [int(attempts) for _, attempts in rows]
        assert {pod.probe("sidegate", f"{kind}Probe") for kind in ("startup", "liveness", "readiness")} == {
            200
        }
        codes = pod.end()
    assert codes == {"app": 0, "sidegate": 0}
    assert list(codes) == ["app", "sidegate"]
    assert sum(tries) == len(outside.calls) == 44
    assert {call.target for call in outside.calls} == {f"/items/{item}" for item in range(1, 31)}
    assert {call.host for call in outside.calls} == {NAME}
    assert all(call.via is not None and "sidegate" in call.via for call in outside.calls)
    assert pod.startup_s["sidegate"] < 5.0
    print(f"\n{capture}, {app}: sidecar started in {pod.startup_s['sidegate']:.2f} s", end="")


@pytest.mark.parametrize("app", APPS)
def test_without_the_sidecar_the_same_app_sees_every_failure(app: str) -> None:
    with Outside() as outside, Pod(plain(APPS[app], f"http://{NAME}"), outside) as pod:
        assert pod.wait("app") == 0, pod.log("app")
        rows = pod.log("app").split()
    assert rows == ["200", "200", "500"] * 10
    assert {call.via for call in outside.calls} == {None}


@pytest.mark.parametrize("capture", ["env", "env, a base URL", "hostAliases", "redirect"])
def test_a_path_in_the_upstreams_url_is_asked_for_once(capture: str) -> None:
    """hostAliases and redirect put the path of ``upstream.url`` before calls that had it already."""
    command = ["sh", "-c", "curl -sSf -o /dev/null $BASE/items/1"]
    made = injected(command, f"http://{NAME}/api", CAPTURES[capture], upstream=f"http://{NAME}/api")
    with Outside(fails_every=0) as outside, Pod(made, outside) as pod:
        assert pod.wait("app") == 0, pod.log("app")
    assert [call.target for call in outside.calls] == ["/api/items/1"]


@pytest.mark.parametrize("capture", ["env", "hostAliases", "redirect"])
def test_an_init_container_calls_through_the_sidecar_already(capture: str) -> None:
    image = images.reference(images.BASE)
    call = ["curl", "-sSf", "-o", "/dev/null", f"http://{NAME}/migration"]
    first = {"name": "migrate", "image": image, "command": call}
    made = injected(["true"], "", CAPTURES[capture], initContainers=[first])
    with Outside(fails_every=0) as outside, Pod(made, outside) as pod:
        assert pod.wait("app") == 0
    (seen,) = outside.calls
    assert seen.target == "/migration"
    assert seen.via is not None


@pytest.mark.parametrize("capture", ["env", "hostAliases", "redirect"])
def test_an_app_that_calls_on_after_sigterm_loses_no_call(capture: str) -> None:
    made = injected(["python3", "-c", STEADY], f"http://{NAME}", CAPTURES[capture], restartPolicy="Always")
    with Outside() as outside, Pod(made, outside) as pod:
        until = time.monotonic() + 60
        while len(outside.calls) < 100 and time.monotonic() < until:
            time.sleep(0.01)
        codes = pod.end()
        done = json.loads(pod.log("app"))
    assert codes == {"app": 0, "sidegate": 0}
    assert {status for status, _ in done} == {200}
    assert sum(is_late for _, is_late in done) >= 20
    answered = [call for call in outside.calls if call.status == 200]
    assert len(answered) >= len(done)
    assert all(call.via is not None for call in outside.calls)
    late = sum(is_late for _, is_late in done)
    print(f"\n{capture}: {len(done)} calls, {late} of them after SIGTERM, {len(outside.calls)} tries", end="")


class TestRedirect:
    def test_ipv6_does_not_go_around_the_sidecar(self) -> None:
        made = injected(APPS["curl"], f"http://{NAME}", CAPTURES["redirect"])
        with Outside(has_ipv6=True) as outside, Pod(made, outside) as pod:
            assert pod.wait("app") == 0, pod.log("app")
            assert {line.split()[0] for line in pod.log("app").splitlines()} == {"200"}
            assert f"{outside.address6}/128 port 80: reset" in pod.log("sidegate-redirect")
        assert all(call.via is not None for call in outside.calls)

    def test_networks_stand_in_for_a_name(self) -> None:
        capture = {"mode": "redirect", "redirect": {"cidrs": ["198.18.0.0/15"]}}
        made = injected(APPS["urllib"], f"http://{NAME}", capture)
        with Outside() as outside, Pod(made, outside) as pod:
            assert pod.wait("app") == 0, pod.log("app")
        assert len(outside.calls) == 44
        assert all(call.via is not None for call in outside.calls)

    def test_other_ports_and_what_the_pod_says_to_itself_are_left_alone(self) -> None:
        """The app serves itself at port 80, and the upstream's other ports are as closed as they were."""
        serve = "cd /usr/share/doc; python3 -m http.server 80 --bind 127.0.0.1 & sleep 1; "
        calls = f"curl -sS -o /dev/null -w '%{{http_code}} %header{{server}}' http://127.0.0.1/; curl -sS http://{NAME}:81/"
        made = injected(["sh", "-c", serve + calls], "", CAPTURES["redirect"])
        with Outside() as outside, Pod(made, outside) as pod:
            assert pod.wait("app") == 7  # curl: connection refused
            assert "200 SimpleHTTP" in pod.log("app")
        assert outside.calls == []

    def test_a_call_for_another_site_at_the_same_address_is_not_answered_by_the_upstream(self) -> None:
        """The sidecar put the upstream's Host in the place of the app's: wrong pages, and nobody said so."""
        other = "other.example.test"  # DNS gives it the upstream's address
        outside = Outside(fails_every=0)
        calls = (
            f"for host in {other} {NAME} {NAME.upper()} {outside.address}; do "
            "curl -sS -w ' %{http_code} %header{sidegate-reason}\\n' http://$host/items/1; done"
        )
        made = injected(["sh", "-c", calls], "", CAPTURES["redirect"])
        with outside, Pod(made, outside) as pod:
            assert pod.wait("app") == 0, pod.log("app")
            first, *others = pod.log("app").splitlines()
        assert first.endswith(" 421 bad_request")
        assert f"the call is for {other}, and this sidecar carries calls to {NAME} only" in first
        assert [line.split()[-1] for line in others] == ["200", "200", "200"]
        assert [(call.host, call.target) for call in outside.calls] == [(NAME, "/items/1")] * 3

    def test_a_second_run_changes_nothing(self) -> None:
        """The kubelet runs an init container again when it has lost the first one."""
        made = injected(["sleep", "60"], "", CAPTURES["redirect"])
        with Outside(has_ipv6=True) as outside, Pod(made, outside) as pod:
            told = {**made["spec"]["initContainers"][0], "command": ["sh", "-c", SHOW]}
            first, second = pod.run({**told, "name": "first"}), pod.run({**told, "name": "second"})
        assert first == second
        assert first.count("-A OUTPUT -p tcp -j SIDEGATE") == 2

    def test_legacy_iptables_does_as_well(self) -> None:
        """For kernels without nftables; its lock has to lie where a read-only root can be written to."""
        made = injected(APPS["urllib"], f"http://{NAME}", CAPTURES["redirect"])
        made["spec"]["initContainers"][0]["command"] = ["python", "-c", LEGACY]
        with Outside() as outside, Pod(made, outside) as pod:
            assert pod.wait("app") == 0, pod.log("app")
            assert "in force by iptables-legacy" in pod.log("sidegate-redirect")
        assert len(outside.calls) == 44
        assert all(call.via is not None for call in outside.calls)

    def test_a_wrong_variable_stops_the_pod_with_a_sentence(self) -> None:
        made = injected(["true"], "", CAPTURES["redirect"])
        made["spec"]["initContainers"][0]["env"][2]["value"] = "eighty"
        said = re.escape("SIDEGATE_REDIRECT_PORT: expected a number from 1 to 65535 (got 'eighty')")
        with pytest.raises(PodError, match=said), Outside() as outside, Pod(made, outside):
            pass
