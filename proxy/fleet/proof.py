"""Proof that both ends know the fleet's key, without sending it: an HMAC over what is asked, and one over what is answered.

asks      Sidegate-Fleet: UNIX-SECONDS NONCE HMAC(key, "ask" UNIX-SECONDS NONCE)      good for a minute either way
answers   Sidegate-Fleet: HMAC(key, "answer" NONCE BODY)                               the nonce ties it to its question
"""

from __future__ import annotations

import hashlib
import hmac

HEADER = "Sidegate-Fleet"
_GOOD_FOR_S = 60.0


def ask(key: bytes, unix: float, nonce: str) -> str:
    """Return the header of a question."""
    when = f"{unix:.0f}"
    return f"{when} {nonce} {_sign(key, f'ask {when} {nonce}'.encode())}"


def nonce_of(key: bytes, header: str | None, unix: float) -> str | None:
    """Return the nonce of a question that proves the key; None where it does not."""
    parts = (header or "").split()
    if len(parts) != 3 or not (header or "").isascii() or not parts[0].isdigit():
        return None
    if abs(int(parts[0][:12]) - unix) > _GOOD_FOR_S:
        return None
    when, nonce, proof = parts
    return nonce if hmac.compare_digest(proof, _sign(key, f"ask {when} {nonce}".encode())) else None


def answer(key: bytes, nonce: str, body: bytes) -> str:
    """Return the header of an answer."""
    return _sign(key, b"answer " + nonce.encode() + b" " + body)


def is_answer(key: bytes, nonce: str, body: bytes, header: str | None) -> bool:
    """Whether an answer proves the key."""
    return hmac.compare_digest((header or "").encode(errors="replace"), answer(key, nonce, body).encode())


def _sign(key: bytes, message: bytes) -> str:
    return hmac.new(key, message, hashlib.sha256).hexdigest()
