"""Entries in this process's memory, bounded in bytes: to try the cache without a Redis.

The entries are lost when the process ends, and no other process sees them. The core's
tests also use this store, because its clock is a parameter.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final

from cachetools import LRUCache

from cachecore import policy
from cachecore.entry import order_of
from cachecore.stores.base import (
    Claim,
    Commit,
    Facts,
    Found,
    Heartbeat,
    Page,
    StreamReply,
    Write,
)

# The rough size of a key, a tuple and a dict slot in Python.
_OVERHEAD: Final = 300
# Tags are digests of 34 characters; this many of them take about 16 MiB.
_MAX_HASH_FIELDS: Final = 100_000
_MAX_HASHES: Final = 10_000
_MAX_LOGS: Final = 64

type _Kept = tuple[bytes, float]


def _size(kept: _Kept) -> int:
    return len(kept[0]) + _OVERHEAD


class MemoryStore:
    """A store in a bounded dict; it drops the least recently used entry."""

    shared = False

    def __init__(
        self,
        max_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards all below
        self._last_order = 0
        self._entries: LRUCache[str, _Kept] = LRUCache(max_bytes, getsizeof=_size)
        self._hashes: LRUCache[str, LRUCache[str, str]] = LRUCache(_MAX_HASHES)
        self._ends: dict[str, float] = {}  # the times at which hashes expire
        self._logs: LRUCache[str, deque[tuple[int, bytes]]] = LRUCache(_MAX_LOGS)
        self._appended = 0  # records to all logs

    def look_up(self, key: str, hash_key: str, fields: Sequence[str]) -> Found:
        with self._lock:
            current = self._hash(hash_key)
            return Found(self._get(key), tuple(current.get(field) for field in fields))

    def look_up_many(
        self, keys: Sequence[str], hash_key: str, fields: Sequence[str]
    ) -> tuple[list[bytes | None], tuple[str | None, ...]]:
        with self._lock:
            current = self._hash(hash_key)
            found = tuple(current.get(field) for field in fields)
            return [self._get(key) for key in keys], found

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        with self._lock:
            self._set(key, value, ttl)

    def keep_many(self, writes: Sequence[Write]) -> list[bool]:
        with self._lock:
            return [self._keep(write) for write in writes]

    def _keep(self, write: Write) -> bool:
        found = self._get(write.key)
        kept = found is None
        if not write.only_if_absent:
            order = order_of(write.value) or 0
            kept = policy.may_replace(order_of(found), order)
        if kept:
            self._set(write.key, write.value, write.ttl)
        return kept

    def delete(self, key: str) -> None:
        with self._lock:
            self._entries.pop(key, None)
            self._hashes.pop(key, None)
            self._ends.pop(key, None)

    def settle(
        self, hash_key: str, fields: Mapping[str, str], ttl: float | None = None
    ) -> dict[str, str]:
        with self._lock:
            current = self._hash(hash_key)
            if ttl is not None:
                self._ends.setdefault(hash_key, self._clock() + ttl)
            for field, text in fields.items():
                current.setdefault(field, text)
            return {field: current[field] for field in fields}

    def replace(
        self, hash_key: str, fields: Mapping[str, str], *, only_existing: bool = False
    ) -> dict[str, bool]:
        with self._lock:
            found = self._hash(hash_key)
            existed = {field: field in found for field in fields}
            for field, text in fields.items():
                if existed[field] or not only_existing:
                    found[field] = text
            return existed

    def forget(self, hash_key: str, field: str) -> None:
        with self._lock:
            self._hash(hash_key).pop(field, None)

    def publish(self, pages: Sequence[Page]) -> None:
        with self._lock:
            for name in [n for n, end in self._ends.items() if end <= self._clock()]:
                self._hashes.pop(name, None)
                del self._ends[name]
            for page in pages:
                self._hash(page.name).update(page.fields)
                self._ends[page.name] = self._clock() + page.ttl

    def append(
        self, stream: str, records: Sequence[bytes], most: int, ttl: float
    ) -> None:
        with self._lock:
            if stream not in self._logs:
                self._logs[stream] = deque(maxlen=most)
            log = self._logs[stream]
            for record in records:
                self._appended += 1
                log.append((self._appended, record))

    def tail(
        self, stream: str, after: str, count: int, *, in_background: bool = False
    ) -> list[tuple[str, bytes]]:
        with self._lock:
            log, seen = self._logs.get(stream) or (), int(after or 0)
            if not log or log[-1][0] <= seen:
                return []
            new = ((n, record) for n, record in log if n > seen)
            return [(str(n), record) for n, record in islice(new, count)]

    def gather(self, names: Sequence[str]) -> list[dict[str, str]]:
        with self._lock:
            return [dict(self._hash(name)) for name in names]

    def outages(self) -> tuple[int, float]:
        return 0, 0.0

    def facts(self) -> list[Facts]:
        with self._lock:
            entries, used = len(self._entries), self._entries.currsize
            room = self._entries.maxsize
        numbers = {"keys": entries, "used_memory": used, "maxmemory": room}
        return [Facts("memory", numbers)]

    def check(self, key: str, hash_key: str) -> tuple[str, ...]:
        return ()

    def advice(self) -> tuple[str, ...]:
        return ()

    def order(self, key: str) -> int:
        with self._lock:
            return self._order()

    def _order(self) -> int:
        self._last_order = max(self._last_order + 1, int(self._clock() * 1e6))
        return self._last_order

    # A single process needs no leases and streams: it has its flights.

    def claim(
        self, entry: str, lease: str, token: str, ttl: float, *, take_over: str = ""
    ) -> Claim:
        with self._lock:
            return Claim(token, self._get(entry), self._order())

    def heartbeat(self, beats: Sequence[Heartbeat]) -> list[int | None]:
        return [0] * len(beats)

    def commit(self, commit: Commit) -> bool:
        if commit.value is None:
            return False
        return self.keep_many([Write(commit.entry, commit.value, commit.ttl)])[0]

    def read(
        self,
        stream: str,
        lease: str,
        token: str,
        after: str,
        wait: float,
        *,
        subscribe: float = 0,
    ) -> StreamReply:
        return StreamReply((), alive=False)

    def _get(self, key: str) -> bytes | None:
        kept = self._entries.get(key)
        if kept is not None and kept[1] <= self._clock():
            del self._entries[key]
            return None
        return kept[0] if kept else None

    def _set(self, key: str, value: bytes, ttl: float) -> None:
        if len(value) + _OVERHEAD > self._entries.maxsize:
            self._entries.pop(key, None)
        else:
            self._entries[key] = (value, self._clock() + ttl)

    def _hash(self, hash_key: str) -> "LRUCache[str, str]":
        ends = self._ends.get(hash_key)
        if ends is not None and ends <= self._clock():
            self._hashes.pop(hash_key, None)
            del self._ends[hash_key]
        current = self._hashes.get(hash_key)
        if current is None:
            current = LRUCache(_MAX_HASH_FIELDS)
            self._hashes[hash_key] = current
        return current
