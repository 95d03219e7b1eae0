"""Sidegate as it is, but with its questions of DNS going to the bench's own name server, for a name with four addresses.

Run: ``python -m tests.bench.goodput.named DNS_PORT run --upstream http://fragile.test:PORT …``. c-ares takes its name
server from /etc/resolv.conf alone, which is the machine's and stays as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import aiodns

from proxy.cli import main


def ask(port: int) -> None:
    """From now on every aiodns resolver of this process asks 127.0.0.1 at ``port``."""
    made = aiodns.DNSResolver

    def resolver(nameservers: Sequence[str] | None = None, **options: Any) -> aiodns.DNSResolver:
        del nameservers
        return made(["127.0.0.1"], **{**options, "udp_port": port, "tcp_port": port})

    aiodns.DNSResolver = resolver  # type: ignore[assignment,misc]


if __name__ == "__main__":
    ask(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
