"""How the app's calls reach the sidecar: variables, the upstream's name on loopback, or rewritten packets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from proxy.config.settings import Settings, split_address
from proxy.inject.eligible import CONTAINER, listed
from proxy.inject.options import Options

REDIRECT = "sidegate-redirect"
_UNPRIVILEGED = "net.ipv4.ip_unprivileged_port_start"
_FIRST_SAFE_MINOR = 22
"""From this release on a pod may set that sysctl without the node's leave."""

Spec = dict[str, Any]


def overrides(settings: Settings, options: Options) -> dict[str, str]:
    """Return what the capture asks of the sidecar's own configuration: paths and texts."""
    if options.capture.mode != "hostAliases":
        return {}
    return {"listen": f"127.0.0.1:{options.capture.port}", "upstream.dns.hosts_file": "false"}


def apply(spec: Spec, settings: Settings, options: Options, version: str, problems: list[str]) -> None:
    """Change ``spec`` so that the app's calls come to the sidecar; a line per mistake is added to ``problems``."""
    _MODES[options.capture.mode](spec, settings, options, problems)
    if options.capture.mode == "redirect" and not problems:
        listed(spec, "initContainers").insert(0, _redirect_container(settings, options, version))


def _none(spec: Spec, settings: Settings, options: Options, problems: list[str]) -> None:
    """The app calls the sidecar by itself."""


def _env(spec: Spec, settings: Settings, options: Options, problems: list[str]) -> None:
    _, port = split_address(settings.listen)
    url = f"http://127.0.0.1:{port}"
    replaced = {"SIDEGATE_URL": url, **dict.fromkeys(options.capture.baseUrlVars, url)}
    proxied = dict.fromkeys(("HTTP_PROXY", "http_proxy"), url) if options.capture.httpProxy else {}
    for each in app_containers(spec):
        env = listed(each, "env")
        present = {item.get("name"): item for item in env if isinstance(item, dict)}
        for name, value in replaced.items():
            if name in present:
                present[name].pop("valueFrom", None)
                present[name]["value"] = value
            else:
                env.append({"name": name, "value": value})
        env += [{"name": name, "value": value} for name, value in proxied.items() if name not in present]
        if proxied:
            _spare(env, present, options.capture.noProxy)


def _spare(env: list[Any], present: dict[Any, Any], hosts: tuple[str, ...]) -> None:
    """Keep calls to ``hosts`` away from the proxy variables, and those that the app spares already."""
    for name in ("NO_PROXY", "no_proxy"):
        own = present.get(name, {})
        if "valueFrom" in own:
            continue  # what it says is known on the node only
        said = [host for host in str(own.get("value", "")).split(",") if host]
        value = ",".join([*said, *(host for host in hosts if host not in said)])
        if own:
            own["value"] = value
        else:
            env.append({"name": name, "value": value})


def _host_aliases(spec: Spec, settings: Settings, options: Options, problems: list[str]) -> None:
    host = urlsplit(settings.upstream.url).hostname or ""
    if _is_address(host):
        problems.append(f"capture.mode hostAliases: upstream.url names the address {host}; it needs a name")
        return
    port = options.capture.port
    if port < 1024 and options.runAsUser is not None:
        if options.minor < _FIRST_SAFE_MINOR:
            problems.append(
                f"capture.mode hostAliases: port {port} needs Kubernetes 1.{_FIRST_SAFE_MINOR} or later; "
                "set capture.port to 1024 or more"
            )
            return
        if spec.get("securityContext") is None:
            spec["securityContext"] = {}
        sysctls = listed(spec["securityContext"], "sysctls")
        if not any(item.get("name") == _UNPRIVILEGED for item in sysctls):
            sysctls.append({"name": _UNPRIVILEGED, "value": "0"})
    aliases = listed(spec, "hostAliases")
    if any(host in (item.get("hostnames") or ()) for item in aliases):
        problems.append(f"capture.mode hostAliases: the pod has a host alias for {host} already")
        return
    aliases.append({"ip": "127.0.0.1", "hostnames": [host]})


def _redirect(spec: Spec, settings: Settings, options: Options, problems: list[str]) -> None:
    if options.runAsUser is None:
        problems.append(
            "capture.mode redirect: runAsUser: required, for the sidecar's own calls go past the rules by it"
        )
        return


def _redirect_container(settings: Settings, options: Options, version: str) -> Spec:
    _, port = split_address(settings.listen)
    redirect = options.capture.redirect
    environment = {
        "SIDEGATE_REDIRECT_HOST": urlsplit(settings.upstream.url).hostname or "",
        "SIDEGATE_REDIRECT_CIDRS": " ".join(redirect.cidrs),
        "SIDEGATE_REDIRECT_PORT": str(options.capture.port),
        "SIDEGATE_REDIRECT_TO": str(port),
        "SIDEGATE_REDIRECT_UID": str(options.runAsUser),
    }
    return {
        "name": REDIRECT,
        "image": redirect.image.reference(version),
        "imagePullPolicy": redirect.image.pullPolicy,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": False,
            "runAsUser": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def app_containers(spec: Spec) -> list[dict[str, Any]]:
    """Return the containers that are not ours, those of the start included."""
    own = {CONTAINER, REDIRECT}
    return [
        c for key in ("initContainers", "containers") for c in spec.get(key) or () if c.get("name") not in own
    ]


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


_MODES: dict[str, Callable[[Spec, Settings, Options, list[str]], None]] = {
    "env": _env,
    "hostAliases": _host_aliases,
    "redirect": _redirect,
    "none": _none,
}
