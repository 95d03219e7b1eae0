"""Both ends prove that they know the key; what does not prove it, whatever it is, is no proof and no error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.fleet import proof

KEY = b"a key of the fleet"
NOW = 1_700_000_000.0


def test_a_question_and_its_answer_are_believed() -> None:
    asked = proof.ask(KEY, NOW, "cafe")
    nonce = proof.nonce_of(KEY, asked, NOW + 30.0)
    assert nonce == "cafe"
    assert proof.is_answer(KEY, nonce, b"body", proof.answer(KEY, nonce, b"body"))


@pytest.mark.parametrize("later_s", [-61.0, 61.0, 1e9])
def test_a_question_is_good_for_a_minute_either_way(later_s: float) -> None:
    asked = proof.ask(KEY, NOW, "cafe")
    assert proof.nonce_of(KEY, asked, NOW + later_s) is None
    assert proof.nonce_of(KEY, asked, NOW + 59.0) == proof.nonce_of(KEY, asked, NOW - 59.0) == "cafe"


def test_another_key_proves_nothing() -> None:
    assert proof.nonce_of(b"another", proof.ask(KEY, NOW, "cafe"), NOW) is None
    assert not proof.is_answer(b"another", "cafe", b"body", proof.answer(KEY, "cafe", b"body"))


def test_an_answer_holds_for_its_question_and_its_body_only() -> None:
    header = proof.answer(KEY, "cafe", b"body")
    assert not proof.is_answer(KEY, "cafee", b"body", header)
    assert not proof.is_answer(KEY, "cafe", b"bodY", header)
    assert not proof.is_answer(KEY, "cafe", b"body", None)


def test_time_and_nonce_of_a_question_cannot_be_changed() -> None:
    when, nonce, mac = proof.ask(KEY, NOW, "cafe").split()
    assert proof.nonce_of(KEY, f"{int(when) + 1} {nonce} {mac}", NOW) is None
    assert proof.nonce_of(KEY, f"{when} beef {mac}", NOW) is None


@given(header=st.text() | st.from_regex(r"[0-9²٣]{1,30} \S+ \S+", fullmatch=True))
def test_any_other_header_is_no_proof_and_no_error(header: str) -> None:
    """What is no ASCII, or a digit that is none: it was a TypeError, and with it every turn of the fleet failed."""
    assert proof.nonce_of(KEY, header, NOW) is None
    assert not proof.is_answer(KEY, "cafe", b"body", header)


@pytest.mark.parametrize(
    "header", [None, "", "²²²² cafe x", "1700000000 cäfe x", "\udcff a b", "1700000000 a é"]
)
def test_odd_headers_prove_nothing(header: str | None) -> None:
    assert proof.nonce_of(KEY, header, NOW) is None
    assert not proof.is_answer(KEY, "cafe", b"body", header)
