"""An app that speaks with a WebSocket server: ``python app_websocket.py CLIENT URL`` prints what it heard, one JSON value a line.

It is run as a pod's program is, by itself and with the pod's variables: this file imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

TEXT = "Grüße"
BINARY = bytes(range(256)) * 4096
CLOSING = (4001, "enough")


def with_websockets(url: str) -> list[object]:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with connect(url) as socket:
        heard: list[object] = []
        socket.send(TEXT)
        heard.append(socket.recv())
        socket.send(BINARY)
        heard.append(socket.recv() == BINARY)
        heard.append(socket.ping(b"from the app").wait(60))
        socket.send("ping me")
        heard.append(socket.recv())
        socket.send("close")
        with contextlib.suppress(ConnectionClosed):
            heard.append(socket.recv())
        return [*heard, [socket.close_code, socket.close_reason]]


async def with_aiohttp(url: str, *, told: bool) -> list[object]:
    import aiohttp

    async with aiohttp.ClientSession(trust_env=told) as session, session.ws_connect(url) as socket:
        heard: list[object] = []
        await socket.send_str(TEXT)
        heard.append(await socket.receive_str())
        await socket.send_bytes(BINARY)
        heard.append(await socket.receive_bytes() == BINARY)
        await socket.ping(b"from the app")
        await socket.send_str("ping me")
        heard.append(await socket.receive_str())
        await socket.send_str("close")
        last = await socket.receive()
        heard.append([last.data, last.extra])
        return heard


def main(client: str, url: str) -> None:
    if client == "websockets":
        heard = with_websockets(url)
    else:
        heard = asyncio.run(with_aiohttp(url, told=client == "aiohttp-told"))
    for each in heard:
        print(json.dumps(each))


if __name__ == "__main__":
    main(*sys.argv[1:])
