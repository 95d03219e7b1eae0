"""Hypothesis strategies: messages that are valid by construction, in all the spellings RFC 9110 and 9112 allow."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import strategies as st

TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "REPORT"]
KNOWN_NAMES = {
    b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade", b"keep-alive",
    b"proxy-connection", b"te", b"trailer", b"http2-settings", b"proxy-authenticate", b"proxy-authorization",
    b"max-forwards", b"via",
}  # fmt: skip


@dataclass(frozen=True)
class Message:
    """One message and what it says. ``headers``: lower-case names and bare values, framing included, in order."""

    raw: bytes
    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


names = (
    st.text(TOKEN, min_size=1, max_size=20)
    .map(str.encode)
    .filter(lambda name: name.lower() not in KNOWN_NAMES)
)
printable = "".join(map(chr, range(0x21, 0x7F)))
words = st.text(printable, min_size=1, max_size=12).map(str.encode)
high = st.binary(min_size=1, max_size=6).map(lambda raw: bytes(byte | 0x80 for byte in raw))
inner = st.sampled_from([b" ", b"\t", b"  ", b" \t "])
values = st.one_of(
    st.just(b""),
    words,
    high,
    st.tuples(words, inner, words).map(b"".join),
    st.tuples(high, inner, words, inner, high).map(b"".join),
)
ows = st.sampled_from([b"", b" ", b"\t", b"  ", b" \t"])
fields = st.tuples(names, ows, values, ows)
targets = st.text(printable.replace("#", ""), max_size=40).map(lambda path: b"/" + path.encode())
extensions = st.sampled_from([b"", b";a", b";a=b", b';a="b c"', b";a=b;c=d"])


def spelled(name: bytes) -> st.SearchStrategy[bytes]:
    """A header name in lower, upper and title case."""
    return st.sampled_from([name, name.lower(), name.upper(), name.title()])


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A chunked body as (bytes on the wire, content); with extensions, odd sizes and trailers."""
    raw = b""
    body = b""
    for part in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"000%X"])) % len(part)
        raw += size + draw(extensions) + b"\r\n" + part + b"\r\n"
        body += part
    raw += draw(st.sampled_from([b"0", b"00", b"000"])) + draw(extensions) + b"\r\n"
    for name, _, value, _ in draw(st.lists(fields, max_size=2)):
        raw += name + b": " + value + b"\r\n"
    return raw + b"\r\n", body


def head_of(start: bytes, lines: list[tuple[bytes, bytes, bytes, bytes]]) -> bytes:
    """A head from its parts."""
    return start + b"\r\n" + b"".join(n + b":" + a + v + z + b"\r\n" for n, a, v, z in lines) + b"\r\n"


def said(lines: list[tuple[bytes, bytes, bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What header lines mean."""
    return [(name.lower(), value.strip(b" \t")) for name, _, value, _ in lines]


@st.composite
def requests(draw: st.DrawFn, upgrades: bool = True) -> Message:
    """A request with or without a body, that does not close its connection."""
    method = draw(st.sampled_from(METHODS)).encode()
    target = draw(targets)
    lines = draw(st.lists(fields, max_size=6))
    if lines and draw(st.booleans()):
        lines.append(lines[0])
    lines.insert(
        draw(st.integers(0, len(lines))), (draw(spelled(b"Host")), draw(ows), b"a.example:80", draw(ows))
    )
    body = wire = b""
    kind = draw(st.sampled_from(["none", "none", "length", "chunked"]))
    if kind == "length":
        body = wire = draw(st.binary(max_size=60))
        length = draw(st.sampled_from([b"%d", b"0%d", b"000%d"])) % len(body)
        framing = (draw(spelled(b"Content-Length")), draw(ows), length, draw(ows))
        lines.insert(draw(st.integers(0, len(lines))), framing)
    elif kind == "chunked":
        wire, body = draw(chunked_bodies())
        coding = draw(st.sampled_from([b"chunked", b"Chunked", b"CHUNKED"]))
        # llhttp refuses a tab behind "chunked", which RFC 9112 §5.1 allows and nobody sends: the safe side.
        blank = draw(st.sampled_from([b"", b" ", b"  "]))
        framing = (draw(spelled(b"Transfer-Encoding")), draw(ows), coding, blank)
        lines.insert(draw(st.integers(0, len(lines))), framing)
    if upgrades and draw(st.integers(0, 5)) == 0:
        lines.append((b"Connection", b" ", b"Upgrade, HTTP2-Settings", b""))
        lines.append((b"Upgrade", b" ", b"h2c", b""))
        lines.append((b"HTTP2-Settings", b" ", b"AAMAAABkAARAAAAAAAIAAAAA", b""))
    raw = head_of(method + b" " + target + b" HTTP/1.1", lines) + wire
    return Message(raw, method, target, said(lines), body)


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]
