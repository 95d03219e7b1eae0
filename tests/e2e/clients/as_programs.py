"""curl, Node and Java, each one process for all the calls of a session.

Node and Java read one line a call, ``METHOD PATH BODY-FILE plain|chunked|expect ANSWER-FILE`` with tabs
between, write the answer's body to the file, and print one line a call, ``STATUS TAB name: value TAB …``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.clients import SENT_HEADERS, Answer, Call
from tests.parts import require

HERE = Path(__file__).parent
_TIMEOUT_S = 90


def with_curl(base: str, calls: Sequence[Call], folder: Path) -> list[Answer]:
    command = [require("curl"), "--disable", "--no-progress-meter", "--show-error"]
    for number, call in enumerate(calls):
        command += ["--next"] if number else []
        command += _curl_words(base, call, folder, number)
    _run(command, "")
    return [_curl_answer(folder, number, call) for number, call in enumerate(calls)]


def _curl_words(base: str, call: Call, folder: Path, number: int) -> list[str]:
    words = ["--noproxy", "*", "--http1.1", "--dump-header", str(folder / f"head{number}")]
    words += ["--output", str(folder / f"answer{number}")]
    words += ["--head"] if call.method == "HEAD" else ["--request", call.method]
    for name, value in SENT_HEADERS.items():
        words += ["--header", f"{name}: {value}"]
    if call.body is not None:
        (folder / f"body{number}").write_bytes(call.body)
        words += ["--data-binary", f"@{folder}/body{number}"]
    if call.chunked:
        words += ["--header", "Transfer-Encoding: chunked"]
    words += ["--header", "Expect: 100-continue" if call.expect else "Expect:"]
    return [*words, base + call.path]


def _curl_answer(folder: Path, number: int, call: Call) -> Answer:
    # A 100 has a head of its own in the dump; the last head is the answer's.
    heads = (folder / f"head{number}").read_bytes().decode("latin-1").strip()
    head = heads.split("\r\n\r\n")[-1].split("\r\n")
    pairs = [line.partition(":") for line in head[1:]]
    body = b"" if call.method == "HEAD" else (folder / f"answer{number}").read_bytes()
    return Answer(int(head[0].split()[1]), [(n.lower(), v.strip()) for n, _, v in pairs], body)


def with_node_fetch(base: str, calls: Sequence[Call], folder: Path) -> list[Answer]:
    return _by_lines([require("node"), str(HERE / "client.mjs"), "fetch", base], calls, folder)


def with_node_http(base: str, calls: Sequence[Call], folder: Path) -> list[Answer]:
    return _by_lines([require("node"), str(HERE / "client.mjs"), "http", base], calls, folder)


def with_java(base: str, calls: Sequence[Call], folder: Path) -> list[Answer]:
    java = [require("java"), "-XX:TieredStopAtLevel=1", "-Xshare:auto", str(HERE / "Client.java")]
    return _by_lines([*java, base], calls, folder)


def _by_lines(command: list[str], calls: Sequence[Call], folder: Path) -> list[Answer]:
    lines = []
    for number, call in enumerate(calls):
        body_file = "-"
        if call.body is not None:
            body_file = str(folder / f"body{number}")
            Path(body_file).write_bytes(call.body)
        mode = "chunked" if call.chunked else "expect" if call.expect else "plain"
        lines.append("\t".join([call.method, call.path, body_file, mode, str(folder / f"answer{number}")]))
    printed = _run(command, "\n".join(lines) + "\n").splitlines()
    assert len(printed) == len(calls), printed
    return [_read_line(line, folder / f"answer{number}") for number, line in enumerate(printed)]


def _read_line(line: str, answer_file: Path) -> Answer:
    status, *headers = line.split("\t")
    pairs = [header.partition(": ") for header in headers]
    return Answer(int(status), [(name.lower(), value) for name, _, value in pairs], answer_file.read_bytes())


def _run(command: list[str], stdin: str) -> str:
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{command[:3]} left with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
