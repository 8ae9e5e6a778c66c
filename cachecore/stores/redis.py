"""Entries in Redis or Valkey: standalone, TLS, UNIX socket, Sentinel, Cluster.

The only file that imports redis. A look-up is one pipeline and, off a cluster,
one round trip. Commands used: GET SET DEL HMGET HSETNX HSET, and on connecting
AUTH and SELECT where the URL asks for them. Values always get a time to live.

redis-py's defaults retry for up to a minute (its 8.1: ten tries of 5 s), which
is why every limit is set here.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from cachecore.errors import StoreError
from cachecore.redis_url import RedisUrl
from cachecore.stores.base import Found
from cachecore.stores.breaker import Breaker

MAX_CONNECTIONS: Final = 64
# How long a caller waits for one of them. All being busy is our own crowd, not a
# fault of Redis: it opens no breaker.
SLOT_TIMEOUT: Final = 0.5

_NO_REDIS: Final = (
    "What answers at the Redis URL (redis_url) does not speak as Redis does."
)

type Command = tuple[str | bytes | int, ...]
type Reply = Any


class _Door(Protocol):
    def run(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies in order; an error reply stands in its place."""

    def close(self) -> None:
        """Drop the connections."""


class _Pooled:
    """One server, or the master that Sentinel names."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        # redis-py's own pipeline costs a hit as much again as the round trip;
        # these are the calls that it makes underneath.
        connection = self._pool.get_connection()
        whole = False
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            replies = [_reply(connection) for _ in commands]
            whole = True
        finally:
            if not whole:
                # A late reply on this connection would answer the next caller.
                connection.disconnect()
            self._pool.release(connection)
        return replies

    def close(self) -> None:
        self._pool.disconnect()


def _reply(connection: Any) -> Reply:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


class _Clustered:
    """A Redis Cluster. An entry and its namespace's stamps live in two slots."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Reply] = pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, RedisError) and not isinstance(reply, ResponseError):
                raise reply
        return replies

    def close(self) -> None:
        self._client.close()


class RedisStore:
    """A store in the Redis that ``url`` names. Connects when first asked.

    ``timeout`` in seconds bounds connecting and each reply.
    """

    def __init__(self, url: RedisUrl, timeout: float = 0.05) -> None:
        self._url = url
        self._timeout = timeout
        self._breaker = Breaker(url.shown)
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()  # guards _door; never held around I/O
        self._door: _Door | None = None

    def look_up(self, key: str, hash_key: str, fields: Sequence[str]) -> Found:
        value, texts = self._run(("GET", key), ("HMGET", hash_key, *fields))
        if isinstance(value, ResponseError) and "WRONGTYPE" in str(value):
            # Another type under our key is not an entry; the caller deletes it.
            value = b""
        self._sound(value)
        if not isinstance(value, bytes | None):
            raise StoreError(_NO_REDIS)
        return Found(value, tuple(self._texts(texts, len(fields))))

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        self._one("SET", key, value, "PX", max(1, int(ttl * 1000)))

    def delete(self, key: str) -> None:
        self._one("DEL", key)

    def settle(self, hash_key: str, fields: Mapping[str, str]) -> dict[str, str]:
        *written, texts = self._run(
            *(("HSETNX", hash_key, field, text) for field, text in fields.items()),
            ("HMGET", hash_key, *fields),
        )
        for reply in written:
            self._sound(reply)
        standing = {}
        for field, text in zip(fields, self._texts(texts, len(fields)), strict=True):
            if text is None:
                # Evicted between the two commands: there is nothing to write under.
                msg = "Redis evicts the cache's stamps as soon as they are written."
                raise StoreError(msg)
            standing[field] = text
        return standing

    def replace(self, hash_key: str, fields: Mapping[str, str]) -> None:
        pairs = [part for pair in fields.items() for part in pair]
        self._one("HSET", hash_key, *pairs)

    def check(self, key: str, hash_key: str) -> None:
        replies = self._run(
            ("HMGET", hash_key, "switch"),
            ("HSETNX", key + ":check", "field", "1"),
            ("HSET", key + ":check", "field", "2"),
            ("DEL", key + ":check"),
            ("SET", key, b"check", "PX", 1000),
            ("GET", key),
            ("DEL", key),
        )
        for reply in replies:
            self._sound(reply)

    def _texts(self, reply: Reply, count: int) -> list[str | None]:
        """The texts of an HMGET; anything may answer at an address."""
        items = self._sound(reply)
        if not isinstance(items, list) or len(items) != count:
            raise StoreError(_NO_REDIS)
        if not all(isinstance(item, bytes | None) for item in items):
            raise StoreError(_NO_REDIS)
        return [
            None if item is None else item.decode("utf-8", "replace") for item in items
        ]

    def _one(self, *command: str | bytes | int) -> Reply:
        return self._sound(self._run(command)[0])

    def _run(self, *commands: Command) -> list[Reply]:
        if not self._slots.acquire(timeout=SLOT_TIMEOUT):
            msg = f"All {MAX_CONNECTIONS} connections to Redis are busy."
            raise StoreError(msg)
        try:
            # Only now: who waited for a slot must see a breaker that has opened.
            with self._breaker.call(), self._translated():
                return self._opened().run(commands)
        finally:
            self._slots.release()

    def _opened(self) -> _Door:
        door = self._door
        if door is None:
            door = _open(self._url, self._timeout)
            with self._lock:
                if self._door is None:
                    self._door = door
                    return door
                spare, door = door, self._door
            spare.close()  # Another caller was quicker.
        return door

    def close(self) -> None:
        """Drop the connections. The store may be used again; it reconnects."""
        door, self._door = self._door, None
        if door is not None:
            door.close()

    def _sound(self, reply: Reply) -> Reply:
        """The reply, or its error. Error replies are quick and open no breaker."""
        if isinstance(reply, RedisError):
            raise StoreError(_remedy(reply, self._url)) from reply
        return reply

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # whatever it is, it must not fail an answer
            raise StoreError(_remedy(error, self._url)) from error

    def __repr__(self) -> str:
        state = "open" if self._breaker.is_open else "closed"
        return f"<RedisStore {self._url.shown}, breaker {state}>"


def _open(url: RedisUrl, timeout: float) -> _Door:
    limits: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,
        "username": url.username,
        "password": url.password,
        # The handshake shall need no command that the ACL line does not name.
        "driver_info": None,
    }
    if url.tls:
        limits |= {
            "ssl_ca_certs": url.ca_certs,
            "ssl_certfile": url.certfile,
            "ssl_keyfile": url.keyfile,
        }
    match url.form:
        case "cluster":
            return _open_cluster(url, limits)
        case "sentinel":
            return _open_sentinel(url, limits)
        case _:
            return _open_server(url, limits)


def _open_server(url: RedisUrl, limits: dict[str, Any]) -> _Door:
    kind: Any
    place: dict[str, Any]
    if url.form == "unix":
        limits.pop("socket_connect_timeout")
        kind, place = redis.UnixDomainSocketConnection, {"path": url.path}
    else:
        host, port = url.hosts[0]
        kind = redis.SSLConnection if url.tls else redis.Connection
        place = {"host": host, "port": port}
    pool = redis.ConnectionPool(
        connection_class=kind,
        max_connections=MAX_CONNECTIONS,
        db=url.db,
        **place,
        **limits,
    )
    return _Pooled(pool)


def _open_sentinel(url: RedisUrl, limits: dict[str, Any]) -> _Door:
    own = {
        "ssl": url.tls,
        "username": url.sentinel_username,
        "password": url.sentinel_password,
    }
    sentinel = Sentinel(url.hosts, sentinel_kwargs={**limits, **own}, **limits)
    master = sentinel.master_for(
        url.service, db=url.db, ssl=url.tls, max_connections=MAX_CONNECTIONS
    )
    return _Pooled(master.connection_pool)


def _open_cluster(url: RedisUrl, limits: dict[str, Any]) -> _Door:
    client = RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in url.hosts],
        ssl=url.tls,
        max_connections=MAX_CONNECTIONS,
        # One more try: a slot that has moved is not an outage.
        **{**limits, "retry": Retry(NoBackoff(), 1)},
    )
    return _Clustered(client)


# What people read, by what redis-py raised; the first that fits.
_REMEDIES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (AuthenticationError, "refused the user name or password in the URL."),
    (
        NoPermissionError,
        "does not let this user run the cache's commands on its keys; allow them in "
        "the user's ACL.",
    ),
    (ReadOnlyError, "is a read-only replica; use its master."),
    (
        OutOfMemoryError,
        "is full; set its maxmemory-policy to allkeys-lru or give it more memory.",
    ),
    (AskError, "is a node of a Cluster; write redis+cluster:// in the URL."),
    (BusyLoadingError, "is still loading its data; try again shortly."),
    (
        redis.exceptions.TimeoutError,
        "did not answer in time; check the address and the network between it and the "
        "plugin daemon.",
    ),
    (MasterNotFoundError, "is no Sentinel that knows a master of that name."),
)


def _remedy(error: Exception, url: RedisUrl) -> str:
    """One sentence for an operator: what Redis said, and what to do."""
    # A cluster's client wraps what a node said.
    if isinstance(error, RedisClusterException) and error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    place, text = f"Redis at {url.shown}", str(error)
    for kind, sentence in _REMEDIES:
        if isinstance(error, kind):
            return f"{place} {sentence}"
    if "NOAUTH" in text or "WRONGPASS" in text:
        return f"{place} asks for a user name or password; put it in the URL."
    if "CERTIFICATE" in text.upper() or "SSL" in text.upper():
        return (
            f"{place} could not be reached over TLS; check rediss://, the host name and "
            "the certificate authority."
        )
    if isinstance(error, ResponseError):
        return f"{place} refused a command: {text.partition(' ')[0]}."
    return (
        f"{place} could not be reached; check the address, the port and the network "
        "between it and the plugin daemon."
    )
