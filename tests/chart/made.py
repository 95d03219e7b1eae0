"""The files of the chart that are made from the product's types."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.inject.values import values_schema, values_yaml

CHART = Path(__file__).parents[2] / "charts" / "sidegate"


def schema_text() -> str:
    """values.schema.json."""
    return json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n"


FILES: Mapping[Path, Callable[[], str]] = {
    CHART / "values.yaml": values_yaml,
    CHART / "values.schema.json": schema_text,
}
