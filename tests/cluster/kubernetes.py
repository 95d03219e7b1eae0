"""Kubernetes 1.20.2 out of Debian's own source package with Debian's Go: ``python -m tests.cluster.kubernetes``.

No registry that is reached here ships a server's programs, so they are built: four minutes on two cores, once; afterwards
they lie in ``.venv/cluster/kubernetes``. The version is Debian's. It is older than native sidecars (1.29): what this server
shows is admission by a real API server, the chart under real Helm, and the plain form of the sidecar under a real kubelet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.cluster.images import FOLDER, SUITE, mirror

VERSION = "1.20.2"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
PLACE = FOLDER / "kubernetes"
_GO = Path("/usr/lib/go-1.19/bin")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_REFLECT2 = Path("/usr/share/gocode/src/github.com/modern-go/reflect2")
_NOT_ANNOTATED = {
    "code-generator",
    "gengo",
    "heapster",
    "klog",
    "kube-openapi",
    "sample-apiserver",
    "system-validators",
    "utils",
}
"""Vendored modules whose types the server's OpenAPI document does not speak of."""


def programs() -> Path:
    """The folder with the programs, built where one is missing."""
    if not all((PLACE / name).exists() for name in PROGRAMS):
        FOLDER.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as place:
            _build(Path(place))
    return PLACE


def _build(place: Path) -> None:
    sources = place / "gp" / "src" / "k8s.io" / "kubernetes"
    sources.parent.mkdir(parents=True)
    tarball = _download(place)
    _run(["tar", "-xzf", str(tarball), "-C", str(place)], place)
    next(place.glob("kubernetes-*/")).rename(sources)
    # The copy in the source, 1.0.1, crashes under Go 1.18 and later.
    vendored = sources / "vendor" / "github.com" / "modern-go" / "reflect2"
    shutil.rmtree(vendored)
    shutil.copytree(_REFLECT2, vendored, symlinks=False)
    _go(
        place,
        sources,
        "build",
        "-o",
        str(place / "openapi-gen"),
        "./vendor/k8s.io/kube-openapi/cmd/openapi-gen",
    )
    packages = ",".join(sorted(f"k8s.io/kubernetes/{folder}" for folder in _annotated(sources)))
    header = "vendor/k8s.io/code-generator/hack/boilerplate.go.txt"
    generate = [str(place / "openapi-gen"), "-i", packages, "-p", "k8s.io/kubernetes/pkg/generated/openapi"]
    generate += [
        "-O",
        "zz_generated.openapi",
        "-h",
        header,
        "-r",
        str(place / "violations"),
        "-o",
        str(place / "gp" / "src"),
    ]
    _run(generate, sources, _environment(place))
    major, minor, _ = VERSION.split(".")
    said = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    # What /version answers is client-go's, what --version prints is component-base's.
    stamps = (
        "k8s.io/kubernetes/vendor/k8s.io/component-base/version",
        "k8s.io/kubernetes/vendor/k8s.io/client-go/pkg/version",
    )
    flags = " ".join(
        ["-s -w", *(f"-X {stamp}.{name}={value}" for stamp in stamps for name, value in said.items())]
    )
    built = place / "bin"
    for name in PROGRAMS:
        print(f"building {name}", flush=True)
        _go(
            place,
            sources,
            "build",
            "-p",
            "2",
            "-trimpath",
            "-ldflags",
            flags,
            "-o",
            str(built / name),
            f"k8s.io/kubernetes/cmd/{name}",
        )
    shutil.rmtree(PLACE, ignore_errors=True)
    built.rename(PLACE)


def _download(place: Path) -> Path:
    """The source package's tarball, which apt has checked against the archive's key."""
    apt = place / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb-src [signed-by={_KEYRING}] {mirror()} {SUITE} main\n")
    options = [
        f"Dir::Etc::sourcelist={apt / 'sources.list'}",
        "Dir::Etc::sourceparts=-",
        f"Dir::State::lists={apt / 'lists'}",
    ]
    options += [f"Dir::Cache={apt / 'cache'}", "APT::Sandbox::User=root"]
    flags = [word for option in options for word in ("-o", option)]
    _run(["apt-get", *flags, "update", "-qq"], place)
    _run(["apt-get", *flags, "source", "-qq", "--download-only", "kubernetes"], place)
    (tarball,) = place.glob("kubernetes_*.orig.tar.gz")
    return tarball


def _annotated(sources: Path) -> set[str]:
    """Folders with types that the OpenAPI document is generated from."""
    found = set()
    vendored = [path for path in (sources / "vendor" / "k8s.io").iterdir() if path.name not in _NOT_ANNOTATED]
    for top in (*vendored, sources / "pkg"):
        for path in top.rglob("*.go"):
            if "+k8s:openapi-gen=" in path.read_text(encoding="utf-8", errors="replace"):
                found.add(str(path.parent.relative_to(sources)))
    return found


def _environment(place: Path) -> dict[str, str]:
    go = {
        "GOPATH": str(place / "gp"),
        "GOCACHE": str(place / "cache"),
        "GO111MODULE": "off",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    return {**os.environ, **go, "PATH": f"{_GO}:{os.environ['PATH']}"}


def _go(place: Path, folder: Path, *arguments: str) -> None:
    _run(["go", *arguments], folder, _environment(place))


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:400]}\n{(done.stdout + done.stderr)[-4000:]}")


if __name__ == "__main__":
    print(programs())
