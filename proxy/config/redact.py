"""The effective configuration as people may see it."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.config.redis_url import redact_redis_url
from proxy.config.settings import Settings


def redacted(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values with passwords blanked."""
    tree: dict[str, Any] = msgspec.to_builtins(settings)
    url = tree["fleet"]["redis_url"]
    if url:
        tree["fleet"]["redis_url"] = redact_redis_url(url)
    return tree
