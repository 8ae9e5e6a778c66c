"""Connections of redis-py to a Redis, with a time limit for each call.

With redis-py's defaults a call retries for up to a minute (8.1: ten tries of 5 s). So this
module sets every limit:

- A call ends when its ``Budget`` is spent. The budget counts only the time in which this
  process looked for the reply, so a busy or stopped process spends little of it.
- If all connections are in use, a caller waits for its turn. This is no failure of Redis
  and costs no budget.
- A connection is made in a thread of its own, with its own limit (``CONNECT_LIMIT``). A
  caller spends its budget only on the wait for the first connection.
- Nothing is retried, except for a slot of a Cluster that has moved.

Only this module and ``messages`` import redis.
"""

import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from cachecore.errors import NotAsked, StoreError, StoreTimeout
from cachecore.redis_url import RedisUrl
from cachecore.stores.messages import error_reply, store_error

type Command = tuple[str | bytes | int, ...]
type Reply = Any

CONNECT_LIMIT: Final = 2.0
# The most connections to one server: for calls, and for followers that wait at the
# server. A process answers from one thread, so with more connections the calls would
# only wait elsewhere.
MAX_CONNECTIONS: Final = 16
MAX_BLOCKING: Final = 32
# The longest wait of a caller for its turn, in seconds.
TURN_LIMIT: Final = 10.0
# A connection that was unused for more seconds than this is tested before use.
_FRESH: Final = 1.0
# The most connections of one pool that are made at a time, and the seconds after which
# a caller that waits for its turn looks again.
_AT_ONCE: Final = 2
_TURN_LOOK: Final = 0.05
# The number of looks into which a limit is divided.
_LOOKS: Final = 5


class Budget:
    """The time that a caller may wait for Redis, in seconds.

    The budget is spent in looks. A look costs at most its share, however long it really
    took: a process that was stopped, or that served other requests meanwhile, did not
    look. Time without a look shows nothing about Redis.
    """

    __slots__ = ("_look", "left")

    def __init__(self, limit: float, look: float | None = None) -> None:
        self.left = limit
        self._look = look or limit / _LOOKS

    @property
    def look(self) -> float:
        """The longest time of the next look; 0 when the budget is spent."""
        return min(self._look, self.left) if self.left > 0 else 0.0

    def spend(self, seconds: float) -> None:
        """Subtract a look that took ``seconds``."""
        self.left -= min(seconds, self._look)


class BudgetedSocket:
    """A socket whose reads and writes together spend one budget."""

    __slots__ = ("_sock", "budget")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.budget = Budget(CONNECT_LIMIT)

    def recv(self, size: int) -> bytes:
        budget = self.budget
        while True:
            began, look = time.monotonic(), budget.look
            try:
                self._sock.settimeout(look)
                data: bytes = self._sock.recv(size)
            except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
                if not look:
                    raise TimeoutError from None
                # A spent budget still allows one look without waiting, for bytes that
                # have arrived.
                budget.spend(max(look, time.monotonic() - began))
                continue
            budget.spend(time.monotonic() - began)
            return data

    def sendall(self, data: bytes) -> None:
        # A command mostly fits into the buffer, so it is sent without waiting.
        sent = 0
        self._sock.settimeout(0)
        with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            sent = self._sock.send(data)
        if sent < len(data):
            # The buffer is full. The rest may take the remaining budget, because a
            # partial command is useless.
            self._sock.settimeout(max(0.001, self.budget.left))
            self._sock.sendall(memoryview(data)[sent:])

    def is_stale(self) -> bool:
        """Whether the server has closed the connection, or sent unexpected bytes."""
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


class _Budgeted:
    """A connection of redis-py with a BudgetedSocket."""

    _sock: Any

    def _connect(self) -> BudgetedSocket:
        return BudgetedSocket(super()._connect())  # type: ignore[misc]

    def ask(self, commands: Sequence[Command], budget: Budget) -> None:
        """Send ``commands``; ``budget`` is spent on this and on reading the replies."""
        self._sock.budget = budget
        self._sock.sendall(_packed(commands))

    def is_stale(self) -> bool:
        """Whether the connection can no longer be used."""
        return bool(self._sock.is_stale())


class _Plain(_Budgeted, redis.Connection): ...


class _Tls(_Budgeted, redis.SSLConnection): ...


class _Unix(_Budgeted, redis.UnixDomainSocketConnection): ...


class Route(Protocol):
    """The route to a Redis with any number of servers. Raises only StoreError."""

    blocks: bool  # whether a command may wait at the server

    def run(self, commands: Sequence[Command], limit: float) -> list[Reply]:
        """The replies in order; ``limit`` is the budget in seconds."""

    def wait_for(self, commands: Sequence[Command], limit: float) -> list[Reply]:
        """``run`` for commands that wait at the server, if ``blocks``."""

    def ask_each(self, command: Command, limit: float) -> list[tuple[str, Reply]]:
        """The reply of each server that holds data, with the server's name."""

    def close(self) -> None:
        """Drop the connections. The route may be used again; it reconnects."""


def open_route(
    url: RedisUrl, on_failure: Callable[[StoreError], None] = lambda _: None
) -> Route:
    """The route to the Redis of ``url``. It connects when it is first used.

    ``on_failure`` is called if a connection can't be made.
    """
    limits: dict[str, Any] = {
        "socket_timeout": CONNECT_LIMIT,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,
        "username": url.username,
        "password": url.password,
        # The handshake must need only commands that the documented ACL permits.
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
        return Clustered(url, limits)
    return Pooled(url, _maker(url, limits), on_failure)


def _maker(url: RedisUrl, limits: dict[str, Any]) -> Callable[[], Any]:
    """A function that makes an unopened connection to a server or a master."""
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


class _Pool:
    """At most ``most`` connections of one route. Thread-safe.

    ``_ready`` has the unused connections, as (connection, since, age), and the errors
    of connections that could not be made. If ``_ready`` is empty, a caller waits for
    the first connection that is returned or made. ``on_failure`` is called with each of
    the errors.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        most: int,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._make = make
        self._most = most
        self._on_failure = on_failure
        self._ready: SimpleQueue[tuple[Any, float, int]] = SimpleQueue()
        self._lock = threading.Lock()  # guards all below
        self._age = 0  # connections of a lower age are not used
        self._count = 0  # connections that exist or are being made
        self._making = 0
        # Whether a caller has waited for the first connection without success; then no
        # other caller waits.
        self._late = False

    def take(self, budget: Budget) -> tuple[Any, int]:
        """A connection and its age. Raises NotAsked, or the error of the connection."""
        came, turn = time.monotonic(), None
        while True:
            try:
                connection, since, age = self._ready.get_nowait()
            except Empty:
                self._grow()
                # All connections are in use: the wait for a turn costs no budget.
                in_use = self._count > self._making
                turn = turn or Budget(TURN_LIMIT, _TURN_LOOK)
                found = self._wait(turn if in_use else budget, in_use=in_use)
                if found is None:
                    continue
                connection, since, age = found
            if isinstance(connection, Exception):
                if since < came:
                    continue  # The error is older than this call.
                raise connection
            idle = time.monotonic() - since
            if age == self._age and (idle < _FRESH or not connection.is_stale()):
                return connection, age
            self.drop(connection)

    def _wait(self, pays: Budget, *, in_use: bool) -> tuple[Any, float, int] | None:
        """Look once for a connection; raises NotAsked if there is no time left."""
        look = 0.0 if self._late and not in_use else pays.look
        if not look:
            if in_use:
                raise NotAsked("All connections to Redis are busy.")
            self._late = self._making > 0
            raise NotAsked("The connection to Redis is not ready yet.")
        began = time.monotonic()
        try:
            return self._ready.get(timeout=look)
        except Empty:
            pays.spend(max(look, time.monotonic() - began))
            return None

    def _grow(self) -> None:
        """Make one more connection in a thread, if the limit permits it."""
        with self._lock:
            if self._count >= self._most or self._making >= _AT_ONCE:
                return
            self._count += 1
            self._making += 1
        try:
            threading.Thread(target=self._connect, daemon=True).start()
        except RuntimeError:  # no thread can be started
            self._connect()

    def _connect(self) -> None:
        age = self._age
        made: Any
        try:
            made = self._make()
            made.connect()
        except Exception as error:  # noqa: BLE001 - the waiting caller raises it
            made = error
        failed = isinstance(made, Exception)
        with self._lock:
            self._making -= 1
            self._count -= failed
            self._late = False
        if failed:
            self._on_failure(made)
        self._ready.put((made, time.monotonic(), age))

    def give_back(self, connection: Any, age: int) -> None:
        if age == self._age:
            self._ready.put((connection, time.monotonic(), age))
        else:
            self.drop(connection)

    def drop(self, connection: Any) -> None:
        with self._lock:
            self._count -= 1
        connection.disconnect()

    def close(self) -> None:
        self._age += 1
        while True:
            try:
                connection, _, _ = self._ready.get_nowait()
            except Empty:
                return
            if not isinstance(connection, Exception):
                self.drop(connection)


def _packed(commands: Sequence[Command]) -> bytes:
    """The bytes of the commands. redis-py's own packing takes three times as long."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for part in command:
            data = part if isinstance(part, bytes) else str(part).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class Pooled:
    """The route to one server, or to the master that Sentinel names."""

    blocks = True

    def __init__(
        self,
        url: RedisUrl,
        make: Callable[[], Any],
        on_failure: Callable[[StoreError], None],
    ) -> None:
        self._url = url

        def failed(error: Exception) -> None:
            # It opens the breaker, even if it timed out (after CONNECT_LIMIT).
            on_failure(StoreError(store_error(error, url).remedy))

        self._calls = _Pool(make, MAX_CONNECTIONS, failed)
        self._blocking = _Pool(make, MAX_BLOCKING, failed)

    def run(self, commands: Sequence[Command], limit: float) -> list[Reply]:
        return self._run(self._calls, commands, limit)

    def wait_for(self, commands: Sequence[Command], limit: float) -> list[Reply]:
        return self._run(self._blocking, commands, limit)

    def _run(
        self, pool: _Pool, commands: Sequence[Command], limit: float
    ) -> list[Reply]:
        # redis-py's own pipeline takes as long as the round trip itself.
        budget = Budget(limit)
        try:
            connection, age = pool.take(budget)
            whole = False
            try:
                connection.ask(commands, budget)
                replies = [self._reply(connection) for _ in commands]
                whole = True
            finally:
                if whole:
                    pool.give_back(connection, age)
                else:
                    # The next caller would read its late reply.
                    pool.drop(connection)
        except StoreError:
            raise
        except (TimeoutError, redis.exceptions.TimeoutError):
            raise store_error(redis.exceptions.TimeoutError(), self._url) from None
        except Exception as error:  # no error may fail an answer
            # The unused connections lead to the same server, so they are dropped too.
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
                # The server is no longer the master. New connections find the new
                # master.
                self.close()
            return error_reply(error, self._url)

    def close(self) -> None:
        self._calls.close()
        self._blocking.close()


class Clustered:
    """A Redis Cluster. An entry and the stamps of its namespace are in two slots.

    If a slot has moved, the client asks several nodes, each with its own limit. So the
    client works in threads, and the caller waits only until its own budget is spent.
    """

    blocks = False

    def __init__(self, url: RedisUrl, limits: dict[str, Any]) -> None:
        self._url = url
        self._limits = limits
        self._lock = threading.Lock()  # guards all below
        self._client: Future[RedisCluster] | None = None
        self._workers: ThreadPoolExecutor | None = None
        self._turns = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def _open(self) -> RedisCluster:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in self._url.hosts],
            ssl=self._url.tls,
            max_connections=MAX_CONNECTIONS,
            # One retry: a slot that has moved is not an outage.
            **{**self._limits, "retry": Retry(NoBackoff(), 1)},
        )

    def run(self, commands: Sequence[Command], limit: float) -> list[Reply]:
        replies = self._in_thread(lambda client: self._ask(client, commands), limit)
        return [
            error_reply(reply, self._url) if isinstance(reply, ResponseError) else reply
            for reply in replies
        ]

    wait_for = run

    def ask_each(self, command: Command, limit: float) -> list[tuple[str, Reply]]:
        def ask(client: RedisCluster) -> list[tuple[str, Reply]]:
            nodes: list[ClusterNode] = client.get_primaries()
            return [(n.name, self._ask_one(client, command, n)) for n in nodes]

        return self._in_thread(ask, limit)

    def _ask_one(
        self, client: RedisCluster, command: Command, node: ClusterNode
    ) -> Reply:
        try:
            return client.execute_command(*command, target_nodes=node)
        except ResponseError as error:  # The other nodes may still answer.
            return error_reply(error, self._url)

    def _in_thread[T](self, ask: Callable[[RedisCluster], T], limit: float) -> T:
        if not self._turns.acquire(timeout=TURN_LIMIT):
            raise NotAsked("All connections to Redis are busy.")
        try:
            budget = Budget(limit)
            opening, workers = self._begin()
            try:
                client = _result(opening, budget)
            except Exception as error:
                if opening.done():
                    with self._lock:
                        self._client = None
                raise store_error(error, self._url) from error
            return _result(workers.submit(ask, client), budget)
        except StoreError:
            raise
        except Exception as error:  # no error may fail an answer
            raise store_error(error, self._url) from error
        finally:
            self._turns.release()

    def _begin(self) -> tuple["Future[RedisCluster]", ThreadPoolExecutor]:
        with self._lock:
            if self._workers is None:
                self._workers = ThreadPoolExecutor(MAX_CONNECTIONS + 1, "cache-cluster")
            if self._client is None:
                self._client = self._workers.submit(self._open)
            return self._client, self._workers

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
        with self._lock:
            opening, self._client = self._client, None
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.shutdown(wait=False)
        if opening is not None and opening.done() and not opening.exception():
            with suppress(Exception):
                opening.result().close()


def _result[T](work: "Future[T]", budget: Budget) -> T:
    """The result or the error of ``work``, within the budget."""
    while True:
        began, look = time.monotonic(), budget.look
        try:
            return work.result(look)
        except TimeoutError:
            if work.done():
                return work.result()
            if not look:
                work.cancel()
                msg = "The Redis Cluster did not answer in time."
                raise StoreTimeout(msg) from None
            budget.spend(max(look, time.monotonic() - began))
