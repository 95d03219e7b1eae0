"""What a plain container runs at its start and its end: ``python -m proxy.inject.hooks ready URL | linger 5s``.

Kubernetes before 1.29 starts and stops all containers of a pod together. ``ready`` holds the next container back until the
sidecar serves; ``linger`` holds SIGTERM back, so that an app which stops slowly keeps its sidecar. Standard library and a little
of ours only: it runs at every start of a pod.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from threading import Event

from proxy.config.units import parse_duration

READY_S = 120.0
_EVERY_S = 0.1
_pause = Event().wait
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks the sidecar by its address, whatever HTTP_PROXY says."""


def ready(url: str, within_s: float = READY_S) -> bool:
    """Return whether ``url`` answered 200 within the time, asking ten times a second."""
    for _ in range(max(1, round(within_s / _EVERY_S))):
        try:
            with DIRECT.open(url, timeout=2.0) as answer:
                if answer.status == 200:
                    return True
        except (urllib.error.URLError, OSError):
            pass
        _pause(_EVERY_S)
    return False


def main(arguments: list[str]) -> int:
    """Return 0 when it went well, 1 when the sidecar does not serve, 2 on wrong usage."""
    match arguments:
        case ["ready", url]:
            return 0 if ready(url) else 1
        case ["linger", text]:
            _pause(parse_duration(text))
            return 0
    sys.stderr.write("usage: python -m proxy.inject.hooks ready URL | linger DURATION\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
