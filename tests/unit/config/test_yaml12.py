"""A text says one thing to every reader, or it is refused with line and rule; reading it costs little whatever it says."""

from __future__ import annotations

from typing import Any

import pytest
import yaml as other_reader
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.yaml12 import DEEPEST, NotYaml, not_yaml, read_yaml, write_yaml


def refused(text: str, *, is_trusted: bool = True) -> list[str]:
    with pytest.raises(NotYaml) as caught:
        read_yaml(text, is_trusted=is_trusted)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10), ("-7", -7), ("+3", 3), ("0", 0), ("0x1F", 31), ("0o17", 15), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5),
        ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None), ("# nothing", None),
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("n", "n"), ("True", True), ("tRUE", "tRUE"),
        ("'010'", "010"), ('"1:30"', "1:30"), ("|\n  010", "010"), ("!!str 010", "010"), ("!!int '7'", 7),
        ("2001-01-01", "2001-01-01"), ("10.0.0.1:8881", "10.0.0.1:8881"), ("::1", "::1"), ("30s", "30s"), ("1m30s", "1m30s"),
        ("http://a:80/b?c=d#e", "http://a:80/b?c=d#e"), ("\ufeffa: 1", {"a": 1}), ("%YAML 1.1\n---\non", "on"),
        ("1: x", {"1": "x"}), ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}), ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
        ("b: &b {c: 1, d: 2}\na: {<<: *b, c: 3}", {"b": {"c": 1, "d": 2}, "a": {"c": 3, "d": 2}}),
        ("<<: [{a: 1}, {a: 2, b: 2}]", {"a": 1, "b": 2}),
    ],
)  # fmt: skip
def test_plain_words_are_read_as_yaml_1_2_has_them(text: str, value: object) -> None:
    got = read_yaml(text)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("a: 010", 1, "begins with 0"),
        ("a: [1,\n 08]", 2, "begins with 0"),
        ("a: -00", 1, "begins with 0"),
        ("a:\n  b: 1:30", 2, "count of seconds"),
        ("a: 12:30:45.5", 1, "count of seconds"),
        ("a: 1_000", 1, "takes no _"),
        ("a: 0b101", 1, "binary"),
        ("a: 1\nb: 2\na: 3", 3, "'a' stands in one section twice, first in line 1"),
        ("a: {b: 1, 'b': 2}", 1, "'b' stands in one section twice"),
        ("a:\n  - b: 1\n    b: 1", 3, "twice"),
        ("<<: {a: 1}\n<<: {b: 1}", 2, "twice"),
        ("a: !!timestamp 2001-01-01", 1, "use no tags"),
        ("a: !mine {b: 1}", 1, "use no tags"),
        ("a: !!int x", 1, "this is no int"),
        ("a: !!bool on", 1, "this is no bool"),
        ("a: " + "7" * 5000, 1, "too long"),
        ("a: 0x" + "f" * 5000, 1, "too long"),
        ("? [a]\n: b", 1, "a key must be a word"),
        ("a: &a [*a]", 1, "deep"),
        ("<<: 5", 1, "<< takes a section"),
        ("a: [1", 1, "not YAML"),
        ("a: 1\n--- \nb: 2", 2, "not YAML"),
        ("a: *b", 1, "not YAML"),
        ("a: b: c", 1, "not YAML"),
        ("a:\n\t- b", 2, "not YAML"),
    ],
)
def test_what_readers_disagree_on_is_refused_with_line_and_rule(text: str, line: int, rule: str) -> None:
    (problem,) = refused(text)
    assert f"line {line}:" in problem
    assert rule in problem


def test_every_mistake_is_told() -> None:
    assert [problem.partition(":")[0] for problem in refused("a: 010\nb: 1\nb: 1:30\nc: !x y")] == [
        "line 1", "line 3", "line 3", "line 4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["a: hush: 1", "a: 'hush", "a: 1\na: hush", "a: [hush", "%hush\na", "a: \"hush\\q\"", "hush: {a: 1, a: 2"],
)  # fmt: skip
def test_a_refusal_does_not_quote_the_text_around_it(text: str) -> None:
    """A password may stand there."""
    assert not [problem for problem in refused(text) if "hush" in problem]


@pytest.mark.parametrize("piece", ["[", "{", "- ", "a: [", "? ", "{a: [", "[\n", "!!seq ["])
def test_depth_is_bounded_before_it_costs(piece: str) -> None:
    """Refused after some 32 of them: nothing is read on to the end of the text."""
    (problem,) = refused(piece * 100_000)
    assert "deep" in problem or "not YAML" in problem
    assert "deep" in refused("[" * (DEEPEST + 1))[0]


def test_brackets_in_words_are_no_depth() -> None:
    assert read_yaml("a: '" + "[" * 5000 + "'  # " + "{" * 5000) == {"a": "[" * 5000}


def test_aliases_that_unfold_are_bounded_and_strangers_may_use_none() -> None:
    text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (problem,) = refused(text)
    assert "more than 100000 values" in problem
    assert "aliases are not taken" in refused("a: &a 1\nb: *a", is_trusted=False)[0]


words = st.text(max_size=12) | st.sampled_from(
    ["on", "No", "010", "1:30", "1_0", "null", "~", "", "0b1", "1e3", "a: b", "- a", "#"]
)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | words,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(words, below, max_size=4),
    max_leaves=12,
)


@given(trees)
def test_what_is_written_is_read_back_the_same(tree: Any) -> None:
    assert read_yaml(write_yaml(tree)) == tree


@given(
    st.dictionaries(
        st.sampled_from(["on", "y", "a"]), st.sampled_from(["010", "1:30", "off", "1_0", "x", 5, None])
    )
)
def test_what_is_written_means_the_same_to_a_reader_of_yaml_1_1(tree: dict[str, Any]) -> None:
    assert other_reader.safe_load(write_yaml(tree)) == tree


def test_keys_stay_in_their_order() -> None:
    assert list(read_yaml(write_yaml({"b": 1, "a": 2}))) == ["b", "a"]


def test_an_error_without_a_place_says_so_in_words() -> None:
    assert not_yaml(ValueError("hush")) == "not YAML: a character or a value that no reader takes"
