"""How the store calls: one of so many connections, past the breaker, within a time."""

import threading
import time
from queue import Empty, SimpleQueue
from typing import Final
from weakref import WeakSet

from cachecore.errors import NotAsked, StoreError
from cachecore.redis_url import RedisUrl
from cachecore.stores import commands, health
from cachecore.stores.base import Watcher
from cachecore.stores.breaker import Breaker
from cachecore.stores.connections import open_door
from cachecore.stores.remedies import ErrorReply
from cachecore.stores.sockets import MAX_CONNECTIONS, Command, Reply

# How long a caller waits for one of the connections. All being busy is our own
# crowd, not a fault of Redis: it opens no breaker.
SLOT_TIMEOUT: Final = 0.5
# Who listens to a stream holds a connection while it waits; more than this many
# ask again and again instead.
MAX_LISTENERS: Final = 32
# For what a person waits for: saving credentials, invalidating.
PATIENCE: Final = 3.0


class Calls:
    """The calls of one Redis: what ``RedisStore`` is made of."""

    def __init__(self, url: RedisUrl, timeout: float = 0.05) -> None:
        self._url = url
        self._timeout = timeout
        self._watchers: WeakSet[Watcher] = WeakSet()
        self._watching = threading.RLock()  # guards _watchers
        self._breaker = Breaker(url.shown, told=self._tell_watchers)
        self._complaint = health.Complaint(url.shown)
        # A token for each connection: a queue in C, where a semaphore is in Python.
        self._slots: SimpleQueue[None] = SimpleQueue()
        for _ in range(MAX_CONNECTIONS):
            self._slots.put(None)
        self._listeners = threading.BoundedSemaphore(MAX_LISTENERS)
        self._door = open_door(url, self._breaker.fail)
        self._no_bids_until = 0.0

    @property
    def bids(self) -> bool:
        """Not on a cluster, where an entry and the stamps live in two slots."""
        return self._door.blocks and time.monotonic() > self._no_bids_until

    def watch(self, watcher: Watcher) -> None:
        with self._watching:
            self._watchers.add(watcher)

    def _tell_watchers(self, opens: bool) -> None:
        with self._watching:
            watchers = tuple(self._watchers)
        for watcher in watchers:
            watcher.watch_store(opens=opens)

    def _texts(self, reply: Reply, count: int) -> list[str | None]:
        """The texts of an HMGET; anything may answer at an address."""
        if isinstance(reply, ErrorReply):
            self._complaint.refused(reply.remedy)
        items = self._sound(reply)
        if not isinstance(items, list) or len(items) != count:
            raise StoreError(commands.NO_REDIS)
        try:
            return [
                None if item is None else item.decode("utf-8", "replace")
                for item in items
            ]
        except AttributeError:  # no texts
            raise StoreError(commands.NO_REDIS) from None

    def _write(self, *command: str | bytes | int) -> Reply:
        return self._accepted(self._run(command)[0])

    def _run(
        self,
        *calls: Command,
        limit: float | None = None,
        forced: bool = False,
        slotted: bool = True,
    ) -> list[Reply]:
        if slotted:
            self._take_slot()
        try:
            # Only now: who waited for a slot must see a breaker that has opened.
            with self._breaker.call(forced=forced):
                return self._door.run(calls, limit or self._timeout)
        finally:
            if slotted:
                self._slots.put(None)

    def _run_aside(self, *calls: Command) -> list[Reply]:
        """The same for what is done behind the answers, which is longer and may wait.

        That it fails says little of how an answer would fare: it opens no breaker.
        """
        if self._breaker.is_open:
            raise NotAsked("Redis did not answer a moment ago and is being left alone.")
        self._take_slot()
        try:
            return self._door.run(calls, max(self._timeout, PATIENCE))
        finally:
            self._slots.put(None)

    def _take_slot(self) -> None:
        try:
            self._slots.get(timeout=SLOT_TIMEOUT)
        except Empty:
            msg = f"All {MAX_CONNECTIONS} connections to Redis are busy."
            raise NotAsked(msg) from None

    def close(self) -> None:
        """Drop the connections. The store may be used again; it reconnects."""
        self._door.close()

    def _sound(self, reply: Reply) -> Reply:
        """The reply, or its error. Error replies are quick and open no breaker."""
        if isinstance(reply, ErrorReply):
            raise StoreError(reply.remedy)
        return reply

    def _accepted(self, reply: Reply) -> Reply:
        """The reply to what writes. A Redis that refuses to be written to is told of."""
        if isinstance(reply, ErrorReply):
            self._complaint.refused(reply.remedy)
        else:
            self._complaint.accepted()
        return self._sound(reply)

    def __repr__(self) -> str:
        state = "open" if self._breaker.is_open else "closed"
        return f"<RedisStore {self._url.shown}, breaker {state}>"
