"""Scripts run on a Redis or Valkey: one server, the primary that sentinels name, or a cluster. ``redis`` is imported here only.

Whatever goes wrong comes out as one error, which says what it was and what to do. No text of it holds a password.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis import exceptions as wrong
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from proxy.config.redis_url import RedisPlace, Topology

ANSWER_S = 0.4
"""Longest wait for an answer: less than a turn, so that a server that hangs does not hold up the pod's own plan."""


class RedisError(Exception):
    """The board cannot be used. The text says why, and what to do."""


class NoPasswordError(wrong.ConnectionError):
    """A password's file cannot be read."""


class Credentials(CredentialProvider):
    """User and password. A file is read for each connection, so that a Secret may change."""

    def __init__(self, user: str | None, password: str | None, file: str | None) -> None:
        self._user = user
        self._password = password or ""
        self._file = file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what AUTH takes."""
        password = self._password
        if self._file is not None:
            try:
                password = Path(self._file).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                # Any other error would leave a connection without AUTH in the pool.
                raise NoPasswordError(str(error)) from error
        return (password,) if self._user is None else (self._user, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the same; the file is small and near."""
        return self.get_credentials()


class RedisClient:
    """Runs scripts; connects when it has to."""

    def __init__(
        self,
        place: RedisPlace,
        *,
        password_file: str | None = None,
        sentinel_password_file: str | None = None,
        ca_file: str | None = None,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._place = place
        self._answer_s = answer_s
        common: dict[str, Any] = {
            "socket_timeout": answer_s,
            "socket_connect_timeout": answer_s,
            "protocol": 2,
            "driver_info": None,
        }
        if place.is_tls:
            common |= {"ssl": True, "ssl_ca_certs": ca_file}
        own = dict(common)
        if place.password is not None or password_file is not None:
            own["credential_provider"] = Credentials(place.user, place.password, password_file)
        self._sentinel: Sentinel | None = None
        self._client: Any
        if place.topology is Topology.CLUSTER:
            nodes = [ClusterNode(host, port) for host, port in place.hosts]
            self._client = RedisCluster(
                startup_nodes=nodes, require_full_coverage=False, retry=Retry(NoBackoff(), 1), **own
            )
            return
        own["retry"] = Retry(NoBackoff(), 0)
        own["db"] = place.db
        if place.topology is Topology.SENTINEL:
            asks = {**common, "retry": own["retry"]}
            if sentinel_password_file is not None:
                asks["credential_provider"] = Credentials(None, None, sentinel_password_file)
            self._sentinel = Sentinel(place.hosts, sentinel_kwargs=asks, **own)  # type: ignore[no-untyped-call]
            self._client = self._sentinel.master_for(place.service)
        else:
            host, port = place.hosts[0]
            self._client = Redis(host=host, port=port, **own)

    async def run(self, script: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        """Return what a script does. RedisError where it could not be run, within ``answer_s``."""
        try:
            async with asyncio.timeout(self._answer_s):
                try:
                    return await self._client.evalsha(_sha(script), len(keys), *keys, *args)
                except wrong.NoScriptError:
                    return await self._client.eval(script, len(keys), *keys, *args)
        except Exception as error:  # a library's own fault may not stop the pod either
            if self._sentinel is not None:  # one that hangs is not asked first again
                self._sentinel.sentinels.append(self._sentinel.sentinels.pop(0))
            raise RedisError(self._reason(error)) from error

    def _reason(self, error: Exception) -> str:
        """Return what was wrong, and what to do."""
        text = " ".join(str(error).split()) or type(error).__name__
        for kinds, start, reason in _REASONS:
            if isinstance(error, kinds) and start in text:
                return reason.format(text=text, seconds=self._answer_s)
        return f"{type(error).__name__}: {text}"

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        if self._sentinel is not None:
            await asyncio.gather(*(each.aclose() for each in self._sentinel.sentinels))

    def __repr__(self) -> str:
        return f"<RedisClient {self._place}>"


_REASONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str, str], ...] = (
    (
        (wrong.AuthenticationError, wrong.AuthenticationWrongNumberOfArgsError),
        "",
        "the server refuses user or password ({text}); look at fleet.redis_url and fleet.redis_password_file",
    ),
    (
        wrong.NoPermissionError,
        "",
        "the user may not do this ({text}); it needs ~sidegate:* +evalsha +eval and the commands of the scripts (docs/fleet.md)",
    ),
    (NoPasswordError, "", "the password's file cannot be read ({text})"),
    # Before AUTH a server takes ten arguments at most, and ours are more.
    (wrong.ResponseError, "unauthenticated", "the server asks for a password; set fleet.redis_password_file"),
    (
        (wrong.ConnectionError, OSError),
        "CERTIFICATE_VERIFY_FAILED",
        "the server's certificate is not trusted ({text}); look at fleet.redis_ca_file and the host in fleet.redis_url",
    ),
    (
        wrong.ReadOnlyError,
        "",
        "the server is a read-only replica; name the primary in fleet.redis_url, or its sentinels",
    ),
    (wrong.ConnectionError, "now a slave", "the primary has become a replica; the sentinels are asked anew"),
    (wrong.OutOfMemoryError, "", "the server is full; raise its maxmemory: a fleet needs 2 KiB a pod"),
    (wrong.ResponseError, "OOM", "the server is full; raise its maxmemory: a fleet needs 2 KiB a pod"),
    (wrong.BusyLoadingError, "", "the server is loading its data; it answers when it has"),
    (
        wrong.ResponseError,
        "MISCONF",
        "the server cannot save and takes no writes; look at its log and its disk",
    ),
    (wrong.ResponseError, "NOREPLICAS", "the server has too few replicas and takes no writes"),
    (
        MasterNotFoundError,
        "",
        "the sentinels name no primary ({text}); look at the service's name in fleet.redis_url",
    ),
    (wrong.ClusterDownError, "", "the cluster is down ({text})"),
    (wrong.RedisClusterException, "", "no node of the cluster can be used ({text})"),
    (
        (TimeoutError, wrong.TimeoutError),
        "",
        "no answer within {seconds:g} s; is it there, and is the network open?",
    ),
    ((wrong.ConnectionError, OSError), "", "no connection ({text}); is it there, and is the network open?"),
)
"""A kind of error, what its text holds, and what to say: the first that fits."""


@cache
def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
