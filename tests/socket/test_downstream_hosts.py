"""``downstream.hosts``: a call for another site that came here is refused, not answered with the upstream's pages."""

from __future__ import annotations

import pytest

from proxy.config.names import authorities_of, authority_of, bare_host, hosts_of
from tests.fakes.house import House, settings_for
from tests.fakes.loop import run
from tests.fakes.origin import Origin

ONLY = {"downstream": {"hosts": ["data.example.com"]}}


@pytest.mark.parametrize(
    ("host", "bare"),
    [
        (b"Data.Example.COM", b"data.example.com"),
        (b"data.example.com:80", b"data.example.com"),
        (b"data.example.com:", b"data.example.com"),
        (b"data.example.com.", b"data.example.com"),
        (b"192.0.2.7:8080", b"192.0.2.7"),
        (b"[2001:DB8::1]:80", b"2001:db8::1"),
        (b"[2001:db8::1]", b"2001:db8::1"),
        (b"::1", b"::1"),
        (b"", b""),
        (b":80", b""),
    ],
)
def test_a_hosts_name_is_what_is_left_without_port_and_capitals(host: bytes, bare: bytes) -> None:
    assert bare_host(host) == bare


def test_the_upstream_and_the_sidecar_itself_are_always_among_them() -> None:
    settings = settings_for("http://Data.example.com:8080/api", downstream={"hosts": ["A.example"]})
    wanted = {b"a.example", b"data.example.com", b"127.0.0.1", b"localhost", b""}
    assert hosts_of(settings) == wanted
    assert hosts_of(settings_for("http://data.example.com")) == frozenset()


@pytest.mark.parametrize(
    ("url", "host", "others"),
    [
        (
            "http://Data.example.com/api",
            "data.example.com",
            "data.example.com. data.example.com:80 data.example.com.:80",
        ),
        (
            "http://data.example.com.",
            "data.example.com",
            "data.example.com. data.example.com:80 data.example.com.:80",
        ),
        ("http://data.example.com.:8080", "data.example.com:8080", "data.example.com.:8080"),
        ("http://192.0.2.7:80", "192.0.2.7", "192.0.2.7. 192.0.2.7:80 192.0.2.7.:80"),
        ("http://[2001:DB8::80]:8080", "[2001:db8::80]:8080", ""),
        ("http://[2001:db8::80]", "[2001:db8::80]", "[2001:db8::80]:80"),
        (
            "https://a.example",
            "a.example",
            "a.example. a.example:443 a.example.:443 a.example:80 a.example.:80",
        ),
        ("https://a.example:80", "a.example:80", "a.example.:80"),
        ("http://a.example:443", "a.example:443", "a.example.:443"),
    ],
)
def test_an_absolute_target_may_name_the_upstream_with_its_dot_and_its_port(
    url: str, host: str, others: str
) -> None:
    """Some programs write the scheme's own port out; it used to be another site's."""
    settings = settings_for(url)
    assert authority_of(settings) == host.encode()
    assert authorities_of(settings) == {host.encode(), *others.encode().split()}


@pytest.mark.parametrize(
    "host",
    [
        "data.example.com",
        "DATA.example.com:80",
        "data.example.com.",
        "localhost:8880",
        "127.0.0.1",
        "[::1]:8880",
        "198.51.100.7:8080",
        "[2001:db8::7]",
        "",
    ],
)
def test_a_call_for_the_upstream_is_carried_by_whichever_of_its_names(host: str) -> None:
    """An address included: whoever calls one means whatever is there."""

    async def trace() -> None:
        async with House(Origin(), **ONLY) as house:
            app = await house.app()
            await app.send(f"GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert (await app.answer()).status == 200

    run(trace())


def test_a_call_of_http_1_0_that_names_nobody_is_carried() -> None:
    async def trace() -> None:
        async with House(Origin(), **ONLY) as house:
            app = await house.app()
            await app.send(b"GET /a HTTP/1.0\r\n\r\n")
            assert (await app.answer()).status == 200

    run(trace())


@pytest.mark.parametrize(
    "host", ["other.example.com", "example.com", "xdata.example.com", "data.example.com.evil"]
)
@pytest.mark.parametrize("start", ["GET /a", "HEAD /a", "OPTIONS *"])
def test_a_call_for_another_site_is_misdirected_and_the_next_one_carried(start: str, host: str) -> None:
    """It was answered with the upstream's page: wrong data, and nothing said so."""

    async def trace() -> None:
        async with House(Origin(), **ONLY) as house:
            app = await house.app()
            await app.send(f"{start} HTTP/1.1\r\nHost: {host}:80\r\n\r\n".encode())
            is_head = start.startswith("HEAD")
            got = await app.answer(to_head=is_head)
            assert (got.status, got.reason, got.header("connection")) == (421, "bad_request", None)
            if not is_head:
                upstream = f"127.0.0.1:{house.origin.port}"
                said = f"the call is for {host}:80, and this sidecar carries calls to {upstream} only"
                assert got.problem()["detail"] == said
            await app.send(b"GET /b HTTP/1.1\r\nHost: data.example.com\r\n\r\n")
            assert (await app.answer()).status == 200
            assert house.origin.targets == ["/b"]
            counted = 'sidegate_requests_total{code="421"'
            lines = [line for line in (await house.metrics()).splitlines() if line.startswith(counted)]
            assert len(lines) == 1
            assert 'reason="bad_request"' in lines[0]

    run(trace())


def test_the_same_headers_are_judged_anew_with_each_target() -> None:
    """What a head means is kept from call to call; an absolute target's authority beats the Host header, a path's does not."""

    async def trace() -> None:
        async with House(Origin(), **ONLY, forward_proxy={"mode": "upstream_only"}) as house:
            app = await house.app()
            absolute = f"http://127.0.0.1:{house.origin.port}/a"
            for target, status in ((absolute, 200), ("/b", 421), (absolute, 200), ("/c", 421)):
                await app.send(f"GET {target} HTTP/1.1\r\nHost: other.example\r\n\r\n".encode())
                assert (await app.answer()).status == status
            await app.send(b"GET http://other.example/ HTTP/1.1\r\nHost: data.example.com\r\n\r\n")
            got = await app.answer()
            assert (got.status, got.problem()["detail"].partition(",")[0]) == (
                421,
                "the call is for other.example",
            )
            assert house.origin.targets == ["/a", "/a"]

    run(trace())


def test_a_refused_call_with_a_body_leaves_its_connection_clean() -> None:
    async def trace() -> None:
        async with House(Origin(), **ONLY) as house:
            app = await house.app()
            await app.send(b"POST /a HTTP/1.1\r\nHost: other.example\r\nContent-Length: 5\r\n\r\nhello")
            got = await app.answer()
            assert (got.status, got.header("connection")) == (421, None)
            await app.send(b"GET /b HTTP/1.1\r\nHost: data.example.com\r\n\r\n")
            assert (await app.answer()).status == 200
            assert house.origin.targets == ["/b"]

    run(trace())


def test_without_the_setting_any_host_will_do() -> None:
    async def trace() -> None:
        async with House(Origin()) as house:
            app = await house.app()
            await app.send(b"GET /a HTTP/1.1\r\nHost: other.example\r\n\r\n")
            assert (await app.answer()).status == 200

    run(trace())


@pytest.mark.parametrize("host", ["data.example.com:80", "http://data.example.com", "[2001:db8::1]", "", "*"])
def test_what_is_no_host_name_is_refused_at_the_start(host: str) -> None:
    with pytest.raises(Exception, match=r"downstream\.hosts\[0\]: expected a host name without port"):
        settings_for("http://data.example.com", downstream={"hosts": [host]})
