"""A call's target as the log and the operator's pages may show it: printable, short, without secrets.

Blanked are the user and password of an authority, and the values of parameters whose names say that they are secret. Names
are compared once decoded, for ``%6bey`` is ``key``. A value that is a URL itself is looked into in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

BLANK = "REDACTED"
_MAX_TARGET = 512
_CUT_MARK = "…"

_WORDS = frozenset(
    {
        "auth", "authentication", "authorization", "bearer", "codeverifier", "cookie", "cookies", "cred", "creds", "credential",
        "credentials", "csrf", "hmac", "jsessionid", "jwt", "key", "keys", "nonce", "otp", "pass", "passcode", "passphrase",
        "passwd", "password", "passwords", "phpsessid", "pin", "pw", "pwd", "saml", "secret", "secrets", "session", "sessionid",
        "sid", "sig", "sign", "signature", "sso", "ticket", "token", "tokens", "xsrf",
    }
)  # fmt: skip
"""Words of a name, each of which makes its value a secret: access_key, x-api-key, idToken."""

_PARTS = (
    "accesskey", "apikey", "assertion", "authkey", "credential", "jwt", "oauth", "passw", "passphrase", "privatekey", "secret",
    "sessionid", "sharedkey", "signature", "subscriptionkey", "token",
)  # fmt: skip
"""What makes a value a secret wherever it stands in a name that is written as one word."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_BEFORE_QUERY = re.compile(rb"[^?#]*")
_USER = re.compile(r"//[^/?#\s]*@")
_NAMED = re.compile(r"(?:^|[?&;#])([^=?&;#]*)=")
_MATRIX = re.compile(r";([^=;/]*)=([^;/]*)")
_LOGIN = re.compile(r"[^\s/@'\"]*:[^\s'\"]*@")


def printable(text: str) -> str:
    """Return ``text`` on one line: what the other side says may hold line breaks of its own."""
    return text.encode("unicode_escape").decode("ascii")


def without_logins(text: str) -> str:
    """Return a sentence with ``user:password@`` blanked, before a host named in it or in a URL."""
    return _LOGIN.sub(f"{BLANK}@", text) if "@" in text else text


class Targets:
    """Shows targets. ``with_values`` off blanks every value of a query; ``secret_names`` are more names to blank."""

    def __init__(self, *, with_values: bool = True, secret_names: Iterable[str] = ()) -> None:
        self._with_values = with_values
        self._secret_names = frozenset(name.casefold() for name in secret_names)

    def shown(self, target: bytes) -> str:
        """Return a target fit for a log: printable, at most 512 characters, secrets blanked."""
        found = _BEFORE_QUERY.match(target)
        end = found.end() if found is not None else 0
        path, rest = target[:end].decode("latin-1"), target[end:].decode("latin-1")
        text = printable(self._path(path))
        if rest and len(text) <= _MAX_TARGET:
            text += rest[0] + self._query(rest[1:], _MAX_TARGET - len(text))
        return text if len(text) <= _MAX_TARGET else text[:_MAX_TARGET] + _CUT_MARK

    def _path(self, path: str) -> str:
        if not path.startswith("/") and "@" in path.partition("://")[0]:  # CONNECT's form: user@host:port
            path = f"{BLANK}@{path.rpartition('@')[2]}"
        path = _USER.sub(f"//{BLANK}@", path)
        return _MATRIX.sub(lambda pair: f";{pair[1]}={self._value(pair[1], pair[2])}", path)

    def _query(self, query: str, room: int) -> str:
        """Return the pairs of a query as far as there is room for them."""
        parts: list[str] = []
        for piece in re.split(r"([&;#?])", query):
            if room < 0:
                break
            name, equals, value = piece.partition("=")
            if equals:
                piece = f"{printable(name)}={self._query_value(name, value)}"
            elif piece not in ("&", ";", "#", "?", ""):
                piece = self._query_value("", piece)
            room -= len(piece)
            parts.append(piece)
        return "".join(parts)

    def _query_value(self, name: str, value: str) -> str:
        return printable(self._value(name, value)) if self._with_values else BLANK

    def _value(self, name: str, value: str) -> str:
        if self.is_secret(unquote_plus(name)):
            return BLANK
        may_hold = any(character in value for character in "%=@")
        return BLANK if may_hold and self._holds_secret(value) else value

    def _holds_secret(self, value: str) -> bool:
        decoded = unquote_plus(value)
        return _USER.search(decoded) is not None or any(
            self.is_secret(pair[1]) for pair in _NAMED.finditer(decoded)
        )

    def is_secret(self, name: str) -> bool:
        """Whether a decoded name says that its value is a secret."""
        folded = name.casefold()
        if folded in self._secret_names:
            return True
        words = [word.casefold() for word in _WORD.findall(name)]
        joined = "".join(words)
        return not _WORDS.isdisjoint(words) or joined in _WORDS or any(part in joined for part in _PARTS)
