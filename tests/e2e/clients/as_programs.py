"""curl, Node and Java, each one process for all the calls of a session.

Node and Java get the headers to send as arguments and read one line a call, ``METHOD PATH BODY-FILE plain|chunked|expect
ANSWER-FILE`` with tabs between, write the answer's body to the file, and print one line a call, ``STATUS TAB name: value
TAB …``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.clients import SENT_HEADERS, Answer, Call
from tests.parts import require

HERE = Path(__file__).parent
_SENT = tuple(f"{name}: {value}" for name, value in SENT_HEADERS.items())
_TIMEOUT_S = 90


def with_curl(base: str, calls: Sequence[Call], folder: Path) -> list[Answer]:
    words = ["--noproxy", "*", "--http1.1"]
    for header in _SENT:
        words += ["--header", header]
    return by_curl(base, calls, folder, words, waits=False)


def by_curl(
    base: str,
    calls: Sequence[Call],
    folder: Path,
    words: Sequence[str],
    *,
    waits: bool,
    env: Mapping[str, str] | None = None,
) -> list[Answer]:
    """``waits``: curl asks for 100-continue when it sees fit, and not only when a call says so."""
    command = [require("curl"), "--disable", "--no-progress-meter", "--show-error"]
    for number, call in enumerate(calls):
        command += ["--next"] if number else []
        command += [*words, *_curl_words(base, call, folder, number)]
        if call.expect:
            command += ["--header", "Expect: 100-continue"]
        elif not waits:
            command += ["--header", "Expect:"]
    _run(command, "", env)
    return [_curl_answer(folder, number, call) for number, call in enumerate(calls)]


def _curl_words(base: str, call: Call, folder: Path, number: int) -> list[str]:
    words = ["--dump-header", str(folder / f"head{number}"), "--output", str(folder / f"answer{number}")]
    words += ["--head"] if call.method == "HEAD" else ["--request", call.method]
    if call.body is not None:
        (folder / f"body{number}").write_bytes(call.body)
        words += ["--data-binary", f"@{folder}/body{number}"]
    if call.chunked:
        words += ["--header", "Transfer-Encoding: chunked"]
    return [*words, base + call.path]


def _curl_answer(folder: Path, number: int, call: Call) -> Answer:
    # A 100 has a head of its own in the dump; the last head is the answer's.
    heads = (folder / f"head{number}").read_bytes().decode("latin-1").strip()
    head = heads.split("\r\n\r\n")[-1].split("\r\n")
    pairs = [line.partition(":") for line in head[1:]]
    answer_file = folder / f"answer{number}"  # not there where the body is empty
    body = answer_file.read_bytes() if call.method != "HEAD" and answer_file.exists() else b""
    return Answer(int(head[0].split()[1]), [(n.lower(), v.strip()) for n, _, v in pairs], body)


def with_node_fetch(base: str, calls: Sequence[Call], folder: Path) -> list[Answer]:
    return by_lines([require("node"), str(HERE / "client.mjs"), "fetch", base, *_SENT], calls, folder)


def with_node_http(base: str, calls: Sequence[Call], folder: Path) -> list[Answer]:
    return by_lines([require("node"), str(HERE / "client.mjs"), "http", base, *_SENT], calls, folder)


def with_java(base: str, calls: Sequence[Call], folder: Path) -> list[Answer]:
    return by_lines([*java(), str(HERE / "Client.java"), base, *_SENT], calls, folder)


def java() -> list[str]:
    """What starts a program of one source file."""
    return [require("java"), "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


def by_lines(
    command: list[str], calls: Sequence[Call], folder: Path, env: Mapping[str, str] | None = None
) -> list[Answer]:
    """Run a program that reads the lines above; ``env`` is its whole environment."""
    lines = []
    for number, call in enumerate(calls):
        body_file = "-"
        if call.body is not None:
            body_file = str(folder / f"body{number}")
            Path(body_file).write_bytes(call.body)
        mode = "chunked" if call.chunked else "expect" if call.expect else "plain"
        lines.append("\t".join([call.method, call.path, body_file, mode, str(folder / f"answer{number}")]))
    printed = _run(command, "\n".join(lines) + "\n", env).splitlines()
    assert len(printed) == len(calls), printed
    return [_read_line(line, folder / f"answer{number}") for number, line in enumerate(printed)]


def _read_line(line: str, answer_file: Path) -> Answer:
    status, *headers = line.split("\t")
    pairs = [header.partition(": ") for header in headers]
    return Answer(int(status), [(name.lower(), value) for name, _, value in pairs], answer_file.read_bytes())


def _run(command: list[str], stdin: str, env: Mapping[str, str] | None) -> str:
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=env
    )
    assert done.returncode == 0, f"{command[:3]} left with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
