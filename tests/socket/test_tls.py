"""TLS towards the upstream: verified by default, refused where it cannot be, its files read again when they change."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.fakes.house import House
from tests.fakes.loop import run
from tests.fakes.origin import Origin, answer


def server(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def bundle(authority: trustme.CA, path: Path) -> str:
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def house(origin: Origin, port: int, tls: dict[str, Any]) -> House:
    return House(origin, upstream={"url": f"https://127.0.0.1:{port}", "tls": tls}, retry={"attempts": 2})


async def one_call(context: ssl.SSLContext, tls: dict[str, Any]) -> tuple[Any, Origin]:
    origin = Origin(tls=context, then=answer(200, b"secret"))
    await origin.open()
    async with house(origin, origin.port, tls) as built:
        return await built.get(), origin


def test_an_upstream_that_proves_who_it_is_is_called(tmp_path: Path) -> None:
    authority = trustme.CA()
    got, origin = run(one_call(server(authority), {"ca_file": bundle(authority, tmp_path / "ca.pem")}))
    assert (got.status, got.body) == (200, b"secret")
    assert len(origin.asked) == 1


def test_an_unknown_authority_is_refused_by_default() -> None:
    got, origin = run(one_call(server(trustme.CA()), {}))
    assert (got.status, got.reason, got.attempts) == (502, "tls_failed", 2)
    assert origin.asked == []


def test_another_authority_than_the_given_one_is_refused(tmp_path: Path) -> None:
    got, origin = run(one_call(server(trustme.CA()), {"ca_file": bundle(trustme.CA(), tmp_path / "ca.pem")}))
    assert (got.status, got.reason) == (502, "tls_failed")
    assert origin.asked == []


def test_the_wrong_name_is_refused(tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = {"ca_file": bundle(authority, tmp_path / "ca.pem")}
    got, origin = run(one_call(server(authority, "other.example"), tls))
    assert (got.status, got.reason) == (502, "tls_failed")
    assert origin.asked == []


@pytest.mark.parametrize("name", ["other.example", "other.example."])
def test_the_server_name_may_be_said(tmp_path: Path, name: str) -> None:
    """And is what the server hears as SNI, without the dot that ends a full name."""
    authority = trustme.CA()
    heard: list[str | None] = []
    context = server(authority, "other.example")
    context.sni_callback = lambda _sock, name, _context: heard.append(name)
    tls = {"ca_file": bundle(authority, tmp_path / "ca.pem"), "server_name": name}
    got, _ = run(one_call(context, tls))
    assert (got.status, heard) == (200, ["other.example"])


def test_an_old_version_is_refused(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = server(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    got, _ = run(one_call(context, {"ca_file": bundle(authority, tmp_path / "ca.pem")}))
    assert (got.status, got.reason) == (502, "tls_failed")


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    authority, clients = trustme.CA(), trustme.CA()
    context = server(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    clients.configure_trust(context)
    mine = clients.issue_cert("pod@example.org")
    mine.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    mine.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    tls = {"ca_file": bundle(authority, tmp_path / "ca.pem")}
    shown = {
        **tls,
        "client_cert_file": str(tmp_path / "cert.pem"),
        "client_key_file": str(tmp_path / "key.pem"),
    }
    got, _ = run(one_call(context, shown))
    assert got.status == 200
    got, origin = run(one_call(context, tls))
    assert got.status == 502
    assert origin.asked == []


def test_changed_files_count_from_the_next_connection_on(tmp_path: Path) -> None:
    """As a Secret's update brings them, without a restart; half a file changes nothing."""

    async def trace() -> None:
        old, new = trustme.CA(), trustme.CA()
        path = tmp_path / "ca.pem"
        origin = Origin(tls=server(old), then=answer(200, b"x", ["Connection: close"]))
        await origin.open()
        async with house(origin, origin.port, {"ca_file": bundle(old, path)}) as built:
            assert (await built.get()).status == 200
            path.write_text("-----BEGIN CERTIFICATE-----\nhalf a fi")
            assert (await built.get()).status == 200
            assert "sidegate_tls_file_failures_total 1.0" in (await built.metrics()).splitlines()
            assert str(path) in built.sidecar._troubles[1].source.last_error
            replacement = tmp_path / "next.pem"
            bundle(new, replacement)
            replacement.replace(path)
            assert (await built.get()).reason == "tls_failed"
            bundle(old, replacement)
            replacement.replace(path)
            assert (await built.get()).status == 200

    run(trace())


def test_a_large_answer_over_tls_is_whole(tmp_path: Path) -> None:
    authority = trustme.CA()
    data = bytes(range(256)) * 20_000

    async def trace() -> None:
        origin = Origin(tls=server(authority), then=answer(200, data))
        await origin.open()
        async with house(origin, origin.port, {"ca_file": bundle(authority, tmp_path / "ca.pem")}) as built:
            app = await built.app()
            for _ in range(2):
                got = await app.get()
                assert (got.is_whole, got.body == data) == (True, True)
            assert len(origin.lines) == 1

    run(trace())
