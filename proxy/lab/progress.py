"""Progress on stderr: one redrawn bar on a terminal, a line now and then elsewhere."""

import time
from typing import TextIO

BAR_WIDTH = 30
LINE_EVERY_S = 2.0


def bar(share: float) -> str:
    """``share`` from 0 to 1 as a bar of fixed width."""
    filled = round(max(0.0, min(1.0, share)) * BAR_WIDTH)
    return "[" + "#" * filled + "." * (BAR_WIDTH - filled) + "]"


class Progress:
    """Shows one step at a time on ``stream``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._drawn_chars = 0
        self._last_line_s = 0.0

    def step(self, label: str, what: str) -> None:
        """Say what goes on while there is nothing to count."""
        self._show(f"{label:<22} {what}", due=True)

    def pages(self, label: str, *, done: int, total: int, errors: int, elapsed_s: float) -> None:
        """Say how many pages arrived; called as often as the caller likes."""
        text = f"{label:<22} {bar(done / total)} {done}/{total} pages  {errors} errors  {elapsed_s:.1f} s"
        self._show(text, due=time.monotonic() - self._last_line_s >= LINE_EVERY_S)

    def clear(self) -> None:
        """Remove the bar, so that what comes next starts on a clean line."""
        if self._drawn_chars:
            self._stream.write("\r" + " " * self._drawn_chars + "\r")
            self._stream.flush()
            self._drawn_chars = 0

    def _show(self, text: str, *, due: bool) -> None:
        if self._is_terminal:
            self._stream.write("\r" + text.ljust(self._drawn_chars))
            self._drawn_chars = max(self._drawn_chars, len(text))
        elif due:
            self._stream.write(text + "\n")
            self._last_line_s = time.monotonic()
        self._stream.flush()
