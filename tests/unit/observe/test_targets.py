"""What a log shows of a target gives no secret away, is on one line, and short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.observe.targets import Targets, without_logins


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/a?page=1&token=abc", "/a?page=1&token=REDACTED"),
        (b"/a?access_token=abc&x=1", "/a?access_token=REDACTED&x=1"),
        (b"/a?API_KEY=abc", "/a?API_KEY=REDACTED"),
        (b"/a?apikey=abc;password=b", "/a?apikey=REDACTED;password=REDACTED"),
        (b"/a?X-Amz-Signature=abc&sig=d", "/a?X-Amz-Signature=REDACTED&sig=REDACTED"),
        (b"/a?key=a&jwt=b&access_key=c", "/a?key=REDACTED&jwt=REDACTED&access_key=REDACTED"),
        (b"/a?%6bey=abc&acc%65ss%5Fkey=d", "/a?%6bey=REDACTED&acc%65ss%5Fkey=REDACTED"),
        (b"/a?auth[token]=abc&user.pwd=d", "/a?auth[token]=REDACTED&user.pwd=REDACTED"),
        (
            b"/a?awsAccessKeyId=abc&idToken=d&XAPIKey=e",
            "/a?awsAccessKeyId=REDACTED&idToken=REDACTED&XAPIKey=REDACTED",
        ),
        (b"/a?author=me&keyword=x&compass=n", "/a?author=me&keyword=x&compass=n"),
        (b"/a?next=%2Fb%3Ftoken%3Dabc&page=2", "/a?next=REDACTED&page=2"),
        (b"/a?url=http://mary:abc@host/&b=http://host/", "/a?url=REDACTED&b=http://host/"),
        (b"/a?url=http%3A%2F%2Fmary%3Aabc%40host", "/a?url=REDACTED"),
        (b"/a?b=c=d&e=50%25&f=me@example.com", "/a?b=c=d&e=50%25&f=me@example.com"),
        (b"/a;token=abc/b;v=1?c=d", "/a;token=REDACTED/b;v=1?c=d"),
        (b"/a#token=abc", "/a#token=REDACTED"),
        (b"http://mary:abc@host/a?b=c", "http://REDACTED@host/a?b=c"),
        (b"http://abc@host", "http://REDACTED@host"),
        (b"mary:abc@host:443", "REDACTED@host:443"),
        (b"/get/http://mary:abc@host/a", "/get/http://REDACTED@host/a"),
        (b"/users/@me?q", "/users/@me?q"),
        (b"/plain/path?cursor=abc", "/plain/path?cursor=abc"),
        (b"/a\nb\x1b[0m?c\n=\r", "/a\\nb\\x1b[0m?c\\n=\\r"),
        (b"/\xff?\xff=\xff", "/\\xff?\\xff=\\xff"),
    ],
)
def test_a_target_in_the_log_is_clean(target: bytes, shown: str) -> None:
    assert Targets().shown(target) == shown


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/a?page=1&b=&abc", "/a?page=REDACTED&b=REDACTED&REDACTED"),
        (b"/a?abc", "/a?REDACTED"),
        (b"/a", "/a"),
        (b"/a?", "/a?"),
    ],
)
def test_no_value_of_a_query_is_shown_where_none_is_wanted(target: bytes, shown: str) -> None:
    assert Targets(with_values=False).shown(target) == shown


def test_more_names_are_compared_decoded_and_in_any_case() -> None:
    targets = Targets(secret_names=("Kundennummer", "x y"))
    assert targets.shown(b"/a?KUNDENNUMMER=1&x+y=2&x%20y=3&kunde=4") == (
        "/a?KUNDENNUMMER=REDACTED&x+y=REDACTED&x%20y=REDACTED&kunde=4"
    )


@pytest.mark.parametrize(
    "target",
    [
        b"/" + b"a" * 495 + b"?token=" + b"s" * 2000,
        b"http://mary:" + b"s" * 3000 + b"@host/",
        b"/?u=http://mary:" + b"s" * 3000 + b"@host/",
        b"/?" + b"a=b&" * 120 + b"token=" + b"s" * 900,
    ],
)
def test_a_secret_at_the_cut_is_not_shown_and_a_long_target_is_cut(target: bytes) -> None:
    text = Targets().shown(target)
    assert len(text) <= 513
    assert "sss" not in text


@given(st.binary(max_size=2000), st.booleans())
def test_a_logged_target_is_printable_and_short(target: bytes, with_values: bool) -> None:
    text = Targets(with_values=with_values).shown(target)
    assert text.isascii() or text.endswith("…")
    assert text.isprintable()
    assert len(text) <= 513


@given(st.text(alphabet="=&;?#%@:/a", max_size=40))
def test_a_value_stays_hidden_wherever_it_stands(around: str) -> None:
    """Behind a name that is a secret, up to the next pair."""
    text = Targets().shown(f"/x?{around}&token=hush1".encode())
    assert "hush1" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the call is for mary:hush@other:80", "the call is for REDACTED@other:80"),
        ("http://mary:hu/sh@other: refused", "REDACTED@other: refused"),
        ("10.0.0.1:80 refused: me@example", "10.0.0.1:80 refused: me@example"),
    ],
)
def test_a_sentence_shows_no_login(text: str, shown: str) -> None:
    assert without_logins(text) == shown
