"""A name server on loopback that says what the test wants, and counts the questions."""

from __future__ import annotations

import asyncio
from typing import Any

from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSRecord


class NameServer(asyncio.DatagramProtocol):
    """``answers``: addresses to give; ``code`` other than NOERROR fails every question.

    ``deaf`` answers none, ``deaf_to`` none of one kind.
    """

    transport: asyncio.DatagramTransport

    def __init__(self, *answers: str, ttl_s: int = 60) -> None:
        self.answers = list(answers)
        self.ttl_s = ttl_s
        self.code = RCODE.NOERROR
        self.deaf = False
        self.deaf_to = ""
        self.asked: list[tuple[str, str]] = []

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; return the port."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        return int(self.transport.get_extra_info("sockname")[1])

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = DNSRecord.parse(data)
        kind = QTYPE[question.q.qtype]
        self.asked.append((str(question.q.qname), kind))
        if self.deaf or kind == self.deaf_to:
            return
        reply = question.reply()
        reply.header.rcode = self.code
        if self.code == RCODE.NOERROR:
            for address in self.answers:
                is_6 = ":" in address
                if kind == ("AAAA" if is_6 else "A"):
                    data_of = AAAA(address) if is_6 else A(address)
                    reply.add_answer(RR(question.q.qname, question.q.qtype, rdata=data_of, ttl=self.ttl_s))
        self.transport.sendto(reply.pack(), addr)

    def close(self) -> None:
        """Stop listening."""
        self.transport.close()
