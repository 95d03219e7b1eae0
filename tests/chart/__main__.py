"""Writes what is made from the product: ``python -m tests.chart``, or ``make chart``, which brings Helm along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.chart.made import FILES, RENDERED, rendered

HELM = Path(sys.prefix) / "kube" / "helm"


def helm(*arguments: str) -> str:
    """Run Helm; return what it printed."""
    return subprocess.run(
        [str(HELM), *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout


for path, text in FILES.items():
    path.write_text(text(), encoding="utf-8")
    print(f"wrote {path}")
if HELM.exists():
    RENDERED.write_text(rendered(helm), encoding="utf-8")
    print(f"wrote {RENDERED}")
else:
    print(f"left {RENDERED} as it is: there is no Helm; run make chart")
