"""What the operator decided about injection. The docstring under a field is its description in the chart's values.

The tree is that of the chart's values: the sidecar's own configuration, section by section as in its file, and beside it what
only Kubernetes needs. ``services`` holds the same tree once more for each service that differs.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from msgspec import Meta

from proxy.config.convert import convert, key_types, suggestion
from proxy.config.load import read_file
from proxy.config.redact import shown
from proxy.config.settings import Duration, Section, Settings

Quantity = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
        description="a Kubernetes quantity, for example 100m or 64Mi",
    ),
]
EnvName = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="the name of an environment variable")
]
_SCALES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGT", 1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGT", 1)},
}
Cidr = Annotated[
    str, Meta(pattern=r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$", description="a network, for example 192.0.2.0/24")
]
Port = Annotated[int, Meta(ge=1, le=65535)]
_SERVICE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
CHART_KEYS = frozenset(
    {
        "global",
        "enabled",
        "injector",
        "namespaces",
        "podMonitor",
        "serviceMonitor",
        "alerts",
        "dashboards",
        "trial",
    }
)
"""Values that only the chart knows; a file of values may hold them."""
NATIVE_FROM_MINOR = 29
"""Kubernetes 1.29 is the first to run native sidecars unasked."""
Version = Annotated[
    str, Meta(pattern=r"^v?1\.[0-9]{1,3}([.+-].*)?$", description="a Kubernetes version, for example 1.29")
]


def amount(quantity: str) -> Decimal:
    """Return what a quantity is in cores or bytes."""
    number = quantity.rstrip("mkKMGTi")
    return Decimal(number) * _SCALES[quantity[len(number) :]]


class Image(Section, frozen=True):
    """Which image runs."""

    repository: str = "sidegate"
    """Registry and name."""
    tag: str = ""
    """Tag; empty is the chart's appVersion, or the version of the command that injects."""
    digest: Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?$", description="sha256:… or nothing")] = ""
    """Digest, which beats the tag."""
    pullPolicy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the node asks the registry."""

    def reference(self, version: str) -> str:
        """Return what the container names; ``version`` stands in for an empty tag."""
        if self.digest:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.tag or version}"


class Requested(Section, frozen=True):
    """What the scheduler sets aside."""

    cpu: Quantity | None = "50m"
    """CPU; null says nothing."""
    memory: Quantity | None = "64Mi"
    """Memory; null says nothing."""


class Capped(Section, frozen=True):
    """Where the node stops the sidecar."""

    cpu: Quantity | None = None
    """CPU; null sets no limit: a throttled event loop looks like a slow upstream."""
    memory: Quantity | None = "256Mi"
    """Memory; null sets no limit."""


class Resources(Section, frozen=True):
    """What the sidecar asks of the node."""

    requests: Requested = Requested()
    limits: Capped = Capped()

    def __post_init__(self) -> None:
        for name in ("cpu", "memory"):
            asked, most = getattr(self.requests, name), getattr(self.limits, name)
            if asked is not None and most is not None and amount(asked) > amount(most):
                raise ValueError(f"requests.{name} {asked} may not exceed limits.{name} {most}")


class Redirect(Section, frozen=True):
    """The init container that writes the iptables rules, for capture.mode redirect."""

    image: Image = Image(repository="sidegate-redirect")
    cidrs: tuple[Cidr, ...] = ()
    """Networks the upstream's addresses lie in; empty takes those its name has when the pod starts. IPv6 ones are reset."""

    def __post_init__(self) -> None:
        for cidr in self.cidrs:
            ip_network(cidr, strict=False)
        if self.cidrs and not any("." in cidr for cidr in self.cidrs):
            raise ValueError("cidrs: expected one IPv4 network at least, for the sidecar has no IPv6 address")


class Capture(Section, frozen=True):
    """How the app's calls reach the sidecar."""

    mode: Literal["env", "hostAliases", "redirect", "none"] = "env"
    """env sets variables, hostAliases points the upstream's name at loopback, redirect rewrites packets (needs NET_ADMIN)."""
    baseUrlVars: tuple[EnvName, ...] = ()
    """Variables, beside SIDEGATE_URL, that the app reads the upstream's base URL from; one it has already is replaced."""
    httpProxy: bool = True
    """Whether mode env sets HTTP_PROXY and http_proxy as well. What noProxy does not cover then goes by the sidecar, as it is."""
    noProxy: tuple[str, ...] = (
        "localhost",
        "127.0.0.1",
        "::1",
        ".svc",
        ".cluster.local",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "metadata.google.internal",
    )
    """What HTTP_PROXY is not for: cluster, private networks, the clouds' servers of credentials; added to the app's NO_PROXY."""
    port: Port | None = None
    """The port the app calls the upstream's name at, plain HTTP, for modes hostAliases and redirect; null is that of an http://
    upstream.url, and 80 for an https:// one."""
    redirect: Redirect = Redirect()


class Options(Section, frozen=True):
    """Everything beside the sidecar's own configuration."""

    image: Image = Image()
    imagePullSecrets: tuple[str, ...] = ()
    """Secrets that a pod gets, beside its own, to pull the sidecar's image with."""
    resources: Resources = Resources()
    volumes: tuple[dict[str, Any], ...] = ()
    """Volumes that a pod gets, as in its spec: Secrets and ConfigMaps with the files that upstream.tls names."""
    volumeMounts: tuple[dict[str, Any], ...] = ()
    """Where the sidecar mounts them, as in a container."""
    capture: Capture = Capture()
    nativeSidecar: Literal["auto", "always", "never"] = "auto"
    """Whether the sidecar is an init container that keeps running (from Kubernetes 1.29) or a plain one; auto asks the server."""
    kubeVersion: Version = "1.29"
    """The server's version, for nativeSidecar auto; the chart fills it in."""
    runAsUser: Annotated[int, Meta(ge=1)] | None = 8880
    """User and group the sidecar runs as, a number that no app's image uses: capture.mode redirect goes by it. null leaves it to
    the cluster (OpenShift)."""
    preStop: Duration = 5.0
    """How long a plain container goes on before SIGTERM, so that an app that stops slowly keeps its sidecar."""
    scrapeAnnotations: bool = True
    """Whether prometheus.io/scrape, port and path are set where the pod has none."""
    configMap: str = ""
    """ConfigMap with the configuration; empty, or a namespace without one, takes it along in an annotation."""
    configMapNamespaces: tuple[str, ...] = ()
    """Namespaces that hold the ConfigMap; "*" is all."""

    def __post_init__(self) -> None:
        for key, items in (("volumes", self.volumes), ("volumeMounts", self.volumeMounts)):
            for item in items:
                if not isinstance(item.get("name"), str) or not item["name"]:
                    raise ValueError(f"{key}: one has no name")
        known = {volume["name"] for volume in self.volumes}
        for mount in self.volumeMounts:
            if mount["name"] not in known:
                raise ValueError(f"volumeMounts: {mount['name']} is none of volumes")
            if not isinstance(mount.get("mountPath"), str):
                raise ValueError(f"volumeMounts: {mount['name']} has no mountPath")

    @property
    def minor(self) -> int:
        """The server's minor version; 29 for v1.29.4-gke.100."""
        return int(re.split(r"[.+-]", self.kubeVersion)[1])

    @property
    def is_native(self) -> bool:
        """Whether this server gets an init container that keeps running."""
        return self.nativeSidecar == "always" or (
            self.nativeSidecar == "auto" and self.minor >= NATIVE_FROM_MINOR
        )


class Plan:
    """The operator's tree, checked: for all, and for each service. ``problems`` of a bad one name the path and the rule."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = {key: value for key, value in tree.items() if key != "services"}
        services = tree.get("services") or {}
        self.problems: list[str] = []
        if not isinstance(services, Mapping):
            self.problems.append(f"services: expected services by name (got {shown(services)})")
            services = {}
        self._services: dict[str, Mapping[str, Any]] = {}
        self.problems += self.read(None, {})[2]
        for name, service in services.items():
            if not _SERVICE.fullmatch(str(name)) or name == "config":
                self.problems.append(
                    f"services.{name}: expected what a label can hold, and not config, which is the file of all others"
                )
                continue
            if not isinstance(service, Mapping):
                self.problems.append(f"services.{name}: expected a section with keys (got {shown(service)})")
                continue
            self._services[str(name)] = service
            said = {problem.partition(": ")[0] for problem in self.problems}
            self.problems += [
                f"services.{name}.{problem}"
                for problem in self.read(str(name), {})[2]
                if problem.partition(": ")[0] not in said
            ]

    @property
    def services(self) -> list[str]:
        """Names of the services with settings of their own."""
        return list(self._services)

    def has(self, service: str) -> bool:
        """Whether a service has settings of its own."""
        return service in self._services

    def tree(self, service: str | None, more: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole tree for a service, with ``more`` on top."""
        merged = copy.deepcopy(self._tree)
        if service is not None:
            merged = merge(merged, self._services.get(service, {}))
        return merge(merged, more)

    def read(
        self, service: str | None, more: Mapping[str, Any]
    ) -> tuple[Settings | None, Options | None, list[str]]:
        """Return the configuration and the options for a service with ``more`` on top, and what is wrong with them."""
        problems: list[str] = []
        own, others = split(self.tree(service, more))
        for key in sorted(set(others) - set(key_types(Options))):
            known = [*key_types(Settings), *key_types(Options), "services"]
            problems.append(f"{key}: unknown key{suggestion(key, known)}")
            del others[key]
        settings = convert(Settings, own, problems)
        options = convert(Options, others, problems)
        return settings, options, problems


def split(tree: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the sidecar's configuration and the rest."""
    mine = key_types(Settings)
    return (
        {key: value for key, value in tree.items() if key in mine},
        {str(key): value for key, value in tree.items() if key not in mine},
    )


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` with ``above`` on top: sections are joined, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        is_section = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[key] = merge(under, value) if is_section else copy.deepcopy(value)  # type: ignore[arg-type]
    return merged


def read_plan(path: str | None, flags: Mapping[str, str | None]) -> tuple[Plan, list[str]]:
    """Return the plan in a file of values, with what the command line says on top, and every problem with it."""
    problems: list[str] = []
    tree: dict[str, Any] = read_file(path, problems) if path else {}
    above = {key: text for key, text in flags.items() if text is not None}
    if "upstream" in above:
        below = tree.get("upstream")
        tree["upstream"] = {**(below if isinstance(below, dict) else {}), "url": above.pop("upstream")}
    plan = Plan({**{key: value for key, value in tree.items() if key not in CHART_KEYS}, **above})
    return plan, [*problems, *plan.problems]
