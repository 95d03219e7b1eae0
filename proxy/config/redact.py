"""Settings as people may see them."""

from __future__ import annotations

import re
import reprlib
from typing import Any

import msgspec

from proxy.config.redis_url import redact_redis_url
from proxy.config.settings import Settings

_SECRET = re.compile(r"(?i)redis_url|password|secret|token|\bkey$")
_LOGIN = re.compile(r"//[^\s'\"]*@")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


def redacted(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values with passwords blanked."""
    tree: dict[str, Any] = _without_logins(msgspec.to_builtins(settings))
    url = settings.fleet.redis_url
    if url:
        tree["fleet"]["redis_url"] = redact_redis_url(url)
    return tree


def shown(value: Any, path: str = "") -> str:
    """Return a value that is refused as an error may show it: short, without passwords; only its type where a secret belongs."""
    if _SECRET.search(path.rpartition(".")[2]):
        return f"a value of type {type(value).__name__}, not shown"
    return _LOGIN.sub("//REDACTED@", _SHORT.repr(value))


def _without_logins(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_logins(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_logins(value) for value in tree]
    return _LOGIN.sub("//REDACTED@", tree) if isinstance(tree, str) else tree
