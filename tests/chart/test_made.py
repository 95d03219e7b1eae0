"""What is made from the product's types is in the chart as it would be made now, and says the same as the product."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proxy.config.convert import key_types
from proxy.config.settings import Settings
from proxy.config.yaml12 import read_yaml
from proxy.inject.options import CHART_KEYS, Options, Plan
from proxy.inject.values import NOT_VALUES, Chart, values_schema, values_yaml
from tests.chart.made import CHART, FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_chart_holds_what_is_made_now(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == FILES[path](), "run: .venv/bin/python -m tests.chart"


def test_the_defaults_are_those_of_the_product() -> None:
    """With an upstream they are a plan without a problem, and the very settings that nothing but an upstream gives."""
    tree: dict[str, Any] = read_yaml(values_yaml())
    tree["upstream"]["url"] = "http://data.example.com"
    for key in key_types(Chart):
        del tree[key]
    told, bare = Plan(tree), Plan({"upstream": {"url": "http://data.example.com"}})
    assert told.problems == []
    assert told.read(None, {}) == bare.read(None, {})


def test_every_value_has_a_line_that_says_what_it_is() -> None:
    lines = values_yaml().splitlines()
    for before, line in pairwise(lines):
        if re.match(r"^ *[\w\"]+:", line):
            assert re.match(r"^ *# -- \S", before), f"{line}: {before}"


@pytest.mark.parametrize(
    ("template", "keys"),
    [("keys", set(key_types(Settings))), ("chartKeys", {*key_types(Chart), "global", "enabled"})],
)
def test_the_templates_name_the_sections_of_the_sidecars_file_and_the_charts_own(
    template: str, keys: set[str]
) -> None:
    helpers = (CHART / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    (named,) = re.findall(rf'define "sidegate.{template}" -}}}}\n(.*)\n', helpers)
    assert set(named.split()) == keys


def test_the_schema_knows_every_value_and_no_other() -> None:
    properties = values_schema()["properties"]
    wanted = {
        *key_types(Settings),
        *key_types(Options),
        *key_types(Chart),
        "services",
        "global",
        "enabled",
    } - NOT_VALUES
    assert set(properties) == wanted


def test_a_file_of_values_may_hold_what_only_the_chart_knows() -> None:
    assert {*key_types(Chart), "global", "enabled"} == CHART_KEYS
