"""What a response head says to a proxy: how its body ends, whether the connection lives on, and the bytes to forward.

The head is forwarded as it came, byte for byte, with the lines cut out that end here. A server says most of its lines over and
over, so what a line says is remembered. Only a head in an old form is written anew, where that form can mean one thing:
RFC 9112 §2.2 (bare LF), §4 (more than a blank in the status line), §5.1 (blanks before a colon, names that are no token),
§5.2 (folded lines). What could mean two things is an error.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, TypeVar

from proxy.wire.headers import HOP_BY_HOP, MAX_DIGITS, TOKEN, name_of, named_away, tokens


class BodyEnd(Enum):
    """How the end of a response's body is known (RFC 9112 §6.3)."""

    NONE = "no body"
    LENGTH = "Content-Length"
    CHUNKS = "last chunk"
    CLOSE = "connection close"


_TODAYS_START: Final = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9][0-9])(?: [^\x00\r\n]*)?")
_TODAYS_LINE: Final = re.compile(rb"(%b):[^\x00\r\n]*" % TOKEN)
"""RFC 9112 §4, §5. Control characters but NUL are let through, as every client does (RFC 9110 §5.5)."""
_START: Final = re.compile(rb"HTTP/1\.([0-9])[ \t]+([1-9][0-9][0-9])(?:[ \t]+([^\x00\r\n]*))?")
_ODD_NAME: Final = re.compile(rb"[^\x00-\x20\x7f]+")
"""What stands before a colon and is passed on although no token: every client reads it."""
_FRAMING_NAMES: Final = frozenset({b"content-length", b"transfer-encoding"})
_FRAMING: Final = frozenset({b"contentlength", b"transferencoding"})
"""A name that has these letters and is not the name itself: some readers take it for that."""
_NO_LETTER: Final = re.compile(rb"[^a-z]+")
_KEPT_FOR: Final = re.compile(rb"(?:^|[,; \t])timeout=\"?([0-9]{1,6})", re.IGNORECASE)
_STREAMS: Final = frozenset(
    {b"text/event-stream", b"application/x-ndjson", b"application/ndjson", b"application/jsonl",
     b"application/stream+json", b"application/json-seq", b"multipart/x-mixed-replace"}
)  # fmt: skip
"""Media types whose parts mean something before the end has come; gRPC is told by its beginning."""
_OURS: Final = b"sidegate-"
_UNBUFFERED: Final = re.compile(rb"[ \t]*no[ \t]*", re.IGNORECASE)

_TELLING: Final = HOP_BY_HOP | {
    b"content-length",
    b"content-type",
    b"date",
    b"link",
    b"location",
    b"retry-after",
    b"x-accel-buffering",
}
"""Names that say something to a proxy."""

_What = TypeVar("_What", bytes, int)
_known_lines: Final[dict[bytes, bytes]] = {}
"""Lines that were judged: the telling name of each, in lower case, or empty."""
_known_starts: Final[dict[bytes, int]] = {}
"""Status lines, and the status of each."""
_MOST_KNOWN: Final = 512
_LONGEST_KNOWN: Final = 256


def _judged(line: bytes) -> bytes | None:
    """Return the telling name of a line of today's form, empty for others; None where it is no such line."""
    match = _TODAYS_LINE.fullmatch(line)
    if match is None:
        return None
    name = match[1].lower()
    told = name if name in _TELLING else _OURS if name.startswith(_OURS) else b""
    _remember(_known_lines, line, told)
    return told


def _status_of(start: bytes) -> int:
    """Return the status that a status line of today's form names; 0 for any other."""
    match = _TODAYS_START.fullmatch(start)
    if match is None:
        return 0
    status = int(match[1])
    _remember(_known_starts, start, status)
    return status


def _remember(known: dict[bytes, _What], line: bytes, what: _What) -> None:
    if len(known) >= _MOST_KNOWN:
        known.clear()
    if len(line) <= _LONGEST_KNOWN:
        known[line] = what


def _is_streaming(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].rstrip(b" \t").lower()
    return kind in _STREAMS or kind.startswith(b"application/grpc")


class ResponseHead:
    """A response head, understood.

    ``start`` is the status line without its CRLF, ``lines`` a CRLF and the header lines to forward, each ended by one.
    ``error`` is a sentence where the framing cannot be trusted, else empty. ``kept_for_s`` is how long the upstream says that
    it keeps an idle connection, None where it does not. ``streams`` says that the body is for an app that reads along,
    ``names_places`` that there is a Location or a Link, ``is_dated`` that there is a Date.
    """

    __slots__ = (
        "body_end",
        "content_length",
        "error",
        "is_dated",
        "keep_alive",
        "kept_for_s",
        "lines",
        "names_places",
        "retry_after",
        "start",
        "status",
        "streams",
        "upgrade",
    )

    def __init__(self, raw: bytes, answers_head: bool) -> None:
        """Judge ``raw``: a head without its empty line, in whatever form it came."""
        self.status = 0
        self.error = ""
        self.start = b"HTTP/1.1 502"
        self.lines = b"\r\n"
        self.retry_after: bytes | None = None
        self.kept_for_s: float | None = None
        self.content_length: int | None = None
        self.keep_alive = False
        self.streams = False
        self.names_places = False
        self.is_dated = False
        self.upgrade = b""
        self.body_end = BodyEnd.NONE
        if not self._read(raw, answers_head, False):
            try:
                self._read(_in_todays_form(raw), answers_head, True)
            except ValueError as error:
                self.error = str(error)

    def _read(self, raw: bytes, answers_head: bool, is_rewritten: bool) -> bool:
        """Read a head in today's form; False where it is not in it. What was rewritten may have names that are no tokens."""
        parts = raw.split(b"\r\n")
        start = parts[0]
        status = _known_starts.get(start, 0) or _status_of(start)
        if not status or parts.pop():
            return False
        lines = raw[len(start) :]
        connection: list[bytes] = []
        lengths: list[bytes] = []
        codings: list[bytes] | None = None
        for line in parts[1:]:
            name = _known_lines.get(line)
            if name is None:
                name = _judged(line)
                if name is None and not is_rewritten:
                    return False
            if not name:
                continue
            value = line[len(name) + 1 :].lstrip(b" \t")
            if name == b"date":
                self.is_dated = True
            elif name == b"content-length":
                lengths.append(value)
            elif name == b"content-type":
                self.streams = self.streams or _is_streaming(value)
            elif name == b"retry-after":
                self.retry_after = value
            elif name == b"x-accel-buffering":
                self.streams = self.streams or _UNBUFFERED.fullmatch(value) is not None
            elif name in (b"location", b"link"):
                self.names_places = True
            else:
                # A whole line, its ends included, can only be found where it stands or where its equal does.
                lines = lines.replace(b"\r\n" + line + b"\r\n", b"\r\n", 1)
                if name == b"connection":
                    connection += tokens(value)
                elif name == b"transfer-encoding":
                    said = tokens(value)
                    if said != codings:  # some frameworks write the line twice and the chunks once
                        codings = (codings or []) + said
                elif name == b"upgrade":
                    self.upgrade = value
                elif name == b"keep-alive":
                    self.kept_for_s = _kept_for_s(value)
        if connection and connection != [b"keep-alive"]:
            lines = _without(lines, named_away(connection))
        self.status = status
        is_1_1 = start[7:8] != b"0"
        # RFC 9110 §2.5: an intermediary sends its own version
        self.start = start if start[5:8] == b"1.1" else b"HTTP/1.1" + start[8:]
        self.lines = lines
        self.keep_alive = b"close" not in connection and (is_1_1 or b"keep-alive" in connection)
        if lengths:
            self._read_lengths(lengths)
        self._find_body_end(is_1_1, codings, answers_head)
        return True

    def _read_lengths(self, lengths: list[bytes]) -> None:
        """RFC 9110 §8.6: equal lengths are one; others are unrecoverable."""
        if len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) <= MAX_DIGITS:
            self.content_length = int(lengths[0])
            return
        values = {value.strip(b" \t") for line in lengths for value in line.split(b",")}
        value = values.pop()
        if values or not value.isdigit() or len(value) > MAX_DIGITS:
            said = b", ".join(lengths)[:60].decode("latin-1")
            self.error = (
                f"the server's Content-Length is {said!r}: not one length, so where the body ends is unknown"
            )
            return
        self.content_length = int(value)
        if len(lengths) > 1 or lengths[0].strip(b" \t") != value:
            self.lines = _without(self.lines, {b"content-length"}) + b"Content-Length: %b\r\n" % value

    def _find_body_end(self, is_1_1: bool, codings: list[bytes] | None, answers_head: bool) -> None:
        status = self.status
        if status == 204 or status < 200:
            self.lines = _without(self.lines, {b"content-length"})  # RFC 9110 §8.6
        if answers_head or status in (204, 304) or status < 200:
            is_doubtful = codings is not None and self.content_length is not None  # RFC 9112 §6.3
            if is_doubtful or self.error:
                self.lines = _without(self.lines, {b"content-length"})  # RFC 9110 §8.6
            self.error = ""  # RFC 9112 §6.3, rule 1: whatever the length says
            return
        if codings == [] and self.content_length is not None:
            codings = None  # a line that names none
        if codings is not None:
            codings = [coding for coding in codings if coding != b"identity"] or codings
        if codings is not None and codings != [b"identity"]:
            if codings != [b"chunked"]:
                # Passing it on would lose the coding, which is hop-by-hop, and leave the app with bytes it cannot read.
                said = b", ".join(codings).decode("latin-1")
                self.error = f"the server's Transfer-Encoding is {said!r}: nobody asked for any but chunked"
            elif self.content_length is not None:
                self.error = "the server sends both Content-Length and Transfer-Encoding: which ends the body is unknown"
            if not is_1_1:
                self.keep_alive = (
                    False  # RFC 9112 §6.1: faulty framing; it is read, and the connection closed
                )
            self.body_end = BodyEnd.CHUNKS
        elif self.content_length is not None:
            self.body_end = BodyEnd.LENGTH
        else:
            self.keep_alive = False
            self.body_end = BodyEnd.CLOSE

    def field(self, name: bytes) -> bytes:
        """Return the first value of the header ``name`` (lower case), empty where there is none."""
        for line in self.lines.split(b"\r\n"):
            if name_of(line) == name:
                return line.partition(b":")[2].strip(b" \t")
        return b""

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.body_end.value}>"


def _without(lines: bytes, named: set[bytes]) -> bytes:
    return b"\r\n".join([line for line in lines.split(b"\r\n") if not line or name_of(line) not in named])


def _kept_for_s(value: bytes) -> float | None:
    match = _KEPT_FOR.search(value)
    return None if match is None else float(match[1])


def _in_todays_form(raw: bytes) -> bytes:
    """Return a head in an old form as one of today; ValueError says in a sentence what keeps it from being one."""
    first, *lines = [line[:-1] if line[-1:] == b"\r" else line for line in raw[:-1].split(b"\n")]
    start = _START.fullmatch(first)
    if start is None:
        raise ValueError(f"the server's answer begins with {first[:40]!r}: that is no HTTP/1 status line")
    head = [b"HTTP/1.%b %b %b" % (start[1], start[2], start[3] or b"")]
    for line in lines:
        if b"\r" in line or b"\0" in line:
            raise ValueError(f"the server's header line {line[:40]!r} holds a bare CR or a NUL")
        if line[:1] in (b" ", b"\t"):
            if len(head) == 1:
                raise ValueError("the server's first header line begins with a blank")
            head[-1] += b" " + line.strip(b" \t")
            continue
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t")
        if not colon or _ODD_NAME.fullmatch(name) is None:
            raise ValueError(f"the server's header line {line[:40]!r} has no valid name before a colon")
        if _NO_LETTER.sub(b"", name.lower()) in _FRAMING and name.lower() not in _FRAMING_NAMES:
            raise ValueError(f"the server's header line {line[:40]!r} may or may not say where the body ends")
        head.append(name + b":" + value)
    return b"\r\n".join([*head, b""])
