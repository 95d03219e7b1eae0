"""Addresses of the upstream lead back through the sidecar; all others stay as they are."""

from __future__ import annotations

import pytest

from proxy.respond.places import Places
from proxy.wire.response_head import ResponseHead

NAMES = frozenset({b"up.example", b"up.example.", b"up.example:80"})


def turned(places: Places, *lines: bytes) -> bytes:
    head = ResponseHead(b"HTTP/1.1 302 Found\r\n" + b"".join(line + b"\r\n" for line in lines), False)
    return places.turn(head)


@pytest.mark.parametrize(
    ("address", "goes_on"),
    [
        (b"/api/items?page=2", b"/items?page=2"), (b"/api", b"/"), (b"/api/", b"/"), (b"/api?x", b"/?x"), (b"/api#x", b"/#x"),
        (b"http://up.example/api/a", b"/a"), (b"HTTP://UP.example:80/api/a#b", b"/a#b"), (b"//up.example/api/a", b"/a"),
        (b"http://up.example/api?next=http://up.example/api/", b"/?next=http://up.example/api/"),
        # what is not below the prefix, not the upstream's, or not whole, cannot be led back
        (b"/login", b"/login"), (b"/apix", b"/apix"), (b"items?page=2", b"items?page=2"), (b"?page=2", b"?page=2"),
        (b"http://other.example/api/a", b"http://other.example/api/a"),
        (b"http://up.example:81/api/a", b"http://up.example:81/api/a"),
        (b"http://u@up.example/api/a", b"http://u@up.example/api/a"),
        (b"https://up.example/api/a", b"https://up.example/api/a"),
        (b"", b""), (b"http://", b"http://"), (b"\xff/api", b"\xff/api"),
    ],
)  # fmt: skip
def test_a_location_below_the_prefix_leads_back(address: bytes, goes_on: bytes) -> None:
    places = Places("http", NAMES, b"/api", turns_links=False)
    assert (
        turned(places, b"X: /api/x", b"Location:  %b " % address)
        == b"\r\nX: /api/x\r\nLocation:  %b \r\n" % goes_on
    )


def test_without_a_prefix_only_the_name_goes() -> None:
    places = Places("http", NAMES, b"", turns_links=False)
    assert turned(places, b"location: http://up.example?a") == b"\r\nlocation: /?a\r\n"
    assert turned(places, b"location: /a") == b"\r\nlocation: /a\r\n"


def test_what_stands_behind_tls_may_know_itself_by_http() -> None:
    """The other way round the upstream asks for TLS: turned, its answer would be the same for ever."""
    places = Places("https", NAMES, b"", turns_links=False)
    assert turned(places, b"Location: http://up.example/a") == b"\r\nLocation: /a\r\n"
    assert turned(places, b"Location: https://up.example/a") == b"\r\nLocation: /a\r\n"


def test_links_are_turned_where_they_shall_be() -> None:
    lines = [b'Link: <http://up.example/api/a?p=2>; rel="next", </api/b>; rel=last, <http://x/api/c>; rel=up']
    kept = Places("http", NAMES, b"/api", turns_links=False)
    assert turned(kept, *lines) == b"\r\n" + lines[0] + b"\r\n"
    places = Places("http", NAMES, b"/api", turns_links=True)
    assert (
        turned(places, *lines)
        == b'\r\nLink: </a?p=2>; rel="next", </b>; rel=last, <http://x/api/c>; rel=up\r\n'
    )
