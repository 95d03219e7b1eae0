"""A port is reached by every address that its setting means."""

from __future__ import annotations

import socket

import pytest

from proxy.base.descriptors import places
from proxy.base.listening import joined, listen_on
from tests.fakes.ports import free_port


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 on loopback")


def reached(port: int) -> set[str]:
    """Which loopback addresses take a connection at ``port``."""
    found = set()
    for host in ("127.0.0.1", "::1"):
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError:
            continue
        found.add(host)
    return found


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "on_both", "expect"),
    [
        ("127.0.0.1", False, {"127.0.0.1"}),
        ("0.0.0.0", False, {"127.0.0.1"}),
        ("::1", True, {"::1"}),
        ("::", False, {"127.0.0.1", "::1"}),
        ("0.0.0.0", True, {"127.0.0.1", "::1"}),
        ("127.0.0.1", True, {"127.0.0.1", "::1"}),
    ],
)
def test_a_port_is_reached_by_the_families_it_means(host: str, on_both: bool, expect: set[str]) -> None:
    sockets = listen_on(host, free_port("::1"), on_both=on_both)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert reached(sockets[0].getsockname()[1]) == expect
    finally:
        for sock in sockets:
            sock.close()


def test_a_machine_without_ipv6_serves_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def only_ipv4(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, kind)

    monkeypatch.setattr("proxy.base.listening.socket.socket", only_ipv4)
    (sock,) = listen_on("127.0.0.1", 0, on_both=True)
    sock.close()
    with pytest.raises(OSError, match="not supported"):
        listen_on("::", 0)


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open() -> None:
    (held,) = listen_on("127.0.0.1", 0)
    try:
        with pytest.raises(OSError, match="in use"):
            listen_on("127.0.0.1", held.getsockname()[1], on_both=True)
    finally:
        held.close()


def test_an_ipv6_host_is_shown_in_brackets() -> None:
    assert (joined("::1", 80), joined("127.0.0.1", 80)) == ("[::1]:80", "127.0.0.1:80")


@pytest.mark.parametrize("descriptors", [64, 128, 256, 1024, 1 << 20])
def test_no_side_may_take_all_descriptors(descriptors: int) -> None:
    given = places(descriptors, app=4096, upstream=64)
    assert given.app >= min(4096, descriptors // 4)
    assert given.ops + given.admin + given.app < descriptors


def test_a_machine_with_room_leaves_the_settings_as_they_are() -> None:
    assert places(1 << 20, app=4096, upstream=64).app == 4096
