"""A pod under podman, made and ended step by step as the kubelet does it.

    start    the sandbox (namespaces, sysctls, network); init containers one after the other, a native sidecar started and its
             startup probe awaited from outside the pod; then the app's containers
    end      SIGTERM to the app's containers; when all have left, to the native sidecars, the last one first

A key of the spec that is not translated is an error, so that no test holds for a pod that nobody made. Native sidecars take
Kubernetes 1.29, which this machine cannot have: this stands in for its kubelet. The plain form is left to the real one.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.cluster import images
from tests.cluster.outside import Outside

_NUMBERS = count()
_REFERENCE = re.compile(r"\$(?:(\$)|\(([A-Za-z_][A-Za-z0-9_.-]*)\))")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_SPEC = {"containers", "initContainers", "volumes", "hostAliases", "securityContext", "restartPolicy"}
_SPEC |= {"terminationGracePeriodSeconds"}
_CONTAINER = {
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "env",
    "ports",
    "resources",
    "volumeMounts",
}
_CONTAINER |= {"securityContext", "restartPolicy", "startupProbe", "livenessProbe", "readinessProbe"}
_SECURITY = {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem", "runAsNonRoot"}
_SECURITY |= {"runAsUser", "runAsGroup", "seccompProfile", "sysctls"}

Spec = Mapping[str, Any]


class PodError(Exception):
    """The pod did not come up, as the kubelet would see it; the message holds the container's log."""


class Pod:
    """A context manager: started on entry, gone on exit whatever happened. ``manifest`` is a pod as the API server has it."""

    def __init__(self, manifest: Spec, outside: Outside) -> None:
        self._manifest, self._outside = manifest, outside
        self._spec: Spec = manifest["spec"]
        _known(self._spec, _SPEC)
        self._name = f"sidegate-{os.getpid()}-{next(_NUMBERS)}"
        self._place = tempfile.TemporaryDirectory()
        self.startup_s: dict[str, float] = {}
        """From a native sidecar's start to its startup probe's first 200."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        images.podman("pod", "rm", "-f", "-t", "0", self._name, check=False)
        self._place.cleanup()

    @property
    def apps(self) -> list[str]:
        """The app's containers."""
        return [each["name"] for each in self._spec["containers"]]

    @property
    def sidecars(self) -> list[str]:
        """The native sidecars, in the order of their start."""
        return [each["name"] for each in self._spec.get("initContainers", ()) if _is_native(each)]

    def log(self, container: str) -> str:
        """What a container wrote, to either stream."""
        done = images.podman("logs", self._of(container), check=False)
        return done.stdout + done.stderr

    def wait(self, container: str, timeout_s: float = 60.0) -> int:
        """Wait until a container has left by itself; return its exit code."""
        return int(images.podman("wait", self._of(container), timeout_s=timeout_s).stdout)

    def run(self, container: Spec) -> str:
        """Run one more container in the pod until it leaves; return its log. PodError where it left with another code than 0."""
        self._run(container)
        if code := self.wait(container["name"], 120.0):
            raise PodError(f"{container['name']} left with code {code}: {self.log(container['name'])}")
        return self.log(container["name"])

    def end(self) -> dict[str, int]:
        """End the pod; return exit codes by container, in the order of their leaving."""
        grace = str(self._spec.get("terminationGracePeriodSeconds", 30))
        codes = {}
        for name in (*self.apps, *reversed(self.sidecars)):
            images.podman("stop", "-t", grace, self._of(name), timeout_s=float(grace) + 30)
            codes[name] = self.wait(name)
        return codes

    def probe(self, container: str, kind: str) -> int:
        """The status of a probe, asked from outside the pod; 0 where nobody answers."""
        (spec,) = [each for each in self._containers() if each["name"] == container]
        get, ports = spec[kind]["httpGet"], {port["name"]: port["containerPort"] for port in spec["ports"]}
        url = f"http://{self._outside.pod_address}:{ports.get(get['port'], get['port'])}{get['path']}"
        try:
            with _DIRECT.open(url, timeout=5.0) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def _start(self) -> None:
        sysctls = (self._spec.get("securityContext") or {}).get("sysctls") or ()
        images.podman(
            *("pod", "create", "--name", self._name, "--hostname", self._manifest["metadata"]["name"]),
            *(
                "--network",
                "none",
                "--no-hosts",
                "--infra-image",
                images.base(),
                "--infra-command",
                "sleep infinity",
            ),
            *(f"--sysctl={item['name']}={item['value']}" for item in sysctls),
        )
        images.podman("pod", "start", self._name)
        infra = images.podman("pod", "inspect", "-f", "{{.InfraContainerID}}", self._name).stdout.strip()
        self._outside.join(int(images.podman("inspect", "-f", "{{.State.Pid}}", infra).stdout))
        for each in self._spec.get("initContainers", ()):
            if not _is_native(each):
                self.run(each)
                continue
            began = time.monotonic()
            self._run(each)
            self._await_startup(each["name"])
            self.startup_s[each["name"]] = time.monotonic() - began
        for each in self._spec["containers"]:
            self._run(each)

    def _await_startup(self, name: str) -> None:
        until = time.monotonic() + 60
        while (status := self.probe(name, "startupProbe")) != 200:
            if time.monotonic() > until:
                raise PodError(f"{name} answers its startup probe with {status}: {self.log(name)}")
            time.sleep(0.01)

    def _containers(self) -> list[Spec]:
        return [*self._spec.get("initContainers", ()), *self._spec["containers"]]

    def _of(self, container: str) -> str:
        return f"{self._name}-{container}"

    def _run(self, container: Spec) -> None:
        _known(container, _CONTAINER)
        flags = ["--pull=never", "--no-hosts", f"--name={self._of(container['name'])}", f"--pod={self._name}"]
        flags += [*_security(container, self._spec), *_resources(container)]
        flags += [f"--env={name}={value}" for name, value in self._environment(container).items()]
        flags += [f"--volume={source}:{target}" for source, target in self._mounts(container)]
        if "command" in container:
            flags.append(f"--entrypoint={json.dumps(container['command'])}")
        images.podman("run", "-d", *flags, container["image"], *container.get("args", ()))

    def _environment(self, container: Spec) -> dict[str, str]:
        made: dict[str, str] = {}
        for item in container.get("env") or ():
            if "valueFrom" in item:
                made[item["name"]] = self._field(item["valueFrom"]["fieldRef"]["fieldPath"])
            else:
                made[item["name"]] = _expanded(str(item.get("value", "")), made)
        return made

    def _field(self, path: str) -> str:
        metadata = self._manifest["metadata"]
        annotation = re.fullmatch(r"metadata\.annotations\['(.+)'\]", path)
        if annotation:
            return str(metadata["annotations"][annotation[1]])
        fields = {
            "metadata.name": metadata["name"],
            "metadata.namespace": metadata.get("namespace", "default"),
        }
        fields |= {"spec.nodeName": "here", "status.podIP": self._outside.pod_address}
        return str(fields[path])

    def _mounts(self, container: Spec) -> Iterator[tuple[Path, str]]:
        """What the kubelet mounts: the pod's hosts and resolv.conf, and the volumes."""
        aliases = [f"{a['ip']}\t{' '.join(a['hostnames'])}\n" for a in self._spec.get("hostAliases") or ()]
        yield self._file("hosts", f"127.0.0.1\tlocalhost\n::1\tlocalhost\n{''.join(aliases)}"), "/etc/hosts"
        yield self._file("resolv.conf", f"nameserver {self._outside.address}\n"), "/etc/resolv.conf"
        volumes = {volume["name"]: volume for volume in self._spec.get("volumes") or ()}
        for mount in container.get("volumeMounts") or ():
            for item in volumes[mount["name"]]["downwardAPI"]["items"]:
                self._file(f"{mount['name']}/{item['path']}", self._field(item["fieldRef"]["fieldPath"]))
            yield Path(self._place.name, mount["name"]), f"{mount['mountPath']}:ro"

    def _file(self, name: str, text: str) -> Path:
        path = Path(self._place.name, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        for each in (path, *path.parents[: len(Path(name).parts)]):
            each.chmod(0o755)  # read by users of the pod
        return path


def _known(section: Spec, keys: set[str]) -> None:
    unknown = set(section) - keys
    assert not unknown, f"not translated for podman: {sorted(unknown)}"


def _is_native(container: Spec) -> bool:
    return container.get("restartPolicy") == "Always"


def _expanded(text: str, made: Mapping[str, str]) -> str:
    """As the kubelet does it: $(NAME) is a variable before this one, or stays; $$ is one $."""
    return _REFERENCE.sub(lambda found: found[1] or made.get(found[2], found[0]), text)


def _security(container: Spec, spec: Spec) -> Iterator[str]:
    context = {**(spec.get("securityContext") or {}), **(container.get("securityContext") or {})}
    _known(context, _SECURITY)
    if "runAsUser" in context:
        yield f"--user={context['runAsUser']}:{context.get('runAsGroup', 0)}"
    if context.get("runAsNonRoot"):
        assert context.get("runAsUser") != 0, "runAsNonRoot, and a user that is root"
    if context.get("readOnlyRootFilesystem"):
        yield from ("--read-only", "--read-only-tmpfs=false")
    if context.get("allowPrivilegeEscalation") is False:
        yield "--security-opt=no-new-privileges"
    for verb in ("drop", "add"):
        yield from (f"--cap-{verb}={name}" for name in (context.get("capabilities") or {}).get(verb, ()))


def _resources(container: Spec) -> Iterator[str]:
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    if "memory" in limits:
        yield f"--memory={limits['memory'].removesuffix('i').lower()}"
    if "cpu" in limits:
        yield f"--cpus={_cores(limits['cpu'])}"
    if "cpu" in requests:
        yield f"--cpu-shares={max(2, round(_cores(requests['cpu']) * 1024))}"


def _cores(quantity: str) -> float:
    return float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)
