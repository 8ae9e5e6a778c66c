"""How a Redis is reached: its connections, and their limits.

Nothing but this, ``sockets``, ``cluster`` and ``remedies`` imports redis. redis-py's
defaults retry for up to a minute (its 8.1: ten tries of 5 s), which is why every limit
is set here:

- a call, whatever it waits for, ends after the ``limit`` that its caller gives;
- connecting has a limit of its own, CONNECT_LIMIT, and is done aside: a caller
  waits for it no longer than for an answer, and what comes later is used later;
- nothing is tried again, but for a slot of a Cluster that has moved.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from cachecore.errors import StoreError
from cachecore.redis_url import RedisUrl
from cachecore.stores.cluster import Clustered
from cachecore.stores.remedies import error_reply, store_error
from cachecore.stores.sockets import (
    CONNECT_LIMIT,
    MAX_CONNECTIONS,
    Aside,
    Command,
    Plain,
    Reply,
    Tls,
    Unix,
)

# A connection unused for longer is asked whether the other end is still there.
_FRESH: Final = 1.0


class Door(Protocol):
    """A Redis, however many servers it is. Raises StoreError, and nothing else."""

    blocks: bool  # whether a command may wait at the server for what is to come

    def run(self, commands: Sequence[Command], limit: float) -> list[Reply]:
        """The replies in order, within ``limit`` seconds."""

    def ask_each(self, command: Command, limit: float) -> list[tuple[str, Reply]]:
        """The reply of each server that holds data, with the server's name."""

    def close(self) -> None:
        """Drop the connections. The door may be used again; it reconnects."""


def open_door(url: RedisUrl, on_failure: Callable[[StoreError], None]) -> Door:
    """The way to the Redis that ``url`` names. Connects when first used.

    ``on_failure`` hears of a connection that failed when nobody waited for it.
    """
    limits: dict[str, Any] = {
        "socket_timeout": CONNECT_LIMIT,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,
        "username": url.username,
        "password": url.password,
        # The handshake shall need no command that the ACL line does not name.
        "driver_info": None,
    }
    if url.form != "unix":
        limits["socket_connect_timeout"] = CONNECT_LIMIT
    if url.tls:
        limits |= {
            "ssl_ca_certs": url.ca_certs,
            "ssl_certfile": url.certfile,
            "ssl_keyfile": url.keyfile,
        }
    if url.form == "cluster":
        return Clustered(url, limits, on_failure)
    return _Pooled(url, _maker(url, limits), on_failure)


def _maker(url: RedisUrl, limits: dict[str, Any]) -> Callable[[], Any]:
    """What makes a connection, not yet opened, to one server or to a master."""
    kind: Any
    if url.form == "unix":
        kind = Unix
        return lambda: kind(path=url.path, db=url.db, **limits)
    kind = Tls if url.tls else Plain
    if url.form == "single":
        host, port = url.hosts[0]
        return lambda: kind(host=host, port=port, db=url.db, **limits)
    own = {
        "ssl": url.tls,
        "username": url.sentinel_username,
        "password": url.sentinel_password,
    }
    sentinel = Sentinel(url.hosts, sentinel_kwargs={**limits, **own})

    def make() -> Any:
        host, port = sentinel.discover_master(url.service)
        return kind(host=host, port=port, db=url.db, **limits)

    return make


class _Pooled:
    """One server, or the master that Sentinel names."""

    blocks = True

    def __init__(
        self,
        url: RedisUrl,
        make: Callable[[], Any],
        on_failure: Callable[[StoreError], None],
    ) -> None:
        self._url = url
        self._make = make
        self._age = 0  # of the connections: those of an earlier one are not used
        self._idle: deque[tuple[Any, float, int]] = deque()
        self._aside = Aside(
            self._connect,
            lambda made: self._release(*made),
            lambda error: on_failure(store_error(error, url)),
        )

    def run(self, commands: Sequence[Command], limit: float) -> list[Reply]:
        # redis-py's own pipeline costs a hit as much again as the round trip;
        # these are the calls that it makes underneath.
        until = time.monotonic() + limit
        try:
            connection, age = self._take(until)
            whole = False
            try:
                connection.bound(until)
                connection.send_packed_command(connection.pack_commands(commands))
                replies = [self._reply(connection) for _ in commands]
                whole = True
            finally:
                if whole:
                    self._release(connection, age)
                else:
                    # A late reply on it would answer the next caller.
                    connection.disconnect()
        except StoreError:
            raise
        except Exception as error:  # whatever it is, it must not fail an answer
            if not isinstance(error, redis.exceptions.TimeoutError):
                # Those that lie idle led to the same place.
                self.close()
            raise store_error(error, self._url) from error
        return replies

    def ask_each(self, command: Command, limit: float) -> list[tuple[str, Reply]]:
        return [(self._url.shown, self.run([command], limit)[0])]

    def _reply(self, connection: Any) -> Reply:
        try:
            return connection.read_response()
        except ResponseError as error:
            if isinstance(error, ReadOnlyError):
                # No longer the master: who connects anew finds the new one.
                self.close()
            return error_reply(error, self._url)

    def _take(self, until: float) -> tuple[Any, int]:
        while True:
            try:
                connection, since, age = self._idle.pop()
            except IndexError:
                return self._aside.get(until)
            if age == self._age and (
                time.monotonic() - since < _FRESH or not connection.is_stale()
            ):
                return connection, age
            connection.disconnect()

    def _connect(self) -> tuple[Any, int]:
        age = self._age
        connection = self._make()
        connection.connect()
        return connection, age

    def _release(self, connection: Any, age: int) -> None:
        if age == self._age and len(self._idle) < MAX_CONNECTIONS:
            self._idle.append((connection, time.monotonic(), age))
        else:
            connection.disconnect()

    def close(self) -> None:
        self._age += 1
        while True:
            try:
                connection, _, _ = self._idle.pop()
            except IndexError:
                return
            connection.disconnect()
