"""Programs that pip cannot bring: what the tests and the bench start, and what to do where one is missing.

``python3 tests/parts.py install test`` brings what is missing from Debian when it may (root, apt-get at hand)
and says what is missing when it may not. Standard library only: it may run before anything is installed.

A test asks with ``require("java")``: it skips where the part is missing, and fails where ``CI=true``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this file before a package starts its service; exit code 101 means: do not."""


@dataclass(frozen=True)
class Part:
    """One program, the Debian packages that bring it, and who needs it."""

    command: str
    package: str
    used_by: frozenset[str]


PARTS = {
    part.command: part
    for part in (
        Part("curl", "curl", frozenset({"test"})),
        Part("node", "nodejs", frozenset({"test"})),
        Part("java", "default-jdk-headless", frozenset({"test"})),
        Part("nginx", "nginx-light", frozenset({"test", "bench"})),
        Part("haproxy", "haproxy", frozenset({"test", "bench"})),
        Part("varnishtest", "varnish", frozenset({"test"})),
        Part("wrk", "wrk", frozenset({"bench"})),
        Part("gcc", "gcc libc6-dev", frozenset({"compile"})),
        Part("python3-config", "python3-dev", frozenset({"compile"})),
        Part("taskset", "util-linux", frozenset({"bench"})),
        Part("debootstrap", "debootstrap", frozenset({"cluster"})),
        Part("podman", "podman netavark", frozenset({"cluster"})),
        Part("runc", "runc", frozenset({"cluster"})),
        Part("ip", "iproute2", frozenset({"cluster"})),
        Part("etcd", "etcd-server", frozenset({"cluster"})),
        Part("containerd", "containerd", frozenset({"cluster"})),
        Part("/usr/lib/cni/bridge", "containernetworking-plugins", frozenset({"cluster"})),
        Part(
            "/usr/lib/go-1.19/bin/go",
            "golang-1.19-go golang-github-modern-go-reflect2-dev",
            frozenset({"cluster"}),
        ),
        Part("promtool", "prometheus", frozenset({"kube"})),
    )
}
GROUPS = frozenset[str]().union(*(part.used_by for part in PARTS.values()))


def where(command: str) -> str | None:
    """The program's path. Debian keeps daemons in sbin, which a user's PATH may lack."""
    return shutil.which(command) or shutil.which(command, path="/usr/local/sbin:/usr/sbin:/sbin")


def missing(group: str) -> list[Part]:
    return [part for part in PARTS.values() if group in part.used_by and where(part.command) is None]


def require(command: str) -> str:
    """The program's path, or a skipped test; with ``CI=true`` a failed one: CI never silently tests less."""
    import pytest

    path = where(command)
    if path is None:
        note = f"{command} is missing: apt-get install {PARTS[command].package}"
        if os.environ.get("CI") == "true":
            pytest.fail(note, pytrace=False)
        pytest.skip(note)
    return path


def where_in_kube(command: str) -> str:
    """helm or kubectl as `make test-kube` brought them, or the machine's own; else a skipped test, in CI a failed one."""
    import pytest

    brought = Path(sys.prefix) / "kube" / command
    path = str(brought) if brought.exists() else shutil.which(command)
    if path is None:
        note = f"{command} is missing: make test-kube brings it"
        if os.environ.get("CI") == "true":
            pytest.fail(note, pytrace=False)
        pytest.skip(note)
    return path


@contextlib.contextmanager
def services_stay_down() -> Iterator[None]:
    """While packages are installed none of their daemons starts; a policy already there is left alone."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def apt_install(packages: list[str]) -> None:
    """Brings the packages; says why where it cannot (no network, no such package)."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    commands = (["update"], ["install", "-y", "--no-install-recommends", *packages])
    with services_stay_down():
        for command in commands:
            done = subprocess.run(
                ["apt-get", "-qq", *command],
                env=quiet,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                print(f"apt-get {' '.join(command)} failed:\n{done.stdout}{done.stderr}", file=sys.stderr)
                return


def install(group: str) -> int:
    absent = missing(group)
    if not absent:
        return 0
    packages = sorted({name for part in absent for name in part.package.split()})
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing from Debian: {' '.join(packages)}", flush=True)
        apt_install(packages)
        absent = missing(group)
    for part in absent:
        print(f"missing: {part.command} (Debian: {part.package}); what depends on it is skipped")
    return 1 if absent and os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "install" or sys.argv[2] not in GROUPS:
        sys.exit(f"usage: python3 tests/parts.py install {'|'.join(sorted(GROUPS))}")
    sys.exit(install(sys.argv[2]))
