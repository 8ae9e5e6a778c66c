"""The way to a Redis Cluster."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from cachecore.errors import StoreError
from cachecore.redis_url import RedisUrl
from cachecore.stores.remedies import error_reply, store_error
from cachecore.stores.sockets import MAX_CONNECTIONS, Aside, Command, Reply


class Clustered:
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
        self._aside = Aside(
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
