"""A WebSocket server that keeps what it received."""

from __future__ import annotations

import contextlib
import ssl
import threading
from typing import Self

import websockets.sync.server
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from tests.e2e.clients.app_websocket import CLOSING


class WebSocketHost:
    """Sends back what comes, pings when it is told to, and closes with a code of its own. A context manager.

    ``received`` holds path, headers and messages of a connection, and at its end the code that the app closed with.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[object] = []
        self.has_ended = threading.Event()
        self._server = websockets.sync.server.serve(self._talk, "127.0.0.1", 0, ssl=tls)
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)

    def forget(self) -> None:
        self.received.clear()
        self.has_ended.clear()

    def _talk(self, socket: ServerConnection) -> None:
        request = socket.request
        assert request is not None
        headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
        # The key is drawn anew each time; Connection and Upgrade are made anew at each hop, and then come last.
        self.received += [request.path, sorted(each for each in headers if each[0] != "sec-websocket-key")]
        with contextlib.suppress(ConnectionClosed):
            for message in socket:
                self._answer(socket, message)
        self.received.append((socket.close_code, socket.close_reason))
        self.has_ended.set()

    def _answer(self, socket: ServerConnection, message: str | bytes) -> None:
        self.received.append(message)
        if message == "close":
            socket.close(*CLOSING)
        elif message == "ping me":
            socket.send(f"answered: {socket.ping(b'from the server').wait(60)}")
        else:
            socket.send(message)
