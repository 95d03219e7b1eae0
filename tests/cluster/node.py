"""A Kubernetes of one node on this machine: etcd, API server, controller manager, scheduler, kubelet, containerd, a bridge.

    with Node(folder) as node:
        node.load(image)
        node.kubectl("get", "pods")

Every server is a child of the test, on free ports of loopback, and is stopped by its process id; pods live in network namespaces
behind a bridge of the node's own. There is no kube-proxy: a Service's own address leads nowhere, but its name is answered with
its pods' (names.py), so ports have to be the same on both. The API server looks up the pods behind webhooks itself. Root only.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.cluster import images
from tests.cluster.kubernetes import programs
from tests.cluster.names import DOMAIN, ServiceNames
from tests.fakes.ports import free_port
from tests.parts import require, where_in_kube

BRIDGE = "sgtest0"
SUBNET = "10.244.77.0/24"
GATEWAY = "10.244.77.1"
PAUSE = "localhost/sidegate-pause"
_SERVICES = "10.96.0.0/16"
_LONG_S = 120.0


class Node:
    """The cluster; ``folder`` must have a short path, for it holds sockets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._pki = folder / "pki"
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._others = namespaces()
        self._names: ServiceNames | None = None
        self._bin = programs()
        self._socket = folder / "containerd.sock"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def kubectl(self, *arguments: str, given: str = "", check: bool = True, timeout_s: float = 60.0) -> str:
        """Return what kubectl printed; with ``check`` off, what it complained of as well."""
        ran = self._tool("kubectl", arguments, given, timeout_s)
        if check and ran.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}\n{ran.stdout}{ran.stderr}")
        return ran.stdout if check else ran.stdout + ran.stderr

    def get(self, *arguments: str) -> Any:
        """Return objects as the API server has them."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def helm(
        self, *arguments: str, given: str = "", timeout_s: float = 180.0
    ) -> subprocess.CompletedProcess[str]:
        """Run helm."""
        return self._tool("helm", arguments, given, timeout_s)

    def load(self, image: str) -> None:
        """Take an image from podman's storage into containerd's."""
        tar = images.export(image, self.folder / "image.tar")
        ctr = ["ctr", "-a", str(self._socket), "-n", "k8s.io", "images", "import", str(tar)]
        subprocess.run(ctr, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
        tar.unlink()

    def logs(self) -> str:
        """Return the end of every server's log, for a failure's report."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in self.folder.glob("*.log")
        )

    def addresses_of(self, service: str, namespace: str) -> list[str]:
        """Return the addresses of a Service's pods that are ready."""
        path = "{.subsets[*].addresses[*].ip}"
        ran = self._tool(
            "kubectl", ["-n", namespace, "get", "endpoints", service, "-o", f"jsonpath={path}"], "", 20
        )
        return [] if ran.returncode else ran.stdout.split()

    def stop(self) -> None:
        """Stop everything that was started, pods first."""
        if any(name == "kubelet" for name, _ in self._running):
            self._delete_pods()
        if self._names is not None:
            self._names.__exit__()
            self._names = None
        while self._running:
            _, process = self._running.pop()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._clean()

    # --- servers

    def _start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._pki.mkdir(parents=True)
        etcd, peer, api, kubelet = (free_port() for _ in range(4))
        self._make_pki()
        self._start_etcd(etcd, peer)
        self._start_api_server(etcd, api)
        self._start_containerd()
        account = [
            f"--service-account-private-key-file={self._pki / 'sa.key'}",
            f"--root-ca-file={self._pki / 'ca.crt'}",
        ]
        common = [
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--port=0",
            "--secure-port=0",
        ]
        self._launch("kube-controller-manager", *common, *account)
        self._launch("kube-scheduler", *common)
        self.load(pause())
        self._start_names()
        self._start_kubelet(kubelet)
        wait_for("the node", lambda: "True" in self._ready_conditions(), _LONG_S)

    def _ready_conditions(self) -> str:
        path = '{.items[*].status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "nodes", "-o", f"jsonpath={path}", check=False)

    def _start_etcd(self, port: int, peer: int) -> None:
        client, member = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
        urls = [
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={member}",
        ]
        urls += [f"--initial-advertise-peer-urls={member}", f"--initial-cluster=default={member}"]
        self._launch(require("etcd"), f"--data-dir={self.folder / 'etcd'}", *urls, "--unsafe-no-fsync")

    def _start_api_server(self, etcd: int, port: int) -> None:
        pki = self._pki
        flags = [
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={pki / 'server.crt'}",
            f"--tls-private-key-file={pki / 'server.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--service-cluster-ip-range={_SERVICES}",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            "--enable-aggregator-routing=true",  # webhooks behind Services without kube-proxy
            "--kubelet-preferred-address-types=Hostname",
        ]
        self._launch("kube-apiserver", *flags)
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(pki / "ca.crt")}
        user = {"client-certificate": str(pki / "admin.crt"), "client-key": str(pki / "admin.key")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(json.dumps(config))
        wait_for(
            "the API server", lambda: self.kubectl("get", "--raw", "/readyz", check=False) == "ok", _LONG_S
        )

    def _start_containerd(self) -> None:
        network = {
            "cniVersion": "0.4.0",
            "name": BRIDGE,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": BRIDGE,
                    "isGateway": True,
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(self.folder / "addresses"),
                        "ranges": [[{"subnet": SUBNET}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
        cni = self.folder / "cni"
        cni.mkdir()
        (cni / "10-test.conflist").write_text(json.dumps(network))
        config = self.folder / "containerd.toml"
        config.write_text(
            f"""version = 2
root = "{self.folder}/containerd/root"
state = "{self.folder}/containerd/run"
[grpc]
  address = "{self._socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.reference(PAUSE)}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
"""
        )
        self._launch(require("containerd"), "-c", str(config), "-l", "warn")
        wait_for("containerd", self._socket.exists, 30)

    def _start_names(self) -> None:
        """The bridge, as its plugin would make it at the first pod, and the name server on it."""
        for words in (
            ["link", "add", BRIDGE, "type", "bridge"],
            ["addr", "add", f"{GATEWAY}/24", "dev", BRIDGE],
            ["link", "set", BRIDGE, "up"],
        ):
            subprocess.run([require("ip"), *words], check=True, capture_output=True)
        self._names = ServiceNames(GATEWAY, self.addresses_of).__enter__()

    def _start_kubelet(self, port: int) -> None:
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": port,
            "healthzPort": free_port(),
            "cgroupDriver": "cgroupfs",
            "failSwapOn": False,
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "oomScoreAdj": 0,
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "resolvConf": "/etc/resolv.conf",
            "clusterDNS": [GATEWAY],
            "clusterDomain": DOMAIN,
            "registerNode": True,
            "nodeStatusUpdateFrequency": "5s",
            "syncFrequency": "5s",  # how soon a mounted Secret or ConfigMap follows: 60 s unless told
            "configMapAndSecretChangeDetectionStrategy": "Watch",
        }
        path = self.folder / "kubelet.yaml"
        path.write_text(json.dumps(config))
        self._launch(
            "kubelet",
            f"--config={path}",
            f"--kubeconfig={self.kubeconfig}",
            f"--root-dir={self.folder / 'kubelet'}",
            "--hostname-override=localhost",
            f"--cert-dir={self.folder / 'kubelet-pki'}",
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self._socket}",
            "--feature-gates=LocalStorageCapacityIsolation=false",
        )

    def _launch(self, program: str, *flags: str) -> None:
        path = program if "/" in program else str(self._bin / program)
        name = Path(path).name
        environment = {**os.environ, "PATH": f"/usr/local/sbin:/usr/sbin:/sbin:{os.environ['PATH']}"}
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [path, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                cwd=self.folder,
            )
        self._running.append((name, process))

    def _tool(
        self, name: str, arguments: Sequence[str], given: str, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        home = self.folder / "home"  # neither reads nor writes anything of the user's own
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(home)}
        return subprocess.run(
            [where_in_kube(name), *arguments],
            input=given,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    # --- keys

    def _make_pki(self) -> None:
        authority = make_key(self._pki / "ca.key")
        root = certify("test authority", authority, None, self._pki / "ca.crt")
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        for name, subject, hosts in (("server", "kube-apiserver", names), ("admin", "admin", [])):
            key = make_key(self._pki / f"{name}.key")
            certify(subject, key, (root, authority), self._pki / f"{name}.crt", hosts)
        account = make_key(self._pki / "sa.key")
        public = account.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self._pki / "sa.pub").write_bytes(public)

    # --- the end

    def _delete_pods(self) -> None:
        with contextlib.suppress(Exception):
            kinds = "deployments,statefulsets,daemonsets,jobs,replicasets,pods"
            self.kubectl(
                "delete", kinds, "-A", "--all", "--grace-period=0", "--force", "--wait=false", check=False
            )
            ctr = ["ctr", "-a", str(self._socket), "-n", "k8s.io", "tasks", "ls", "-q"]
            wait_for("the pods' end", lambda: not subprocess.check_output(ctr, timeout=20).strip(), 40)

    def _clean(self) -> None:
        """What outlives its server: shims, mounts, network namespaces, the bridge."""
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError, ProcessLookupError):
                words = entry.read_bytes().decode(errors="replace")
                if "containerd-shim" in words and str(self._socket) in words:
                    os.kill(int(entry.parent.name), signal.SIGKILL)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(str(self.folder)):
                subprocess.run(["umount", "-l", line.split()[1]], check=False, capture_output=True)
        for name in namespaces() - self._others:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def namespaces() -> set[str]:
    """Network namespaces that containerd made for pods."""
    return {path.name for path in Path("/run/netns").glob("cni-*")}


def pause() -> str:
    """The image that holds a pod's namespaces: the base with something to do for ever."""
    name = images.reference(PAUSE)
    if images.podman("image", "exists", name, check=False).returncode:
        made = f'FROM {images.base()}\nENTRYPOINT ["sleep", "infinity"]\n'
        path = images.FOLDER / "Dockerfile.pause"
        path.write_text(made)
        images.podman(
            "build", "--pull-never", "-t", name, "-f", path, images.FOLDER / "machine", timeout_s=120
        )
    return name


def wait_for(what: str, is_there: Callable[[], bool], seconds: float) -> None:
    """Wait until it is there; AssertionError names what was not."""
    deadline = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < deadline, f"{what}: not there after {seconds:g} s"
        time.sleep(0.2)


def make_key(path: Path) -> rsa.RSAPrivateKey:
    """A new key, also in a file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret)
    return key


def certify(
    subject: str,
    key: rsa.RSAPrivateKey,
    by: tuple[x509.Certificate, rsa.RSAPrivateKey] | None,
    path: Path,
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """A certificate for a month, by an authority or for itself, also in a file. ``admin`` may do everything."""
    group = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")] if subject == "admin" else []
    name = x509.Name([*group, x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    issuer, signer = (name, key) if by is None else (by[0].subject, by[1])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
        now + datetime.timedelta(days=30)
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    if hosts:
        names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
        names += [x509.IPAddress(ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(signer, hashes.SHA256())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return made
