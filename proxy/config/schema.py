"""The JSON Schema of the configuration file, from the types and the docstrings under their fields."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType
from typing import Any

import msgspec

from proxy.config import settings
from proxy.config.units import SCHEMAS


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12). Durations and sizes are described as people write them."""
    schema = msgspec.json.schema(settings.Settings)
    describe(schema["$defs"], field_docs(settings))
    result: dict[str, Any] = as_written(schema)
    result["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    result["title"] = "Sidegate configuration"
    return result


def describe(definitions: dict[str, Any], docs: dict[str, dict[str, str]]) -> None:
    """Put the docstrings of ``docs`` into the definitions of a schema."""
    for name, definition in definitions.items():
        for key, prop in definition.get("properties", {}).items():
            text = docs.get(name, {}).get(key)
            if text:
                prop["description"] = text


def field_docs(module: ModuleType) -> dict[str, dict[str, str]]:
    """Return the docstring under each field of a module's classes, by class and field."""
    docs: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
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


def as_written(node: Any) -> Any:
    """Return a schema in which durations and sizes are as people write them, not as the program holds them."""
    if isinstance(node, list):
        return [as_written(item) for item in node]
    if not isinstance(node, dict):
        return node
    unit = node.get("x-unit")
    if unit in SCHEMAS:
        kept = {key: node[key] for key in ("default", "description") if key in node}
        return {**SCHEMAS[unit], **kept}
    return {key: as_written(value) for key, value in node.items()}
