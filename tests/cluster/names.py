"""Names of Services, answered with the addresses of their pods: a CoreDNS in small, for a node without kube-proxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Self

from dnslib import QTYPE, RCODE, RR, A, DNSRecord

DOMAIN = "cluster.local"


class ServiceNames:
    """Serves on UDP until the block ends. ``addresses_of`` a Service and its namespace; an empty list is no such name."""

    def __init__(self, host: str, addresses_of: Callable[[str, str], list[str]], port: int = 53) -> None:
        self._addresses_of = addresses_of
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self._socket.settimeout(0.2)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            try:
                data, sender = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            self._socket.sendto(self._answer(DNSRecord.parse(data)).pack(), sender)

    def _answer(self, question: DNSRecord) -> DNSRecord:
        reply = question.reply()
        labels = str(question.q.qname).rstrip(".").split(".")
        addresses: list[str] = []
        if labels[2:] == ["svc", *DOMAIN.split(".")]:
            addresses = self._addresses_of(labels[0], labels[1])
        if not addresses:
            reply.header.rcode = RCODE.NXDOMAIN
        elif QTYPE[question.q.qtype] == "A":
            for address in addresses:
                reply.add_answer(RR(question.q.qname, QTYPE.A, rdata=A(address), ttl=5))
        return reply
