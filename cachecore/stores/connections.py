"""How a Redis is reached: its connections, and their limits.

With ``remedies`` the only file that imports redis. redis-py's defaults retry for
up to a minute (its 8.1: ten tries of 5 s), which is why every limit is set here:

- a call, whatever it waits for, ends after the ``limit`` that its caller gives;
- connecting has a limit of its own, CONNECT_LIMIT, and is done aside: a caller
  waits for it no longer than for an answer, and what comes later is used later;
- nothing is tried again, but for a slot of a Cluster that has moved.
"""

import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Protocol

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from cachecore.errors import StillConnecting, StoreError
from cachecore.redis_url import RedisUrl
from cachecore.stores.remedies import error_reply, store_error

MAX_CONNECTIONS: Final = 64
CONNECT_LIMIT: Final = 2.0
# A connection unused for longer is asked whether the other end is still there.
_FRESH: Final = 1.0

type Command = tuple[str | bytes | int, ...]
type Reply = Any


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
        return _Clustered(url, limits, on_failure)
    return _Pooled(url, _maker(url, limits), on_failure)


class _Aside[T]:
    """Makes something off the answer's path.

    Who needs one waits until ``until`` and no longer; what is ready later is
    handed to ``keep``. While one is that late, nobody waits for another.
    """

    def __init__(
        self,
        make: Callable[[], T],
        keep: Callable[[T], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._make, self._keep, self._fail = make, keep, fail
        self._lock = threading.Lock()  # guards _late and who takes what was made
        self._late = 0

    def get(self, until: float) -> T:
        if self._late:
            raise StillConnecting
        made: Future[T] = Future()
        left: list[bool] = []
        threading.Thread(target=self._run, args=(made, left), daemon=True).start()
        try:
            return made.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            with self._lock:
                if not made.done():
                    left.append(True)
                    self._late += 1
                    raise StillConnecting from None
            return made.result()

    def _run(self, made: "Future[T]", left: list[bool]) -> None:
        thing: T | None = None
        failure: Exception | None = None
        try:
            thing = self._make()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told below
            failure = error
        with self._lock:
            if left:
                self._late -= 1
            elif failure is not None:
                made.set_exception(failure)
            else:
                made.set_result(thing)  # type: ignore[arg-type]
        if not left:
            return
        if failure is not None:
            self._fail(failure)
        else:
            self._keep(thing)  # type: ignore[arg-type]


class _Bounded:
    """A socket whose calls end together, at ``until``: its own limit is for each."""

    __slots__ = ("_sock", "until")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.until = time.monotonic() + CONNECT_LIMIT

    def recv(self, size: int) -> bytes:
        left = self.until - time.monotonic()
        if left > 0:
            self._sock.settimeout(left)
            with suppress(TimeoutError):
                return self._sock.recv(size)  # type: ignore[no-any-return]
        # What has arrived by now counts: a process too busy to look in time is no
        # fault of Redis. What never ends is not waited for, though.
        if left > -CONNECT_LIMIT:
            self._sock.settimeout(0)
            with suppress(BlockingIOError, ssl.SSLWantReadError):
                return self._sock.recv(size)  # type: ignore[no-any-return]
        raise TimeoutError

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(max(0.001, self.until - time.monotonic()))
        self._sock.sendall(data)

    def is_stale(self) -> bool:
        """Whether the other end has left, or sent what nobody asked for."""
        self._sock.settimeout(0)
        try:
            self._sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            pass
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _BoundedMixin:
    """A connection of redis-py over such a socket."""

    _sock: Any

    def _connect(self) -> _Bounded:
        return _Bounded(super()._connect())  # type: ignore[misc]

    def bound(self, until: float) -> None:
        """End everything asked of it from now on at ``until``."""
        self._sock.until = until

    def is_stale(self) -> bool:
        """Whether it can't be used any more."""
        return bool(self._sock.is_stale())


class _Plain(_BoundedMixin, redis.Connection): ...


class _Tls(_BoundedMixin, redis.SSLConnection): ...


class _Unix(_BoundedMixin, redis.UnixDomainSocketConnection): ...


def _maker(url: RedisUrl, limits: dict[str, Any]) -> Callable[[], Any]:
    """What makes a connection, not yet opened, to one server or to a master."""
    kind: Any
    if url.form == "unix":
        kind = _Unix
        return lambda: kind(path=url.path, db=url.db, **limits)
    kind = _Tls if url.tls else _Plain
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
        self._aside = _Aside(
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


class _Clustered:
    """A Redis Cluster. An entry and its namespace's stamps live in two slots.

    Its client asks several nodes in turn where a slot has gone, each within a
    limit of its own; so it works aside, and the caller waits for its own limit.
    """

    blocks = False

    def __init__(
        self,
        url: RedisUrl,
        limits: dict[str, Any],
        on_failure: Callable[[StoreError], None],
    ) -> None:
        self._url = url
        self._limits = limits
        self._client: RedisCluster | None = None
        self._hands: ThreadPoolExecutor | None = None
        self._aside = _Aside(
            self._open, self._keep, lambda error: on_failure(store_error(error, url))
        )

    def _open(self) -> RedisCluster:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in self._url.hosts],
            ssl=self._url.tls,
            max_connections=MAX_CONNECTIONS,
            # One more try: a slot that has moved is not an outage.
            **{**self._limits, "retry": Retry(NoBackoff(), 1)},
        )

    def _keep(self, client: RedisCluster) -> None:
        spare, self._client = self._client, client
        if spare is not None:
            spare.close()  # Another caller's was quicker, and is no longer used.

    def run(self, commands: Sequence[Command], limit: float) -> list[Reply]:
        replies = self._aside_of(lambda client: self._ask(client, commands), limit)
        return [
            error_reply(reply, self._url) if isinstance(reply, ResponseError) else reply
            for reply in replies
        ]

    def ask_each(self, command: Command, limit: float) -> list[tuple[str, Reply]]:
        def ask(client: RedisCluster) -> list[tuple[str, Reply]]:
            return [(n.name, self._ask_one(client, command, n)) for n in nodes(client)]

        def nodes(client: RedisCluster) -> list[ClusterNode]:
            found: list[ClusterNode] = client.get_primaries()
            return found

        return self._aside_of(ask, limit)

    def _ask_one(
        self, client: RedisCluster, command: Command, node: ClusterNode
    ) -> Reply:
        try:
            return client.execute_command(*command, target_nodes=node)
        except ResponseError as error:  # One node's refusal is not another's.
            return error_reply(error, self._url)

    def _aside_of[T](self, ask: Callable[[RedisCluster], T], limit: float) -> T:
        until = time.monotonic() + limit
        try:
            if self._client is None:
                self._client = self._aside.get(until)
            if self._hands is None:
                self._hands = ThreadPoolExecutor(MAX_CONNECTIONS, "cache-cluster")
            work = self._hands.submit(ask, self._client)
            return work.result(max(0.0, until - time.monotonic()))
        except StoreError:
            raise
        except TimeoutError:
            work.cancel()
            raise store_error(redis.exceptions.TimeoutError(), self._url) from None
        except Exception as error:  # whatever it is, it must not fail an answer
            raise store_error(error, self._url) from error

    @staticmethod
    def _ask(client: RedisCluster, commands: Sequence[Command]) -> list[Reply]:
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Reply] = pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, RedisError) and not isinstance(reply, ResponseError):
                raise reply
        return replies

    def close(self) -> None:
        client, self._client = self._client, None
        hands, self._hands = self._hands, None
        if hands is not None:
            hands.shutdown(wait=False)
        if client is not None:
            with suppress(Exception):
                client.close()
