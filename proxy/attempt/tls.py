"""TLS towards the upstream: verified by default, files read again when they change."""

from __future__ import annotations

import os
import ssl

from proxy.base.errors import ConnectError
from proxy.base.reasons import Reason


class TlsFiles:
    """Makes the client's SSL context, anew whenever one of its files has changed.

    Files are compared by inode, size and modification time at each new connection: a Secret's symlink swap changes the inode.
    Half-written files fail to load; the context in use then stays.
    """

    def __init__(
        self,
        *,
        ca_file: str | None = None,
        client_cert_file: str | None = None,
        client_key_file: str | None = None,
    ) -> None:
        self._ca_file = ca_file
        self._cert_file = client_cert_file
        self._key_file = client_key_file
        self._seen: tuple[object, ...] = ()
        self._context: ssl.SSLContext | None = None
        self.failures = 0
        self.last_error = ""

    def context(self) -> ssl.SSLContext:
        """Return a context with the files as they are now; ConnectError(tls_failed) when there never was a good one."""
        seen = self._stamp()
        if self._context is None or seen != self._seen:
            try:
                self._context = self._load()
                self._seen = seen
                self.last_error = ""
            except (OSError, ssl.SSLError) as error:
                self.failures += 1
                files = ", ".join(filter(None, (self._ca_file, self._cert_file, self._key_file)))
                self.last_error = f"TLS files {files} cannot be used: {error}"
                if self._context is None:
                    raise ConnectError(Reason.TLS_FAILED, self.last_error) from error
        return self._context

    def _stamp(self) -> tuple[object, ...]:
        stamps: list[object] = []
        for path in (self._ca_file, self._cert_file, self._key_file):
            try:
                status = os.stat(path) if path else None
            except OSError:
                status = None
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns) if status else None)
        return tuple(stamps)

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self._cert_file:
            context.load_cert_chain(self._cert_file, self._key_file)
        return context
