"""Programs that pip cannot bring: what the tests and the bench start, and what to do where one is missing.

``python3 tests/parts.py install test`` brings what is missing from Debian when it may (root, apt-get at hand)
and says what is missing when it may not. Standard library only: it may run before anything is installed.

A test asks with ``require("java")``: it skips where the part is missing, and fails where ``CI=true``.
"""

from __future__ import annotations

import contextlib
import os
import re
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
    suite: str = ""
    """Of Debian; "" for the release's own, backports where the release has no such package yet."""


PARTS = {
    part.command: part
    for part in (
        Part("curl", "curl", frozenset({"test"})),
        Part("node", "nodejs", frozenset({"test"})),
        Part("java", "default-jdk-headless", frozenset({"test"})),
        Part("javac", "default-jdk-headless", frozenset({"test"})),
        Part("nginx", "nginx-light", frozenset({"test", "bench"})),
        Part("haproxy", "haproxy", frozenset({"test", "bench"})),
        Part("redis-server", "redis-server", frozenset({"test"})),
        Part("valkey-server", "valkey-server", frozenset({"test"}), suite="backports"),
        Part("varnishtest", "varnish", frozenset({"test"})),
        Part("wrk", "wrk", frozenset({"bench"})),
        Part("/usr/lib/postgresql/15/bin/postgres", "postgresql-15", frozenset({"bench"})),
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


def release() -> str:
    """What this Debian is called, such as bookworm."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME=")), "")


@contextlib.contextmanager
def backports(suite: str) -> Iterator[None]:
    """While packages are installed apt knows a suite as well, from where it has the release itself."""
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.*"))]
    texts = {
        path: path.read_text() for path in lists if path.suffix in (".list", ".sources") and path.exists()
    }
    if not suite or any(suite in text for text in texts.values()):
        yield
        return
    own = release()
    made = Path("/etc/apt/sources.list.d/tests-backports")
    for path, text in texts.items():
        of_release = [stanza for stanza in text.split("\n\n") if re.search(rf"\b{own}\b(?!-)", stanza)]
        if of_release:
            made = made.with_suffix(path.suffix)
            lines = of_release[0].splitlines()
            if path.suffix == ".list":
                lines = [next(line for line in lines if re.match(rf"deb .*\b{own}\b(?!-)", line))]
            changed = [
                re.sub(rf"\b{own}\b(?!-).*", suite + (" main" if path.suffix == ".list" else ""), line)
                for line in lines
            ]
            made.write_text("\n".join(changed) + "\n")
            break
    try:
        yield
    finally:
        made.unlink(missing_ok=True)


def apt_install(packages: list[str], suite: str = "") -> None:
    """Brings the packages; says why where it cannot (no network, no such package)."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    of_suite = ["-t", suite] if suite else []
    commands = (["update"], ["install", "-y", "--no-install-recommends", *of_suite, *packages])
    with services_stay_down(), backports(suite):
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
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for suite in sorted({part.suite for part in absent}):
            packages = sorted(
                {name for part in absent if part.suite == suite for name in part.package.split()}
            )
            print(f"installing from Debian: {' '.join(packages)}", flush=True)
            apt_install(packages, f"{release()}-{suite}" if suite else "")
        absent = missing(group)
    for part in absent:
        print(f"missing: {part.command} (Debian: {part.package}); what depends on it is skipped")
    return 1 if absent and os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "install" or sys.argv[2] not in GROUPS:
        sys.exit(f"usage: python3 tests/parts.py install {'|'.join(sorted(GROUPS))}")
    sys.exit(install(sys.argv[2]))
