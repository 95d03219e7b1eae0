"""What a row of the matrix is given: an origin, a real sidecar before it, and apps."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fakes.app import Answer, App
from tests.fakes.house import merged
from tests.fakes.origin import Origin
from tests.fakes.process import Process

PAGE = b"a page, 16 bytes"
LARGE = b"0123456789abcdef" * 16_384
"""A page of 256 KiB, more than the sidecar of the matrix verifies or replays."""

PLAIN: Mapping[str, Any] = {
    "listen": "127.0.0.1:0",
    "ops": "127.0.0.1:0",
    "admin": "127.0.0.1:0",
    "retry": {
        "attempts": 3,
        "backoff": {"base": "1ms", "max": "5ms"},
        "budget": {"floor_per_s": 1000},
        "when_json": {"status": ["error"]},
    },
    "timeouts": {"connect": "1s", "response_head": "1s", "body_idle": "1s", "total": "8s"},
    "downstream": {"head_timeout": "1s"},
    "body": {"verify_up_to": "64KiB", "replay_up_to": "64KiB"},
    "limits": {"concurrency": {"mode": "fixed", "limit": 8}},
    "outage": {"mode": "off"},
}
"""Timeouts that a test can wait for; neither a learned limit nor a closed gate of the row before."""

_SAMPLE = re.compile(
    r"^(sidegate_\w+|process_open_fds|process_resident_memory_bytes)(?:\{(.*)\})? (\S+)$", re.MULTILINE
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scene:
    """One sidecar's process and the port of its upstream, where each row opens an origin of its own."""

    def __init__(self, sidecar: Process, port: int) -> None:
        self.sidecar = sidecar
        self.port = port
        self.origin = Origin()

    async def app(self, *, receive_buffer: int = 0) -> App:
        """A new connection of the app."""
        port = int(self.sidecar.addresses["listen"].rpartition(":")[2])
        app = await App.connect(port, receive_buffer=receive_buffer)
        self.sidecar.apps.append(app)
        return app

    async def samples(self) -> Samples:
        """Every sample that the matrix looks at."""
        text = (await self.sidecar.get("/metrics", "ops")).body.decode()
        return {(m[1], frozenset(_LABEL.findall(m[2] or ""))): float(m[3]) for m in _SAMPLE.finditer(text)}


def configuration(folder: Path, url: str, over: Mapping[str, Any]) -> Path:
    """Write the configuration of a sidecar before ``url``: PLAIN with ``over`` laid upon it."""
    path = folder / "sidegate.yaml"
    path.write_text(json.dumps(merged({**PLAIN, "upstream": {"url": url}}, over)))
    return path


def seen(answer: Answer) -> str:
    """What an app saw, in words: status, whose answer it is, and what became of the page."""
    words = [str(answer.status)]
    if answer.reason is not None:
        words.append(answer.reason)
    elif answer.body in (PAGE, LARGE):
        words.append("page" if answer.is_whole else "page without an end")
    elif not answer.is_whole:
        words.append(f"cut after {len(answer.body)} bytes")
    elif answer.body:
        words.append(repr(answer.body[:40].decode("latin-1")))
    return " ".join(words)


def counted(before: Samples, after: Samples) -> str:
    """What the attempts and calls between two readings were counted as: ``2 reset, 1 ok; 200 ok``."""
    attempts: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for (name, labels), value in after.items():
        more = int(value - before.get((name, labels), 0.0))
        told = dict(labels)
        if more and name == "sidegate_attempts_total":
            attempts[told["reason"]] += more
        elif more and name == "sidegate_requests_total":
            calls[f"{told['code']} {told['reason']}"] += more
    return f"{_listed(attempts)}; {_listed(calls)}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none"


def left_over(before: Samples, after: Samples) -> dict[str, tuple[float, float]]:
    """What is still out after a row and should not be: name -> (is, should be)."""

    def of(samples: Samples, name: str, **labels: str) -> float:
        return samples.get((name, frozenset(labels.items())), 0.0)

    idle = of(after, "sidegate_connections", state="idle") - of(before, "sidegate_connections", state="idle")
    found = {
        "calls": (of(after, "sidegate_calls"), 0.0),
        "in flight": (of(after, "sidegate_inflight"), 0.0),
        "queue": (of(after, "sidegate_queue_length"), 0.0),
        "tunnels and busy connections": (of(after, "sidegate_connections", state="busy"), 0.0),
        "opening": (of(after, "sidegate_connections", state="opening"), 0.0),
        "apps' connections": (of(after, "sidegate_connections", state="downstream"), 0.0),
        "tasks": (of(after, "sidegate_tasks"), of(before, "sidegate_tasks")),
        "descriptors": (of(after, "process_open_fds"), of(before, "process_open_fds") + idle),
        "deadlines": (of(after, "sidegate_deadlines"), of(before, "sidegate_deadlines") + idle),
    }
    return {name: pair for name, pair in found.items() if pair[0] > pair[1]}
