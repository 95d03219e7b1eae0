"""The URL of a proxy before the upstream."""

from __future__ import annotations

import base64

import pytest

from proxy.config.proxy_url import ProxyPlace, parse_proxy_url


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://proxy:3128", ProxyPlace("proxy", 3128)),
        ("HTTP://proxy.corp:3128/", ProxyPlace("proxy.corp", 3128)),
        ("http://[::1]:80", ProxyPlace("::1", 80)),
        ("http://u:p%40@proxy:1", ProxyPlace("proxy", 1, b"Basic " + base64.b64encode(b"u:p@"))),
        ("http://u@proxy:1", ProxyPlace("proxy", 1, b"Basic " + base64.b64encode(b"u"))),
    ],
)
def test_the_parts_of_a_url(url: str, place: ProxyPlace) -> None:
    assert parse_proxy_url(url) == place
    assert "Basic" not in repr(place)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy:3128",
        "http://proxy",
        "https://proxy:3128",
        "socks5://proxy:1",
        "http://a b:1",
        "http://p:1/path",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        parse_proxy_url(url)


@pytest.mark.parametrize("port", ["0", "65536"])
def test_a_port_that_there_is_not_is_refused_without_the_login(port: str) -> None:
    with pytest.raises(ValueError, match="between 1 and 65535") as refused:
        parse_proxy_url(f"http://u:hunter2@proxy:{port}")
    assert "hunter2" not in str(refused.value)
