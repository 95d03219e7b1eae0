"""What `helm test` runs in a pod that asked for a sidecar: ``python -m proxy.inject.trial URL READY SHUTDOWN``.

It says whether a sidecar is there, serves, and reaches the upstream. Any answer of the upstream will do, for what it thinks of
the path is not in question; an answer that the sidecar made itself carries Sidegate-Reason and names what is wrong.
"""

from __future__ import annotations

import contextlib
import sys
import urllib.error
import urllib.request

from proxy.inject.hooks import DIRECT, ready


def attempt(url: str, ready_url: str, within_s: float = 30.0) -> str | None:
    """Return what is wrong, None when nothing is."""
    if not ready(ready_url, within_s):
        return (
            f"no sidecar answers at {ready_url}: was this pod injected? See its annotation sidegate.dev/status, "
            "the injector's log, and the API server's for the webhook"
        )
    try:
        with DIRECT.open(url, timeout=330.0) as answer:
            status, headers = answer.status, answer.headers
    except urllib.error.HTTPError as error:
        status, headers = error.code, error.headers
    except (urllib.error.URLError, OSError) as error:
        return f"the sidecar serves, but a call through it broke: {error}"
    reason = headers.get("Sidegate-Reason")
    if reason is not None:
        return f"the sidecar serves, but the upstream did not answer: {reason} (status {status})"
    tries = headers.get("Sidegate-Attempts", "?")
    sys.stdout.write(f"ok: the upstream answered {status} through the sidecar, attempt {tries}\n")
    return None


def main(arguments: list[str]) -> int:
    """Return 0 when the trial went well, 1 when not, 2 on wrong usage."""
    if len(arguments) != 3:
        sys.stderr.write("usage: python -m proxy.inject.trial URL READY_URL SHUTDOWN_URL\n")
        return 2
    wrong = attempt(arguments[0], arguments[1])
    # A plain container, before Kubernetes 1.29, has to be told that the pod is through; others refuse, which is fine.
    with contextlib.suppress(urllib.error.URLError, OSError):
        DIRECT.open(urllib.request.Request(arguments[2], method="POST"), timeout=5.0).close()
    if wrong is None:
        return 0
    sys.stderr.write(f"sidegate: {wrong}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
