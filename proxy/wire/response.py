"""An upstream's answer as the rest of the program sees it."""

from __future__ import annotations

from typing import Protocol

from proxy.wire.response_head import ResponseHead


class BodyReader(Protocol):
    """Where the rest of a body that streams comes from."""

    async def read(self) -> list[bytes]:
        """Return the next bytes, [] at the end; whether that end was the true one, ``is_complete`` says."""

    @property
    def is_complete(self) -> bool:
        """Whether the body arrived whole."""

    @property
    def trailers(self) -> list[bytes]:
        """Field lines behind the body, once it is complete."""

    def pause(self) -> None:
        """Stop reading from the upstream: the app is slower."""

    def resume(self) -> None:
        """Read on."""


class Response:
    """Head and body: all of it in ``chunks``, or its beginning when ``rest`` is set."""

    __slots__ = ("body_bytes", "chunks", "head", "rest", "trailers")

    def __init__(
        self, head: ResponseHead, chunks: list[bytes], body_bytes: int, rest: BodyReader | None
    ) -> None:
        self.head = head
        self.chunks = chunks
        self.body_bytes = body_bytes
        self.rest = rest
        self.trailers: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Response {self.head.status} {'streaming' if self.rest else 'whole'}>"
