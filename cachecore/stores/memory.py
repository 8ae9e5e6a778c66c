"""Entries in this process, bounded in bytes: to try the cache without a Redis.

It is lost when the process ends and shared with nobody. It is also the store
that the core's tests use: its clock is a parameter.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cachetools import LRUCache

from cachecore.stores.base import Found

# Python's own cost of a key, a tuple and a dict slot, roughly.
_OVERHEAD: Final = 300
# Tags are digests of 34 characters; this many of them take about 16 MiB.
_MAX_HASH_FIELDS: Final = 100_000

type _Kept = tuple[bytes, float]


def _size(kept: _Kept) -> int:
    return len(kept[0]) + _OVERHEAD


class MemoryStore:
    """A store in a bounded dict; the entry unused longest goes first."""

    def __init__(
        self, max_bytes: int = 64 * 1024 * 1024, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards both below
        self._entries: LRUCache[str, _Kept] = LRUCache(max_bytes, getsizeof=_size)
        self._hashes: dict[str, LRUCache[str, str]] = {}

    def look_up(self, key: str, hash_key: str, fields: Sequence[str]) -> Found:
        with self._lock:
            kept = self._entries.get(key)
            if kept is not None and kept[1] <= self._clock():
                del self._entries[key]
                kept = None
            standing = self._hash(hash_key)
            found = tuple(standing.get(field) for field in fields)
        return Found(kept[0] if kept else None, found)

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        with self._lock:
            if len(value) + _OVERHEAD > self._entries.maxsize:
                self._entries.pop(key, None)
                return
            self._entries[key] = (value, self._clock() + ttl)

    def delete(self, key: str) -> None:
        with self._lock:
            self._entries.pop(key, None)

    def settle(self, hash_key: str, fields: Mapping[str, str]) -> dict[str, str]:
        with self._lock:
            standing = self._hash(hash_key)
            for field, text in fields.items():
                standing.setdefault(field, text)
            return {field: standing[field] for field in fields}

    def replace(self, hash_key: str, fields: Mapping[str, str]) -> None:
        with self._lock:
            standing = self._hash(hash_key)
            for field, text in fields.items():
                standing[field] = text

    def check(self, key: str, hash_key: str) -> None:
        del key, hash_key  # Nothing here can be misconfigured.

    def _hash(self, hash_key: str) -> "LRUCache[str, str]":
        return self._hashes.setdefault(hash_key, LRUCache(_MAX_HASH_FIELDS))

    def __repr__(self) -> str:
        used, room = self._entries.currsize, self._entries.maxsize
        return f"<MemoryStore {len(self._entries)} entries, {used} of {room} bytes>"
