"""The program's own log: one JSON object or one text line per event."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from proxy.observe.line_writer import LineWriter


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a record of aiohttp's server is more than a stranger's bad request: who fills a port must not fill the log."""
    error = record.exc_info[1] if record.exc_info else None
    return not (type(error).__module__.startswith("aiohttp.http") or isinstance(error, ConnectionError))


class _LineHandler(logging.Handler):
    """Hands each record to a LineWriter as text."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # a record whose arguments do not fit must not break what logs it
            self._writer.lost()
        else:
            self._writer.put(line)


def set_up_logging(writer: LineWriter, *, format: str, level: str) -> None:
    """Send the program's log to ``writer``; calling it again changes format and level."""
    handler = _LineHandler(writer)
    handler.setFormatter(
        _JsonFormatter()
        if format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").filters[:] = [_is_ours]
