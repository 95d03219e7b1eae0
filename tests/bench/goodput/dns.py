"""A name server of the bench's own: ``python -m tests.bench.goodput.dns ADDRESS…`` gives every name these addresses.

Each answer begins with another of them, as those of most name servers do.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tests.fakes.nameserver import NameServer


class TurningNameServer(NameServer):
    """One that turns its list with every question for it."""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        super().datagram_received(data, addr)
        if self.asked[-1][1] == "A":  # each look-up asks for AAAA as well
            self.answers.append(self.answers.pop(0))


async def serve(addresses: list[str]) -> None:
    """Answer until killed; prints the ready line with the port."""
    port = await TurningNameServer(*addresses).open()
    print(json.dumps({"event": "ready", "port": port}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
