"""A PostgreSQL of the run's own: made in a folder, filled with the lab's records, gone with the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from proxy.lab.children import Child, Children
from proxy.lab.pages import record_of
from tests.fakes.ports import free_port
from tests.parts import where

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
RECORDS = 60_000
RESERVED = 3
"""Connections that PostgreSQL keeps for its superuser, out of ``max_connections``."""
READY_TRIES, READY_PAUSE_S = 200, 0.1

TABLES = """
CREATE ROLE app LOGIN;
CREATE TABLE records (id int PRIMARY KEY, value text NOT NULL);
GRANT SELECT ON records TO app;
CREATE FUNCTION deep_page(first int, size int, disk int, sleep_s float)
RETURNS TABLE (id int, value text) LANGUAGE plpgsql AS $$
BEGIN
  -- One reader a disk: who comes second waits, and statement_timeout counts the wait.
  PERFORM pg_advisory_xact_lock(disk);
  PERFORM pg_sleep(sleep_s);
  RETURN QUERY SELECT r.id, r.value FROM records r ORDER BY r.id OFFSET first LIMIT size;
END $$;
"""


def start_postgres(children: Children, folder: Path, connections: int) -> str:
    """A server that takes so many connections of the app's; the URL for SQLAlchemy. Raises ChildError and CalledProcessError."""
    data, port = folder / "postgres", free_port()
    folder.chmod(0o755)  # the server is another user where the run is root's
    data.mkdir()
    if os.geteuid() == 0:
        shutil.chown(data, "postgres", "postgres")
    made = [
        str(PROGRAMS / "initdb"),
        "-D",
        str(data),
        "-A",
        "trust",
        "-U",
        "postgres",
        "--no-sync",
        "--locale=C",
    ]
    subprocess.run(_unprivileged([*made, "-E", "UTF8"]), check=True, capture_output=True, cwd=data)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_connections": connections + RESERVED,
        "superuser_reserved_connections": RESERVED,
        "fsync": "off",
        "autovacuum": "off",
        "jit": "off",
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    child = children.start("postgres", _unprivileged([str(PROGRAMS / "postgres"), "-D", str(data), *words]))
    _fill(port, child)
    return f"postgresql+psycopg://app@127.0.0.1:{port}/postgres"


def _fill(port: int, child: Child) -> None:
    server = ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
    for _ in range(READY_TRIES):  # it listens before it is ready
        child.check_running()
        if subprocess.run([str(PROGRAMS / "pg_isready"), "-q", *server]).returncode == 0:
            break
        time.sleep(READY_PAUSE_S)
    rows = "".join(f"{record['id']}\t{record['value']}\n" for record in map(record_of, range(RECORDS)))
    script = f"{TABLES}COPY records FROM STDIN;\n{rows}\\.\n"
    psql = [str(PROGRAMS / "psql"), "-q", "-X", "-v", "ON_ERROR_STOP=1", *server, "postgres"]
    subprocess.run(psql, input=script, text=True, check=True, capture_output=True)


def _unprivileged(words: list[str]) -> list[str]:
    """The command as somebody PostgreSQL runs for: it refuses root."""
    if os.geteuid():
        return words
    setpriv = [where("setpriv") or "setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return [*setpriv, "--pdeathsig=INT", *words]
