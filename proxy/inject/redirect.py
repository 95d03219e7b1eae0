"""What the init container of ``capture.mode: redirect`` runs: ``python -m proxy.inject.redirect``, all of it in variables.

    SIDEGATE_REDIRECT_HOST    the upstream's name or address
    SIDEGATE_REDIRECT_CIDRS   networks instead of the name's addresses, separated by blanks; empty asks DNS
    SIDEGATE_REDIRECT_PORT    the port the app calls the upstream at
    SIDEGATE_REDIRECT_TO      the port of 127.0.0.1 the sidecar listens on
    SIDEGATE_REDIRECT_UID     the user the sidecar runs as, whose own calls go out

A connection that a process of the pod opens to one of those IPv4 addresses ends at the sidecar. The sidecar has no IPv6 address:
connections to the upstream's IPv6 addresses are reset, which makes a client try the next address, an IPv4 one. Only what the pod
itself sends out is looked at, so probes, loopback and incoming calls are as they were.

The rules are a chain of our own, replaced as a whole, so running twice changes nothing. Exit code 1 where the name has no
answer or the rules do not go in, 2 where a variable is wrong. Standard library only: it runs at every start of a pod.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from threading import Event

Network = IPv4Network | IPv6Network

CHAIN = "SIDEGATE"
BACKENDS = ("nft", "legacy")
"""The two iptables of Debian, the kernel's younger interface first. Which of them works is for the node's kernel to say."""
RESOLVE_S = 60.0
_EVERY_S = 1.0
_RUN_S = 30.0
_LOCK = "/dev/shm/xtables.lock"
"""Where legacy iptables may keep its lock: the root is read-only."""
_INTERFACES = Path("/proc/net/if_inet6")
_pause = Event().wait


class RedirectError(Exception):
    """The pod may not start; the message says why."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """What the variables say, checked."""

    host: str
    networks: tuple[Network, ...]
    port: int
    to: int
    uid: int


def read(environment: Mapping[str, str], problems: list[str]) -> Redirect | None:
    """Return what the environment says; None, and a line per mistake in ``problems``, where that cannot be."""

    def number(name: str, least: int, most: int) -> int:
        text = environment.get(f"SIDEGATE_REDIRECT_{name}", "")
        if text.isascii() and text.isdigit() and least <= int(text) <= most:
            return int(text)
        problems.append(f"SIDEGATE_REDIRECT_{name}: expected a number from {least} to {most} (got {text!r})")
        return 0

    networks = []
    for text in environment.get("SIDEGATE_REDIRECT_CIDRS", "").split():
        try:
            networks.append(ip_network(text, strict=False))
        except ValueError as error:
            problems.append(f"SIDEGATE_REDIRECT_CIDRS: {error}")
    host = environment.get("SIDEGATE_REDIRECT_HOST", "").strip()
    if not host and not networks and not problems:
        problems.append("SIDEGATE_REDIRECT_HOST: required, unless SIDEGATE_REDIRECT_CIDRS names networks")
    port, to, uid = number("PORT", 1, 65535), number("TO", 1, 65535), number("UID", 1, 2**32 - 2)
    return None if problems else Redirect(host, tuple(networks), port, to, uid)


def addresses(host: str, within_s: float = RESOLVE_S) -> tuple[Network, ...]:
    """Return every address of a name, asked for again and again until there is one; RedirectError where none comes."""
    said = ""
    for attempt in range(max(1, round(within_s / _EVERY_S))):
        if attempt:
            _pause(_EVERY_S)
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            said = getattr(error, "strerror", None) or str(error)
            continue
        texts = {str(place[0]).partition("%")[0] for *_, place in found}
        return tuple(sorted(map(ip_network, texts), key=lambda network: (network.version, network)))
    raise RedirectError(f"upstream {host} has no address: {said} (asked for {within_s:g} s)")


def rules(redirect: Redirect, networks: tuple[Network, ...], *, version: int, is_hooked: bool) -> str:
    """Return what ``iptables-restore --noflush`` takes; ``is_hooked`` is whether OUTPUT leads to our chain already."""
    table = "nat" if version == 4 else "filter"
    target = f"REDIRECT --to-ports {redirect.to}" if version == 4 else "REJECT --reject-with tcp-reset"
    lines = [f"*{table}", f":{CHAIN} - [0:0]"]  # which empties the chain where it is there already
    if not is_hooked:
        lines.append(f"-A OUTPUT -p tcp -j {CHAIN}")
    lines.append(f"-A {CHAIN} -m owner --uid-owner {redirect.uid} -j RETURN")
    lines += [
        f"-A {CHAIN} -p tcp -d {network} --dport {redirect.port} -j {target}"
        for network in networks
        if network.version == version
    ]
    return "\n".join([*lines, "COMMIT", ""])


def apply(redirect: Redirect, networks: tuple[Network, ...], run: Run) -> str:
    """Put the rules in; return which iptables took them. RedirectError, with what each said, where none did."""
    if all(network.version == 6 for network in networks):
        raise RedirectError(
            f"upstream {redirect.host} has no IPv4 address, and the sidecar listens on no other; capture.mode redirect needs one"
        )
    said = []
    for backend in BACKENDS:
        problem = _apply(redirect, networks, backend, run)
        if problem is None:
            return backend
        said.append(f"iptables-{backend}: {problem}")
    raise RedirectError(f"the rules do not go in: {'; '.join(said)}")


Run = Callable[[list[str], str], tuple[int, str]]
"""A command and its standard input in, its exit code and what it said out."""


def _apply(redirect: Redirect, networks: tuple[Network, ...], backend: str, run: Run) -> str | None:
    # IPv6 first: once calls come to the sidecar none may go past it.
    for version, program in ((6, f"ip6tables-{backend}"), (4, f"iptables-{backend}")):
        if not any(network.version == version for network in networks):
            continue
        table = "nat" if version == 4 else "filter"
        asked = [program, "-w", "-t", table, "-C", "OUTPUT", "-p", "tcp", "-j", CHAIN]
        text = rules(redirect, networks, version=version, is_hooked=run(asked, "")[0] == 0)
        code, said = run([f"{program}-restore", "-w", "--noflush"], text)
        if code:
            return " ".join(said.split()) or f"exit code {code}"
    return None


def _has_ipv6() -> bool:
    """Whether the pod has IPv6 at all; without it there is nothing to reset, and perhaps no ip6tables in the kernel."""
    try:
        return bool(_INTERFACES.read_text().strip())
    except OSError:
        return False


def _run(command: list[str], text: str) -> tuple[int, str]:
    path = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        return 127, "not installed"
    environment = {**os.environ, "XTABLES_LOCKFILE": _LOCK}
    try:
        done = subprocess.run(
            [path, *command[1:]], input=text, capture_output=True, text=True, timeout=_RUN_S, env=environment
        )
    except subprocess.TimeoutExpired:
        return 1, f"not done after {_RUN_S:g} s"
    return done.returncode, done.stderr or done.stdout


def main(environment: Mapping[str, str]) -> int:
    """Return 0 when the rules are in force, 1 when they are not, 2 when a variable is wrong."""
    problems: list[str] = []
    redirect = read(environment, problems)
    if redirect is None:
        sys.stderr.write("".join(f"{problem}\n" for problem in problems))
        return 2
    try:
        networks = redirect.networks or addresses(redirect.host)
        if not _has_ipv6():
            networks = tuple(n for n in networks if n.version == 4)
        backend = apply(redirect, networks, _run)
    except RedirectError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for network in networks:
        what = f"to 127.0.0.1:{redirect.to}" if network.version == 4 else "reset, the sidecar has no IPv6"
        sys.stdout.write(f"{network} port {redirect.port}: {what}\n")
    sys.stdout.write(f"in force by iptables-{backend}, for all users but {redirect.uid}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
