"""The chart on a real cluster of one node: real Helm, API server, kubelet and containerd, from install to uninstall.

The server is 1.20.2, so what it runs is the plain form of the sidecar; test_pod.py runs the native one. The tests of this file
share one cluster and one release, in order: each stands on what the ones before it left.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from tests.chart.made import CHART, EXAMPLES
from tests.cluster import images
from tests.cluster.node import Node, wait_for
from tests.cluster.root import needs_root

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
EIGHT = ("orders", "stock", "billing", "users", "prices", "search", "mail", "audit")
_RELEASE = ["sidegate", str(CHART), "--namespace", "sidegate", "--wait", "--timeout", "120s", "-f", "-"]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A cluster with the image, an upstream that is fragile, and namespaces that ask and do not ask."""
    needs_root()
    wanted = images.sidecar(), images.redirect()
    with tempfile.TemporaryDirectory(prefix="sg") as folder, Node(Path(folder) / "n") as made:
        for image in wanted:
            made.load(image)
        made.kubectl("apply", "-f", "-", given=with_image(EXAMPLES / "upstream" / "upstream.yaml"))
        made.kubectl("apply", "-f", str(EXAMPLES / "eight" / "namespace.yaml"))
        made.kubectl("create", "namespace", "calm")
        made.kubectl(
            "-n", "upstream", "rollout", "status", "deployment", "upstream", "--timeout=90s", timeout_s=100
        )
        try:
            yield made
        finally:
            Path(tempfile.gettempdir(), "sidegate-cluster.log").write_text(made.logs())


@pytest.fixture(scope="module")
def values(node: Node) -> dict[str, Any]:
    """The values of the eight, with the image that was built; a failed admission is to be seen."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / "eight" / "values.yaml").read_text(encoding="utf-8"))
    found["image"] = {"repository": images.SIDECAR, "tag": images.TAG, "pullPolicy": "Never"}
    found["capture"]["redirect"] = {"image": {**found["image"], "repository": images.REDIRECT}}
    found["injector"] = {"failurePolicy": "Fail"}
    found["trial"] = {"path": "/pages/1?size=20"}
    return found


def test_helm_installs_it_and_both_replicas_are_ready(node: Node, values: dict[str, Any]) -> None:
    began = time.monotonic()
    ran = node.helm("install", *_RELEASE, "--create-namespace", given=yaml.safe_dump(values))
    assert ran.returncode == 0, ran.stderr + node.kubectl("-n", "sidegate", "describe", "pods", check=False)
    print(f"helm install --wait: {time.monotonic() - began:.1f} s")
    assert "kubectl label namespace" in ran.stdout
    pods = node.get("pods", "-n", "sidegate")["items"]
    assert [is_ready(pod) for pod in pods] == [True, True]


def test_a_plain_pod_of_a_namespace_that_asks_is_injected_with_its_overrides(node: Node) -> None:
    pod = app_pod(
        "single", annotations={"sidegate.dev/limits.rate": "7.5", "sidegate.dev/queue.max_wait": "90s"}
    )
    node.kubectl("-n", "shop", "create", "-f", "-", given=yaml.safe_dump(pod))
    made = ready_pod(node, "shop", "single")
    assert [c["name"] for c in made["spec"]["containers"]] == ["sidegate", "app"]
    status = json.loads(made["metadata"]["annotations"]["sidegate.dev/status"])
    assert (status["mode"], status["config"]) == ("classic", "configMap sidegate")
    assert 'sidegate_build_info{namespace="shop",node="localhost",pod="single"' in metrics(
        node, "shop", "single"
    )
    shown = node.kubectl("-n", "shop", "exec", "single", "-c", "sidegate", "--", "sidegate", "config", "show")
    tree = yaml.safe_load(shown)
    assert (tree["limits"]["rate"], tree["queue"]["max_wait"]) == (7.5, 90)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"])
def test_the_pods_that_controllers_make_are_injected(node: Node, kind: str) -> None:
    name = f"by-{kind.lower()}"
    node.kubectl("-n", "shop", "apply", "-f", "-", given=yaml.safe_dump(controller(kind, name)))
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = node.get("pods", "-n", "shop", "-l", f"app={name}")["items"]
        return bool(found) and is_ready(found[0])

    wait_for(f"a pod of the {kind}", is_there, 100)
    assert "sidegate" in [c["name"] for c in found[0]["spec"]["containers"]]
    node.kubectl("-n", "shop", "delete", kind.lower(), name, "--wait=false")


def test_the_load_job_ends_and_saw_no_error(node: Node) -> None:
    text = with_image(EXAMPLES / "load" / "job.yaml").replace("--pages=2000", "--pages=600")
    node.kubectl("apply", "-f", "-", given=text)
    node.kubectl(
        "-n", "shop", "wait", "--for=condition=complete", "job/load", "--timeout=120s", timeout_s=130
    )
    said = json.loads(node.kubectl("-n", "shop", "logs", "job/load", "-c", "load").splitlines()[-1])
    assert (said["delivered"], said["errors"]) == (600, 0)
    (pod,) = node.get("pods", "-n", "shop", "-l", "job-name=load")["items"]
    codes = {s["name"]: s["state"]["terminated"]["exitCode"] for s in pod["status"]["containerStatuses"]}
    assert codes == {"load": 0, "sidegate": 0}


@pytest.mark.parametrize("mode", ["hostAliases", "redirect"])
def test_an_app_that_names_the_upstream_itself_is_captured(node: Node, mode: str) -> None:
    """The app is told nothing: neither a variable nor a proxy. Its user is not the sidecar's, as its image's would be."""
    name = f"by-{mode.lower()}"
    pod = app_pod(name, annotations={"sidegate.dev/capture.mode": mode})
    pod["spec"]["restartPolicy"] = "Never"
    command = "python -m proxy.lab.app --url http://upstream.upstream.svc:8080 --threads 20 --pages 300"
    pod["spec"]["containers"][0] |= {"command": command.split(), "securityContext": {"runAsUser": 65532}}
    node.kubectl("-n", "shop", "create", "-f", "-", given=yaml.safe_dump(pod))

    def ended() -> dict[str, Any]:
        statuses = node.get("pod", name, "-n", "shop")["status"].get("containerStatuses", [])
        states = {s["name"]: s["state"].get("terminated") for s in statuses}
        return states.get("app") or {}

    wait_for(f"the end of {name}", lambda: bool(ended()), 100)
    line = node.kubectl("-n", "shop", "logs", name, "-c", "app").splitlines()[-1]
    print(f"{mode}: {line}")
    said = json.loads(line)
    assert (ended()["exitCode"], said["delivered"], said["errors"]) == (0, 300, 0)
    assert calls(node, name, 'code="200"') == 300
    node.kubectl("-n", "shop", "delete", "pod", name, "--wait=false")


def test_who_does_not_ask_or_opted_out_is_left_as_it_is(node: Node) -> None:
    plain = app_pod("plain")
    opted_out = app_pod("opted-out", labels={"sidegate.dev/inject": "false"})
    also_out = app_pod("also-out", annotations={"sidegate.dev/inject": "false"})
    for namespace, pod in (("calm", plain), ("shop", opted_out), ("shop", also_out)):
        made = json.loads(
            node.kubectl(
                "-n",
                namespace,
                "create",
                "--dry-run=server",
                "-o",
                "json",
                "-f",
                "-",
                given=yaml.safe_dump(pod),
            )
        )
        assert [c["name"] for c in made["spec"]["containers"]] == ["app"]
        assert "sidegate.dev/status" not in made["metadata"].get("annotations", {})
    asks = app_pod("asks", labels={"sidegate.dev/inject": "true"})
    made = json.loads(
        node.kubectl(
            "-n", "calm", "create", "--dry-run=server", "-o", "json", "-f", "-", given=yaml.safe_dump(asks)
        )
    )
    assert [c["name"] for c in made["spec"]["containers"]] == ["sidegate", "app"]


def test_a_bad_annotation_is_refused_with_the_rule_it_broke(node: Node) -> None:
    pod = app_pod(
        "wrong", annotations={"sidegate.dev/limits.rat": "5", "sidegate.dev/timeouts.total": "soon"}
    )
    said = node.kubectl("-n", "shop", "create", "-f", "-", given=yaml.safe_dump(pod), check=False)
    assert "sidegate.dev/limits.rat: unknown key; did you mean rate?" in said
    assert "sidegate.dev/timeouts.total:" in said
    assert "a duration such as 250ms, 30s or 5m" in said
    assert "NotFound" in node.kubectl("-n", "shop", "get", "pod", "wrong", check=False)


def test_helm_test_passes(node: Node) -> None:
    ran = node.helm("test", "sidegate", "-n", "sidegate", "--logs", "--timeout", "90s")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Phase:          Succeeded" in ran.stdout
    print(ran.stdout)


def test_the_eight_run_two_of_two_and_their_calls_go_through_the_sidecar(node: Node) -> None:
    node.kubectl("apply", "-f", "-", given=with_image(EXAMPLES / "eight" / "apps.yaml"))
    began = time.monotonic()
    for name in EIGHT:
        node.kubectl("-n", "shop", "rollout", "status", f"deployment/{name}", "--timeout=120s", timeout_s=130)
    print(f"the eight: 2/2 after {time.monotonic() - began:.1f} s")
    pods = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]: pod
        for pod in node.get("pods", "-n", "shop", "-l", f"app.kubernetes.io/name in ({','.join(EIGHT)})")[
            "items"
        ]
    }
    assert sorted(pods) == sorted(EIGHT)

    def rounds() -> dict[str, list[dict[str, Any]]]:
        said = {
            name: node.kubectl("-n", "shop", "logs", pod["metadata"]["name"], "-c", "app")
            for name, pod in pods.items()
        }
        return {
            name: [json.loads(line) for line in text.splitlines() if line.startswith("{")]
            for name, text in said.items()
        }

    wait_for("a round of every service", lambda: all(rounds().values()), 150)
    for name, pod in pods.items():
        assert [s["ready"] for s in pod["status"]["containerStatuses"]] == [True, True]
        assert json.loads(pod["metadata"]["annotations"]["sidegate.dev/status"])["service"] == name
        for line in rounds()[name]:
            assert (line["delivered"], line["errors"]) == (400, 0), line
        assert calls(node, pod["metadata"]["name"], 'reason="ok"') >= 400


def test_the_eight_are_one_fleet_with_one_pilot(node: Node) -> None:
    """They found each other by the chart's headless Service; nobody told them. Mail, with its fixed limit, takes no share."""
    pods = node.get("pods", "-n", "shop", "-l", f"app.kubernetes.io/name in ({','.join(EIGHT)})")["items"]

    def gauges(name: str) -> list[float]:
        text = "\n".join(metrics(node, "shop", pod["metadata"]["name"]) for pod in pods)
        return [float(value) for value in re.findall(rf"^sidegate_fleet_{name} (\S+)$", text, re.MULTILINE)]

    wait_for("a plan for all", lambda: min(gauges("pods")) >= len(EIGHT) - 1, 30)
    assert sum(gauges("pilot")) <= 1  # an older pod of the same upstream may be it
    assert gauges("cut_off") == [0.0] * len(EIGHT)


def test_running_pods_follow_an_upgrade_without_a_restart(node: Node, values: dict[str, Any]) -> None:
    values["services"]["users"]["limits"]["rate"] = 33
    ran = node.helm("upgrade", *_RELEASE, given=yaml.safe_dump(values))
    assert ran.returncode == 0, ran.stderr
    (pod,) = node.get("pods", "-n", "shop", "-l", "app.kubernetes.io/name=users")["items"]
    name = pod["metadata"]["name"]
    wait_for("the new rate", lambda: "sidegate_rate_limit 33" in metrics(node, "shop", name), 90)
    assert all(s["restartCount"] == 0 for s in pod["status"]["containerStatuses"])


def test_the_certificate_rotates_without_a_failed_admission(node: Node, values: dict[str, Any]) -> None:
    """It is to have more days left than it has, so an upgrade makes another by the same authority; pods come in all the while."""
    values["injector"]["tls"] = {"days": 500, "renewDays": 400}
    before = served_serials(node)
    with Admissions(node) as admissions:
        ran = node.helm("upgrade", *_RELEASE, given=yaml.safe_dump(values))
        assert ran.returncode == 0, ran.stderr
        wait_for(
            "both replicas with the new certificate", lambda: served_serials(node).isdisjoint(before), 120
        )
    assert admissions.failed == []
    assert admissions.admitted > 20
    print(f"{admissions.admitted} admissions while the certificate was replaced, none failed")
    ran = node.helm("upgrade", *_RELEASE, given=yaml.safe_dump(values))
    after = served_serials(node)
    time.sleep(3)
    assert (
        served_serials(node) == after == {secret_serial(node)}
    )  # a certificate that is good for long is kept


def test_without_the_webhook_a_policy_of_ignore_lets_pods_in(node: Node, values: dict[str, Any]) -> None:
    ignoring = {**values, "injector": {"failurePolicy": "Ignore", "timeoutSeconds": 1}}
    assert node.helm("upgrade", *_RELEASE, given=yaml.safe_dump(ignoring)).returncode == 0
    node.kubectl("-n", "sidegate", "scale", "deployment", "sidegate-injector", "--replicas=0")
    wait_for("the webhook's end", lambda: not node.get("pods", "-n", "sidegate")["items"], 60)
    given = yaml.safe_dump(app_pod("slips-through"))
    made = json.loads(
        node.kubectl("-n", "shop", "create", "--dry-run=server", "-o", "json", "-f", "-", given=given)
    )
    assert [c["name"] for c in made["spec"]["containers"]] == ["app"]


def test_uninstalling_leaves_nothing(node: Node) -> None:
    there = "\n".join(ours(node))
    for kind in (
        "deployment.apps",
        "secret",
        "configmap",
        "mutatingwebhookconfiguration.admissionregistration.k8s.io",
    ):
        assert re.search(rf"^{re.escape(kind)}/sidegate", there, re.MULTILINE), there
    ran = node.helm("uninstall", "sidegate", "-n", "sidegate", "--wait")
    assert ran.returncode == 0, ran.stderr
    wait_for("the end of its pods", lambda: not [name for name in ours(node) if name.startswith("pod/")], 40)
    assert ours(node) == []
    given = yaml.safe_dump(app_pod("afterwards"))
    made = json.loads(
        node.kubectl("-n", "shop", "create", "--dry-run=server", "-o", "json", "-f", "-", given=given)
    )
    assert [c["name"] for c in made["spec"]["containers"]] == ["app"]


# --- what the tests are made of


class Admissions:
    """Asks the API server for a pod, over and over, until the block ends."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]
        self.admitted = 0
        self.failed: list[str] = []

    def __enter__(self) -> Admissions:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        given = yaml.safe_dump(app_pod("asked"))
        while not self._is_over.is_set():
            said = self._node.kubectl(
                "-n", "shop", "create", "--dry-run=server", "-o", "yaml", "-f", "-", given=given, check=False
            )
            if "sidegate.dev/status" in said:
                self.admitted += 1
            else:
                self.failed.append(said[:500])


def with_image(path: Path) -> str:
    """A manifest of the examples with the image that was built here."""
    return re.sub(
        r"( +)image: sidegate:0.1.0",
        rf"\1image: {images.reference(images.SIDECAR)}\n\1imagePullPolicy: Never",
        path.read_text(encoding="utf-8"),
    )


def app_pod(
    name: str, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    """A pod of one container that waits."""
    metadata = {"name": name, "labels": {"app": name, **(labels or {})}, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": app_spec()}


def app_spec(restart: str = "Always") -> dict[str, Any]:
    """One container that waits, and lets its pod end at once."""
    wait = "import signal, sys; signal.signal(15, lambda *_: sys.exit()); signal.pause()"
    app = {
        "name": "app",
        "image": images.reference(images.SIDECAR),
        "imagePullPolicy": "Never",
        "command": ["python", "-c", wait],
    }
    return {"containers": [app], "restartPolicy": restart, "terminationGracePeriodSeconds": 8}


def controller(kind: str, name: str) -> dict[str, Any]:
    """Something that makes such pods."""
    labels = {"app": name}
    is_job = kind in ("Job", "CronJob")
    template = {"metadata": {"labels": labels}, "spec": app_spec("Never" if is_job else "Always")}
    spec: dict[str, Any] = {"template": template}
    if not is_job:
        spec["selector"] = {"matchLabels": labels}
    if kind == "StatefulSet":
        spec["serviceName"] = name
    if kind == "CronJob":
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": spec}}
    version = {"Job": "batch/v1", "CronJob": "batch/v1beta1"}.get(kind, "apps/v1")
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether every container of a pod is ready."""
    statuses = pod["status"].get("containerStatuses", [])
    return len(statuses) == len(pod["spec"]["containers"]) and all(s["ready"] for s in statuses)


def ready_pod(node: Node, namespace: str, name: str) -> dict[str, Any]:
    """A pod once it is ready."""
    wait_for(f"{namespace}/{name}", lambda: is_ready(node.get("pod", name, "-n", namespace)), 90)
    found: dict[str, Any] = node.get("pod", name, "-n", namespace)
    return found


def metrics(node: Node, namespace: str, pod: str) -> str:
    """A sidecar's metrics, as whoever may read pods sees them."""
    return node.kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}:8881/proxy/metrics")


def calls(node: Node, pod: str, label: str) -> float:
    """How many calls with a label the sidecar of a pod in shop has answered."""
    found = re.findall(
        rf"^sidegate_requests_total{{.*{label}.*}} (\S+)", metrics(node, "shop", pod), re.MULTILINE
    )
    return sum(map(float, found))


def served_serials(node: Node) -> set[int]:
    """Serial numbers of the certificates that the webhook's pods serve right now."""
    found = set()
    for pod in node.get("pods", "-n", "sidegate", "-l", "app.kubernetes.io/component=injector")["items"]:
        if not is_ready(pod):
            continue
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((pod["status"]["podIP"], 8443), timeout=5) as raw,
            context.wrap_socket(raw) as tls,
        ):
            found.add(x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"").serial_number)
    return found


def secret_serial(node: Node) -> int:
    """The serial number of the certificate in the release's Secret."""
    secret = node.get("secret", "sidegate-injector", "-n", "sidegate")
    return x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["tls.crt"])).serial_number


def ours(node: Node) -> list[str]:
    """What there is of the release, of every kind the server knows, and in its namespace but for what the server put there."""
    labelled = node.kubectl(
        "get", _kinds(node), "-A", "-l", "app.kubernetes.io/instance=sidegate", "-o", "name"
    ).split()
    names = node.kubectl("get", _kinds(node, "--namespaced=true"), "-n", "sidegate", "-o", "name").split()
    servers_own = re.compile(r"serviceaccount/default|secret/default-token-.*|configmap/kube-root-ca.crt")
    return sorted({*labelled, *(name for name in names if not servers_own.fullmatch(name))})


def _kinds(node: Node, *which: str) -> str:
    every = node.kubectl("api-resources", "--verbs=list", "-o", "name", *which).split()
    return ",".join(kind for kind in every if not kind.startswith(("events", "componentstatuses")))
