"""The JSON Schema of the configuration file, from the types and the docstrings under their fields."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import msgspec

from proxy.config import settings
from proxy.config.units import SCHEMAS


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12). Durations and sizes are described as people write them."""
    schema = msgspec.json.schema(settings.Settings)
    described = field_docs()
    for name, definition in schema["$defs"].items():
        for key, prop in definition.get("properties", {}).items():
            text = described.get(name, {}).get(key)
            if text:
                prop["description"] = text
    result: dict[str, Any] = _as_written(schema)
    result["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    result["title"] = "Sidegate configuration"
    return result


def field_docs() -> dict[str, dict[str, str]]:
    """Return the docstring under each field, by class and field."""
    docs: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(settings)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        fields = docs.setdefault(node.name, {})
        for field, below in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                fields[field.target.id] = " ".join(below.value.value.split())
    return docs


def _as_written(node: Any) -> Any:
    """Replace what a duration or size is in the program by what it is in the file."""
    if isinstance(node, list):
        return [_as_written(item) for item in node]
    if not isinstance(node, dict):
        return node
    unit = node.get("x-unit")
    if unit in SCHEMAS:
        kept = {key: node[key] for key in ("default", "description") if key in node}
        return {**SCHEMAS[unit], **kept}
    return {key: _as_written(value) for key, value in node.items()}
