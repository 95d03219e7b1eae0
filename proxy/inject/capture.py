"""How the app's calls reach the sidecar: variables, the upstream's name on loopback, or rewritten packets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from proxy.config.settings import SCHEME_PORTS, Settings, split_address
from proxy.inject.container import own_url
from proxy.inject.eligible import CONTAINER, containers, listed
from proxy.inject.options import Options

REDIRECT = "sidegate-redirect"
_UNPRIVILEGED = "net.ipv4.ip_unprivileged_port_start"
_FIRST_SAFE_MINOR = 22
"""From this release on a pod may set that sysctl without the node's leave."""
_PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
"""Variables that give an app a proxy for plain HTTP; programs differ in which they read first."""
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")

Spec = dict[str, Any]


def overrides(settings: Settings, options: Options) -> dict[str, str]:
    """Return what the capture asks of the sidecar's own configuration: paths and texts."""
    if options.capture.mode not in ("hostAliases", "redirect"):
        return {}
    url = urlsplit(settings.upstream.url)
    # Here the app calls by the upstream's own URL: what is in its path comes with the call.
    changed = {"upstream.url": f"{url.scheme}://{url.netloc}"}
    if options.capture.mode == "hostAliases":
        changed |= {"listen": f"127.0.0.1:{app_port(settings, options)}", "upstream.dns.hosts_file": "false"}
    host = url.hostname or ""
    if (
        settings.upstream.host_header == "upstream"
        and not settings.downstream.hosts
        and not _is_address(host)
    ):
        # Another site's name may stand for the same address: its calls would be answered with the upstream's pages.
        changed["downstream.hosts"] = json.dumps(names_of(host), separators=(",", ":"))
    return changed


def names_of(host: str) -> list[str]:
    """Return what an app may call the upstream: its name, and the longer and shorter ones of a Service where it has ``svc``."""
    host = host.removesuffix(".")
    name, *others = host.split(".")
    if others[1:2] != ["svc"]:
        return [host]
    short = f"{name}.{others[0]}"
    return list(dict.fromkeys([host, name, short, f"{short}.svc", f"{short}.svc.cluster.local"]))


def app_port(settings: Settings, options: Options) -> int:
    """Return the port the app calls the upstream at, for modes hostAliases and redirect."""
    if options.capture.port is not None:
        return options.capture.port
    url = urlsplit(settings.upstream.url)
    return (url.port if url.scheme == "http" else None) or 80


def apply(spec: Spec, settings: Settings, options: Options, version: str, problems: list[str]) -> None:
    """Change ``spec`` so that the app's calls come to the sidecar; a line per mistake is added to ``problems``."""
    _MODES[options.capture.mode](spec, settings, options, problems)
    if options.capture.mode in ("hostAliases", "redirect"):
        # A proxy of the app's own would carry the call past the sidecar.
        host = urlsplit(settings.upstream.url).hostname or ""
        for each in _served_containers(spec, options):
            if _has_proxy(present := _variables(each)):
                _spare(each["env"], present, (host,))
    if options.capture.mode == "redirect" and not problems:
        # First where the sidecar comes right after it; a plain sidecar is not up before all of these have ended, so last.
        before = listed(spec, "initContainers")
        place = 0 if options.is_native else len(before)
        before.insert(place, _redirect_container(settings, options, version))


def _none(spec: Spec, settings: Settings, options: Options, problems: list[str]) -> None:
    """The app calls the sidecar by itself."""


def _env(spec: Spec, settings: Settings, options: Options, problems: list[str]) -> None:
    url = own_url(settings.listen)
    for each in _served_containers(spec, options):
        env = listed(each, "env")
        present = _variables(each)
        added = []
        for name in ("SIDEGATE_URL", *options.capture.baseUrlVars):
            if name in present:
                value = _moved(present[name].get("value"), settings.upstream.url, url) or url
                present[name].pop("valueFrom", None)
                present[name]["value"] = value
            else:
                added.append({"name": name, "value": url})
        # In front, so that the app's own variables may refer to them: SEARCH_URL = $(SIDEGATE_URL)/search.
        env[:0] = added
        if _has_proxy(present):
            _spare(env, present, (urlsplit(url).hostname or "",))
        elif options.capture.httpProxy:
            env += [{"name": name, "value": url} for name in ("HTTP_PROXY", "http_proxy")]
            _spare(env, present, options.capture.noProxy)


def _moved(value: Any, upstream: str, to: str) -> str | None:
    """Return a base URL of the app's with ``to`` in place of the upstream's; None where it does not lie below that."""
    try:
        given, above = urlsplit(str(value)), urlsplit(upstream)
        is_same = given.hostname == above.hostname and _port_of(given) == _port_of(above)
    except ValueError:
        return None
    path = above.path.rstrip("/")
    if not is_same or not (given.path == path or given.path.startswith(f"{path}/")):
        return None
    credentials = given.netloc[: given.netloc.rfind("@") + 1]
    return urlunsplit(
        ("http", credentials + urlsplit(to).netloc, given.path[len(path) :], given.query, given.fragment)
    )


def _port_of(url: SplitResult) -> int | None:
    """Return the port that a URL names; None where it is its scheme's own, for the app and the upstream may differ in that."""
    return None if url.port == SCHEME_PORTS.get(url.scheme) else url.port


def _has_proxy(present: dict[str, Spec]) -> bool:
    return not present.keys().isdisjoint(_PROXIES)


def _spare(env: list[Any], present: dict[str, Spec], hosts: tuple[str, ...]) -> None:
    """Keep calls to ``hosts`` away from the proxy variables, and those that the app spares already, in either spelling."""
    for name, other in (("NO_PROXY", "no_proxy"), ("no_proxy", "NO_PROXY")):
        source = present.get(name) or present.get(other) or {}
        if source.get("valueFrom") is not None:
            continue  # what it says is known on the node only
        said = [host for host in str(source.get("value") or "").split(",") if host]
        is_all = "*" in said
        value = ",".join([*said, *(host for host in hosts if host not in said and not is_all)])
        if name in present:
            present[name]["value"] = value
        else:
            env.append({"name": name, "value": value})


def warnings(spec: Spec, settings: Settings, options: Options) -> Iterator[str]:
    """Yield what the operator should know of a pod, as it is before ``apply``."""
    url = settings.upstream.url
    if options.capture.mode == "hostAliases" and not options.is_native and spec.get("initContainers"):
        yield (
            f"capture.mode hostAliases: init containers start before the sidecar, and {urlsplit(url).hostname} is already "
            "this pod to them: their calls fail before Kubernetes 1.29"
        )
    if options.capture.mode != "env":
        return
    for each in _served_containers(spec, options):
        present = _variables(each)
        for name in options.capture.baseUrlVars:
            given = str(present.get(name, {}).get("value") or "")
            if given and _moved(given, url, url) is None:
                yield (
                    f"container {each['name']}: {name} was {re.sub('//[^/@]*@', '//', given)}, which does not lie below "
                    f"upstream.url: what the app asks for now goes to {url}"
                )
        is_proxied = options.capture.httpProxy or _has_proxy(present)
        for name in ("NO_PROXY", "no_proxy"):
            if is_proxied and present.get(name, {}).get("valueFrom") is not None:
                yield f"container {each['name']}: {name} comes from elsewhere and stays: it has to name 127.0.0.1"


def _host_aliases(spec: Spec, settings: Settings, options: Options, problems: list[str]) -> None:
    host, *others = names_of(urlsplit(settings.upstream.url).hostname or "")
    if _is_address(host) or not _DNS_NAME.fullmatch(host):
        problems.append(f"capture.mode hostAliases: upstream.url names {host}; it needs a DNS name")
        return
    port = app_port(settings, options)
    if port < 1024 and not _unprivileged(spec, port, options, problems):
        return
    aliases = listed(spec, "hostAliases")
    taken = [name for item in aliases for name in item.get("hostnames") or ()]
    if host in taken:
        problems.append(f"capture.mode hostAliases: the pod has a host alias for {host} already")
        return
    # Without its namespace a Service's name may be that of another one here.
    others = [name for name in others if "." in name and name not in taken]
    aliases.append({"ip": "127.0.0.1", "hostnames": [host, *others]})


def _unprivileged(spec: Spec, port: int, options: Options, problems: list[str]) -> bool:
    """Let a plain user listen on ``port``; whether that went."""
    if options.minor < _FIRST_SAFE_MINOR:
        problems.append(
            f"capture.mode hostAliases: port {port} needs Kubernetes 1.{_FIRST_SAFE_MINOR} or later; "
            "set capture.port to 1024 or more"
        )
        return False
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    sysctls = listed(spec["securityContext"], "sysctls")
    for item in sysctls:
        if item.get("name") == _UNPRIVILEGED:
            first = str(item.get("value"))
            if first.isdecimal() and int(first) <= port:
                return True
            problems.append(
                f"capture.mode hostAliases: the pod's sysctl {_UNPRIVILEGED} is {first}, which keeps the sidecar from port {port}"
            )
            return False
    sysctls.append({"name": _UNPRIVILEGED, "value": "0"})
    return True


def _redirect(spec: Spec, settings: Settings, options: Options, problems: list[str]) -> None:
    user = options.runAsUser
    if user is None:
        problems.append(
            "capture.mode redirect: runAsUser: required, for the sidecar's own calls go past the rules by it"
        )
        return
    if ":" in split_address(settings.listen)[0]:
        problems.append("capture.mode redirect: listen: calls come to 127.0.0.1; listen there or at 0.0.0.0")
    problems += [
        f"capture.mode redirect: container {each['name']} runs as user {user}, which is the sidecar's: "
        "its calls would go past the sidecar; set runAsUser to another"
        for each in _served_containers(spec, options)
        if user == _user_of(each, spec)
    ]


def _user_of(container: Spec, spec: Spec) -> Any:
    """Return the user a container runs as; None where its image decides."""
    users = [(section.get("securityContext") or {}).get("runAsUser") for section in (container, spec)]
    return next((user for user in users if user is not None), None)


def _redirect_container(settings: Settings, options: Options, version: str) -> Spec:
    _, port = split_address(settings.listen)
    redirect = options.capture.redirect
    environment = {
        "SIDEGATE_REDIRECT_HOST": urlsplit(settings.upstream.url).hostname or "",
        "SIDEGATE_REDIRECT_CIDRS": " ".join(redirect.cidrs),
        "SIDEGATE_REDIRECT_PORT": str(app_port(settings, options)),
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


def _served_containers(spec: Spec, options: Options) -> list[Any]:
    """Return the app's containers that have the sidecar beside them: a plain one is not there yet for those of the start."""
    keys = ("initContainers", "containers") if options.is_native else ("containers",)
    return [c for key in keys for c in containers(spec, key) if c.get("name") not in (CONTAINER, REDIRECT)]


def _variables(container: Spec) -> dict[str, Spec]:
    """Return a container's variables by name; where one is there twice the last counts."""
    return {item["name"]: item for item in container.get("env") or () if isinstance(item.get("name"), str)}


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


_MODES: dict[str, Callable[[Spec, Settings, Options, list[str]], None]] = {
    "env": _env,
    "hostAliases": _host_aliases,
    "redirect": _redirect,
    "none": _none,
}
