"""A gRPC server that keeps what it received. Its messages are bytes: the generic interface needs no compiled protocol."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc


class GrpcHost:
    """Four methods of one service, in plain text or with TLS. A context manager.

    ``received`` holds method, metadata and message of each call.
    """

    def __init__(self, key_and_chain: tuple[bytes, bytes] | None = None) -> None:
        self.received: list[object] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        methods = {
            "Echo": grpc.unary_unary_rpc_method_handler(self._echo),
            "Count": grpc.unary_stream_rpc_method_handler(self._count),
            "EchoEach": grpc.stream_stream_rpc_method_handler(self._echo_each),
            "Refuse": grpc.unary_unary_rpc_method_handler(self._refuse),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Orders", methods),))
        if key_and_chain is None:
            self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        else:
            credentials = grpc.ssl_server_credentials([key_and_chain])
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait(10)

    def forget(self) -> None:
        self.received.clear()

    def _note(self, method: str, context: Any, message: bytes) -> None:
        metadata = sorted((each.key, each.value) for each in context.invocation_metadata())
        self.received.append((method, metadata, message))

    def _echo(self, message: bytes, context: Any) -> bytes:
        self._note("Echo", context, message)
        context.send_initial_metadata((("x-server", "first"),))
        context.set_trailing_metadata((("x-server", "last"), ("x-raw-bin", b"\x01\xfe")))
        return message

    def _count(self, message: bytes, context: Any) -> Iterator[bytes]:
        self._note("Count", context, message)
        for number in range(int(message)):
            yield b"%d" % number

    def _echo_each(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        for message in messages:
            self._note("EchoEach", context, message)
            yield message

    def _refuse(self, message: bytes, context: Any) -> bytes:
        self._note("Refuse", context, message)
        context.set_trailing_metadata((("x-why", "closed"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the shop is closed")
        raise AssertionError("abort raises")
