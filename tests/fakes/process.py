"""A sidecar as its own process, as a pod runs it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fakes.app import Answer, App
from tests.fakes.loop import soon

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def hearing_interrupts() -> Iterator[None]:
    """Children started in the block obey SIGINT. A shell's background job ignores it, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Process:
    """``async with Process(config) as sidecar``: started, its ready line read; ended at the latest on leaving."""

    def __init__(
        self,
        config: Path,
        *,
        stderr: int = asyncio.subprocess.PIPE,
        redirection: str = "",
        files: tuple[int, int] | None = None,
        cgroup: Path | None = None,
        **environment: str,
    ) -> None:
        """``redirection`` is a shell's, such as ``1>&-``: there is no ready line then. ``files``: its bounds on descriptors;
        ``cgroup``: where it is put before it begins."""
        self.config_path = config
        self._stderr = stderr
        self._redirection = redirection
        self._files = files
        self._cgroup = cgroup
        self._environment = environment
        self.apps: list[App] = []
        self.addresses: dict[str, str] = {}
        self._popen: asyncio.subprocess.Process

    async def __aenter__(self) -> Process:
        self._popen = await asyncio.create_subprocess_exec(
            "sh", "-c", f'exec "$0" "$@" {self._redirection}',
            sys.executable, "-m", "proxy", "run", "--config", str(self.config_path),
            stdout=asyncio.subprocess.PIPE, stderr=self._stderr, cwd=ROOT,
            env={**{k: v for k, v in os.environ.items() if not k.startswith("SIDEGATE_")}, **self._environment},
            preexec_fn=self._bound if self._files or self._cgroup else None,
        )  # fmt: skip
        if self._redirection:
            return self
        assert self._popen.stdout is not None
        line = await soon(self._popen.stdout.readline())
        self.addresses = json.loads(line)
        assert self.addresses.pop("event") == "ready"
        return self

    async def __aexit__(self, *_: object) -> None:
        for app in self.apps:
            app.close()
        if self._popen.returncode is None:
            self._popen.kill()
        await self._popen.communicate()

    def _bound(self) -> None:
        """In the child, before it begins."""
        if self._files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._files)
        if self._cgroup is not None:
            (self._cgroup / "cgroup.procs").write_text("0")

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._popen.returncode is not None

    def peak_bytes(self, cgroup: Path | None) -> int:
        """The most memory it held: by its cgroup's account, page cache and kernel included, or by its own."""
        if cgroup is not None:
            return int((cgroup / "memory.max_usage_in_bytes").read_text())
        status = Path(f"/proc/{self._popen.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._popen.send_signal(number)

    async def ends(self) -> int:
        """Wait for the end; return the exit code."""
        return int(await soon(self._popen.wait()))

    async def logged(self, words: str) -> str:
        """Wait for a log line that holds ``words``."""
        assert self._popen.stderr is not None
        while True:
            line = (await soon(self._popen.stderr.readline())).decode()
            assert line, f"the log ended without {words!r}"
            if words in line:
                return line

    async def whole_log(self) -> str:
        """Wait for the end; return what was logged and not read yet."""
        assert self._popen.stderr is not None
        return str((await soon(self._popen.stderr.read())).decode())

    async def app(self, name: str = "listen") -> App:
        """A new connection to one of its ports."""
        app = await App.connect(int(self.addresses[name].rpartition(":")[2]))
        self.apps.append(app)
        return app

    async def get(self, target: str = "/", name: str = "listen") -> Answer:
        """One call on a connection of its own."""
        app = await self.app(name)
        got = await app.get(target, "Connection: close")
        app.close()
        return got

    async def metric(self, name: str) -> float | None:
        """A sample without labels, or with those that ``name`` holds; None where there is none."""
        page = (await self.get("/metrics", "ops")).body.decode()
        return next(
            (float(line.rpartition(" ")[2]) for line in page.splitlines() if line.rpartition(" ")[0] == name),
            None,
        )

    async def config(self) -> Any:
        """The configuration in force, as the admin port shows it."""
        return await self.see("/config")

    async def see(self, target: str) -> Any:
        """What the admin port says, decoded."""
        return json.loads((await self.get(target, "admin")).body)
