"""What the upstream and the sidecar are called: by a Host header, by an absolute target, by the fleet."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from proxy.config.settings import SCHEME_PORTS, Settings, split_address


def authority_of(settings: Settings) -> bytes:
    """Return the upstream's host and port as a Host header wants them: without a port that is the scheme's own."""
    url, port = urlsplit(settings.upstream.url), settings.upstream.port
    host = _host_of(url)
    return host if port == SCHEME_PORTS[url.scheme] else b"%b:%d" % (host, port)


def host_and_port_of(settings: Settings) -> bytes:
    """Return the upstream's host and port as CONNECT wants them: the port always."""
    return b"%b:%d" % (_host_of(urlsplit(settings.upstream.url)), settings.upstream.port)


def fleet_name(settings: Settings) -> str:
    """Return which pods belong together: what the owner says, or the upstream's scheme, host and port."""
    return (
        settings.fleet.name or f"{urlsplit(settings.upstream.url).scheme}://{authority_of(settings).decode()}"
    )


def authorities_of(settings: Settings) -> frozenset[bytes]:
    """Return what the upstream is called in the absolute targets of apps that take the sidecar for a proxy.

    With the dot that ends a full name or without it; where the port is the scheme's own with it, without one, and with 80: who is
    to speak plain HTTP to an https:// upstream writes http://.
    """
    url, port = urlsplit(settings.upstream.url), settings.upstream.port
    host = _host_of(url)
    names = {host} if b":" in host else {host, host + b"."}
    ports = {b":%d" % port}
    if port == SCHEME_PORTS[url.scheme]:
        ports |= {b"", b":80"}
    return frozenset(name + end for name in names for end in ports)


def _host_of(url: SplitResult) -> bytes:
    """Return a URL's host, an IPv6 address in its brackets.

    Without a dot at the end: it tells resolvers that the name is whole, and few servers know themselves by it.
    """
    host = (url.hostname or "").removesuffix(".")
    return (f"[{host}]" if ":" in host else host).encode()


def hosts_of(settings: Settings) -> frozenset[bytes]:
    """Return what the Host of a call may name, as ``bare_host`` has it; empty takes any.

    Beside those of the setting: the upstream, the sidecar itself, and nothing, which is the server's own name (RFC 9112 §3.3).
    """
    if not settings.downstream.hosts:
        return frozenset()
    own = split_address(settings.listen)[0]
    upstream = urlsplit(settings.upstream.url).hostname or ""
    always = (upstream, own, "localhost", "")
    return frozenset(bare_host(name.encode()) for name in (*settings.downstream.hosts, *always))


def elsewhere_of(settings: Settings) -> frozenset[tuple[str, int]] | None:
    """Return the other hosts and ports that calls may be for; None is any."""
    mode = settings.forward_mode
    if mode == "passthrough":
        return None
    return frozenset(split_address(address.lower()) for address in settings.forward_proxy.allow)


def bare_host(host: bytes) -> bytes:
    """Return a Host header's host in small letters, without port, brackets, and the dot that ends a full DNS name."""
    name, colon, port = host.rpartition(b":")
    if colon and (not port or port.isdigit()) and (b":" not in name or name[-1:] == b"]"):
        host = name
    return host.strip(b"[]").lower().removesuffix(b".")


def prefix_of(settings: Settings) -> bytes:
    """Return the path that goes before every target, without a slash at its end."""
    return urlsplit(settings.upstream.url).path.rstrip("/").encode()
