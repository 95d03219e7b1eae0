"""What responding needs of the app's connection."""

from __future__ import annotations

from typing import Protocol

from proxy.base.signal import Signal
from proxy.wire.request_parser import Request


class ClientStream(Protocol):
    """The app's connection, as far as answers are concerned."""

    signal: Signal
    is_write_paused: bool
    is_gone: bool

    def needs_close(self, request: Request) -> bool:
        """Whether the connection ends with this request's answer."""

    def write(self, data: bytes) -> None:
        """Send ``data``."""

    def writelines(self, parts: list[bytes]) -> None:
        """Send all parts."""

    async def until_writable(self, patience_s: float) -> bool:
        """Wait until the app has taken most of what was written; False where it takes nothing for ``patience_s``."""

    def break_off(self) -> None:
        """End the connection so that the app can tell the answer is not whole."""
