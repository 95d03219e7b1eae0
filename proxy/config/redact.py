"""The effective configuration as people may see it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from proxy.config.settings import Settings


def redacted(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values with passwords blanked."""
    tree: dict[str, Any] = msgspec.to_builtins(settings)
    url = tree["fleet"]["redis_url"]
    if url:
        parts = urlsplit(url)
        if parts.password:
            tree["fleet"]["redis_url"] = url.replace(f":{parts.password}@", ":REDACTED@")
    return tree
