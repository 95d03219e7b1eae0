"""An app that calls a gRPC server: ``python app_grpc.py HOST:PORT plain|tls`` prints what it got, one JSON value a line.

It is run as a pod's program is, by itself and with the pod's variables: this file imports nothing of ours. The generic
interface needs no compiled protocol: messages are bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import grpc

SENT = (("x-app", "kept"), ("x-raw-bin", b"\x00\xff"))
LARGE = bytes(range(256)) * 4096


def _text(pairs: object) -> list[list[str]]:
    """Metadata as text, less what the library makes of the connection's own state."""
    return [[key, str(value)] for key, value in pairs or ()]  # type: ignore[attr-defined]


def _requests() -> Iterator[bytes]:
    for number in range(5):
        yield b"message %d" % number


def main(target: str, kind: str) -> None:
    if kind == "tls":
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials())
    else:
        channel = grpc.insecure_channel(target)
    with channel:
        unary = channel.unary_unary("/shop.Orders/Echo")
        for message in (b"", b"hello", LARGE):
            answer, call = unary.with_call(message, metadata=SENT, timeout=60)
            print(
                json.dumps(
                    [answer == message, _text(call.initial_metadata()), _text(call.trailing_metadata())]
                )
            )
        counted = channel.unary_stream("/shop.Orders/Count")(b"100", metadata=SENT, timeout=60)
        print(json.dumps([part.decode() for part in counted]))
        both = channel.stream_stream("/shop.Orders/EchoEach")(_requests(), metadata=SENT, timeout=60)
        print(json.dumps([part.decode() for part in both]))
        try:
            channel.unary_unary("/shop.Orders/Refuse")(b"x", timeout=60)
        except grpc.RpcError as error:
            print(json.dumps([error.code().name, error.details(), _text(error.trailing_metadata())]))


if __name__ == "__main__":
    main(*sys.argv[1:])
