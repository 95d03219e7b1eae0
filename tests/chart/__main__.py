"""Writes what is made from the product's types into the chart: ``python -m tests.chart``."""

from __future__ import annotations

from tests.chart.made import FILES

for path, text in FILES.items():
    path.write_text(text(), encoding="utf-8")
    print(f"wrote {path}")
