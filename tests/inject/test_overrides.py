"""Annotations: whatever a pod says is either what the sidecar then runs on, or refused with a sentence."""

from __future__ import annotations

import time
from typing import Any

import pytest

from proxy.config.load import Sources
from proxy.config.settings import Settings
from proxy.config.yaml12 import read_yaml
from proxy.inject.options import Plan
from tests.inject.pods import env_of, injected, plan, pod, sidecar


def annotated(**texts: str) -> dict[str, Any]:
    return pod(metadata={"annotations": {f"sidegate.dev/{path}": text for path, text in texts.items()}})


def run_on(texts: dict[str, str], by: Plan, tmp_path: Any) -> Settings:
    """What the sidecar's process makes of its file and its environment, as Kubernetes hands it over."""
    outcome = injected(annotated(**texts), by)
    assert outcome.pod is not None, outcome.problems
    env = {
        name: text.replace("$$", "$")
        for name, text in env_of(sidecar(outcome)).items()
        if isinstance(text, str)
    }
    file = tmp_path / "config.yaml"
    file.write_text(outcome.pod["metadata"]["annotations"]["sidegate.dev/config"])
    return Sources(str(file), env).load()


@pytest.mark.parametrize(
    "texts",
    [
        {"limits.rate": "20"},
        {"limits": "{rate: 5}"},
        {"limits": "{rate: 5}", "limits.rate": "20"},
        {"limits": "null", "limits.rate": "20"},
        {"limits": "~"},
        {"limits": "{}"},
        {"timeouts": "{total: 10m}", "limits.concurrency": "{mode: fixed, limit: 3}"},
        {"retry.when_json": "{errorCode: [500]}"},
        {"retry.when_json.errorCode": "[500]"},
        {"retry.when_json.error__code": "['$(PATH)', $$]"},
        {"routes": "[{name: slow, match: {path_prefix: /$$x}}]"},
    ],
    ids=str,
)
def test_the_sidecar_runs_on_what_was_checked(texts: dict[str, str], tmp_path: Any) -> None:
    """A section in one annotation replaced the file's; a key in capitals came out small; $$ came out as $."""
    by = plan(limits={"rate": 50, "burst": 5}, retry={"when_json": {"code": [1]}})
    checked, _, problems = by.read(None, _tree(texts))
    assert problems == []
    assert run_on(texts, by, tmp_path) == checked


def _tree(texts: dict[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, text in texts.items():
        *above, last = path.split(".")
        node = tree
        for key in above:
            node[key] = node.get(key) or {}
            node = node[key]
        node[last] = read_yaml(text)
    return tree


@pytest.mark.parametrize(
    "text",
    [
        "2001-99-99",
        "[" * 33,
        "- " * 3000,
        "!!int ''",
        "!!bool x",
        "!!timestamp x",
        "9" * 5000,
        "0b_",
        "\x00",
        "{[1]: 2}",
        "!!python/none",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_a_yaml_reader_stumbles_over_is_refused(text: str) -> None:
    """Each of these let the pod in without a sidecar: an error of the webhook is ignored by default."""
    (problem,) = injected(annotated(**{"limits.rate": text})).problems
    assert problem.startswith("sidegate.dev/limits.rate: ")


def test_aliases_are_refused_before_they_grow() -> None:
    text = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{below}: &{below} [{','.join([f'*{above}'] * 10)}]\n"
        for above, below in zip("abcdefghi", "bcdefghij", strict=True)
    )
    (problem,) = injected(annotated(**{"limits.rate": text})).problems
    assert problem == "sidegate.dev/limits.rate: line 2: aliases are not taken here"


@pytest.mark.parametrize(
    "texts", [{"routes": "[" * 16000}, {"routes": "{" * 33}, {"a": "x" * 16000, "b": "y" * 1000}]
)
def test_what_takes_long_to_read_is_refused_at_once(texts: dict[str, str]) -> None:
    """One pod held the webhook up for as long as its author liked."""
    before = time.process_time()
    (problem, *_) = injected(annotated(**texts)).problems
    assert "nested more than" in problem or "16384 characters at most" in problem
    assert time.process_time() - before < 0.3


def test_a_star_in_a_word_is_no_alias() -> None:
    assert injected(annotated(**{"capture.noProxy": "['*.example.com']"})).problems == []


def test_a_value_and_what_lies_below_it_are_not_both_said() -> None:
    (problem,) = injected(annotated(**{"limits": "5", "limits.rate": "20"})).problems[:1]
    assert problem == "sidegate.dev/limits.rate: another annotation makes limits a value (got 5)"


class TestService:
    BY = plan(services={"orders": {}, "stock": {"limits": {"rate": 1}}})

    def test_an_annotation_beats_the_labels_also_where_it_names_one_without_settings(self) -> None:
        outcome = injected(annotated(service="billing"), self.BY)
        assert env_of(sidecar(outcome))["SIDEGATE_CONFIG"] == "/etc/sidegate/config.yaml"
        assert outcome.warnings[0].startswith("sidegate.dev/service: billing has no settings of its own")

    def test_a_name_that_is_nearly_one_is_asked_about(self) -> None:
        assert injected(annotated(service="stok"), self.BY).warnings == [
            "sidegate.dev/service: stok has no settings of its own, the pod takes those for all; did you mean stock?"
        ]

    @pytest.mark.parametrize("name", ["config", "a/b", "..", "x" * 64, "two words", ""])
    def test_a_name_that_no_label_holds_or_that_is_taken_is_refused(self, name: str) -> None:
        """The service config had the file of all others."""
        (problem,) = Plan({"upstream": {"url": "http://a.example"}, "services": {name: {}}}).problems
        assert problem.startswith(f"services.{name}: expected what a label can hold")
