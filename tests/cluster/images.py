"""Container images without any registry: ``python -m tests.cluster.images`` makes all of them and says what it made.

    base        Debian with Python, by debootstrap from the mirror that apt uses here; kept as a tar, for it takes a minute
    sidecar     the repository's Dockerfile on that base
    redirect    its second target: the same with iptables, for the init container of ``capture.mode: redirect``

Everything lies in ``.venv/cluster``: podman's settings, its storage, the base. What the build needs of this machine (pip's and
apt's settings, certificates) is mounted while it runs and stays out of the images. podman builds again what changed, and
only that: every function here may be called as often as one likes. ``COMPILE=`` in the environment leaves the path of a
call to the interpreter, as it does for the Dockerfile, and saves a minute or two whenever a source changed.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(sys.prefix) / "cluster"
TAG = "cluster"
BASE = "localhost/sidegate-base"
SIDECAR = "localhost/sidegate"
REDIRECT = "localhost/sidegate-redirect"
"""Repositories, as ``image.repository`` of the chart's values takes them; the tag of each is ``TAG``."""
SUITE = "bookworm"
_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates,curl"
_SETTINGS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""runc and cgroupfs: what a machine without systemd has. The limits: podman's own are above what a container's root may set."""
_CERTIFICATES = Path("/etc/ssl/certs")


class EngineError(Exception):
    """podman left with an error; the message is what it said."""


def reference(repository: str) -> str:
    """The whole name of one of the three."""
    return f"{repository}:{TAG}"


def podman(
    *arguments: str | Path, timeout_s: float = 60.0, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run podman on storage of our own; EngineError where it fails, unless ``check`` is off."""
    command = [*_engine(), *map(str, arguments)]
    done = subprocess.run(
        command,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if check and done.returncode:
        raise EngineError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done


def base() -> str:
    """The base image, made where it is missing."""
    name = reference(BASE)
    with _alone():
        if podman("image", "exists", name, check=False).returncode:
            podman("import", "--change", 'CMD=["python3"]', _base_tar(), name, timeout_s=300)
    return name


def sidecar() -> str:
    """The sidecar's image, built from the sources as they are."""
    return _built(SIDECAR, "sidecar")


def redirect() -> str:
    """The image of the init container that rewrites packets."""
    return _built(REDIRECT, "redirect")


def export(name: str, path: Path) -> Path:
    """Write an image to a tar that ``ctr images import`` and ``podman load`` take; its name comes along."""
    path.unlink(missing_ok=True)
    podman("save", "--format", "docker-archive", "-o", path, name, timeout_s=300)
    return path


def _built(repository: str, target: str) -> str:
    name = reference(repository)
    arguments = [f"BASE={base()}"]
    if "COMPILE" in os.environ:
        arguments.append(f"COMPILE={os.environ['COMPILE']}")
    flags = ["--layers", "--pull-never", "--network=host", f"--target={target}", f"--tag={name}"]
    flags += [f"--build-arg={argument}" for argument in arguments]
    with _alone():
        podman("build", *flags, *_volumes(), REPOSITORY, timeout_s=1200)
    return name


def _base_tar() -> Path:
    path = FOLDER / f"{SUITE}.tar"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=FOLDER) as place:
            root, half = Path(place, "root"), Path(place, "tar")
            include = f"--include={_PACKAGES}"
            _run(["debootstrap", "--variant=minbase", include, SUITE, str(root), mirror()], 900)
            for package in (root / "var/cache/apt/archives").glob("*.deb"):
                package.unlink()
            _run(["tar", "-C", str(root), "-cf", str(half), "."], 300)
            half.rename(path)
    return path


def mirror() -> str:
    """Where apt on this machine has the suite from."""
    wanted = "$(CODENAME) $(REPO_URI)"
    for line in _run(
        ["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"], 30
    ).splitlines():
        suite, _, uri = line.partition(" ")
        if suite == SUITE:
            return uri
    raise EngineError(f"apt here has no source for {SUITE}")


def _volumes() -> list[str]:
    """What the build sees of this machine: certificates, pip's and apt's settings and the folders that pip's name."""
    place = FOLDER / "machine"
    place.mkdir(exist_ok=True)
    pip, folders = _pip_settings()
    apt = [line for line in _run(["apt-config", "dump"], 30).splitlines() if line.startswith("Acquire::")]
    (place / "pip.conf").write_text(pip)
    (place / "apt.conf").write_text("\n".join(apt) + "\n")
    mounts = {place / "pip.conf": "/etc/pip.conf", place / "apt.conf": "/etc/apt/apt.conf.d/99machine"}
    mounts |= {folder: str(folder) for folder in (*folders, _CERTIFICATES) if folder.exists()}
    return [f"--volume={source}:{target}:ro" for source, target in mounts.items()]


def _pip_settings() -> tuple[str, set[Path]]:
    """pip's settings on this machine as one file, and the folders that they name; the environment beats files."""
    found: dict[str, str] = {}
    lines = _run([sys.executable, "-m", "pip", "config", "list"], 60).splitlines()
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        key, _, value = line.partition("=")
        found[key.rpartition(".")[2]] = str(ast.literal_eval(value))
    folders = set()
    for word in " ".join(found.values()).split():
        url = urlsplit(word)
        if url.scheme == "file":
            folders.add(Path(url.path).parent)  # an index' pages point at files beside it
        elif word.startswith("/") and Path(word).exists():
            folders.add(Path(word))
    text = "".join(f"{key} = {value}\n" for key, value in found.items())
    return f"[global]\n{text}", {f for f in folders if not f.is_relative_to(_CERTIFICATES)}


def _engine() -> list[str]:
    places = (("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp"))
    return ["podman", *(word for flag, name in places for word in (flag, str(FOLDER / name)))]


def _environment() -> dict[str, str]:
    FOLDER.mkdir(exist_ok=True)
    settings = FOLDER / "containers.conf"
    if not settings.exists() or settings.read_text() != _SETTINGS:
        settings.write_text(_SETTINGS)
    return {**os.environ, "CONTAINERS_CONF": str(settings)}


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One builder at a time: two runs of the tests may share the folder."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], timeout_s: float) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
    )
    if done.returncode:
        raise EngineError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    for make in (base, sidecar, redirect):
        made = make()
        size = int(podman("image", "inspect", "-f", "{{.Size}}", made).stdout) / 1e6
        print(f"{made}  {size:.0f} MB", flush=True)
