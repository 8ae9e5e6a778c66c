"""Entries in this process, bounded in bytes: to try the cache without a Redis.

It is lost when the process ends and shared with nobody. It is also the store
that the core's tests use: its clock is a parameter.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cachetools import LRUCache

from cachecore.stores.base import (
    Beat,
    Bid,
    Claim,
    Facts,
    Found,
    Heard,
    Landing,
    Page,
    Watcher,
    Write,
    digest,
)

# Python's own cost of a key, a tuple and a dict slot, roughly.
_OVERHEAD: Final = 300
# Tags are digests of 34 characters; this many of them take about 16 MiB.
_MAX_HASH_FIELDS: Final = 100_000
_MAX_HASHES: Final = 10_000

type _Kept = tuple[bytes, float]
type _Records = list[tuple[str, bytes | None]]


def _size(kept: _Kept) -> int:
    return len(kept[0]) + _OVERHEAD


class MemoryStore:
    """A store in a bounded dict; the entry unused longest goes first.

    ``shared`` is for tests: several caches over one store, as if each were a
    process of its own.
    """

    bids = True

    def __init__(
        self,
        max_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
        *,
        shared: bool = False,
    ) -> None:
        self.shared = shared
        self._clock = clock
        self._lock = threading.Lock()  # guards all below
        self._told = threading.Condition(self._lock)
        self._entries: LRUCache[str, _Kept] = LRUCache(max_bytes, getsizeof=_size)
        self._hashes: LRUCache[str, LRUCache[str, str]] = LRUCache(_MAX_HASHES)
        self._ends: dict[str, float] = {}  # of those hashes that have one
        self._leases: dict[str, tuple[str, float]] = {}
        self._streams: dict[str, tuple[_Records, float]] = {}
        self._logs: dict[str, deque[bytes]] = {}

    def look_up(
        self, key: str, hash_key: str, fields: Sequence[str], bid: Bid | None = None
    ) -> Found:
        with self._lock:
            standing = self._hash(hash_key)
            found = tuple(standing.get(field) for field in fields)
            value = self._get(key)
            held = bid is not None and value is None and found == bid.fields
            if bid is not None and held and self._holder(bid.lease) is None:
                self._leases[bid.lease] = (bid.token, self._clock() + bid.ttl)
                return Found(value, found, held=True)
            return Found(value, found)

    def look_up_many(
        self, keys: Sequence[str], hash_key: str, fields: Sequence[str]
    ) -> tuple[list[bytes | None], tuple[str | None, ...]]:
        with self._lock:
            standing = self._hash(hash_key)
            found = tuple(standing.get(field) for field in fields)
            return [self._get(key) for key in keys], found

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        with self._lock:
            self._set(key, value, ttl)

    def keep_many(self, kept: Sequence[Write]) -> None:
        with self._lock:
            for one in kept:
                if not one.only_if_absent or self._get(one.key) is None:
                    self._set(one.key, one.value, one.ttl)

    def delete(self, key: str) -> None:
        with self._lock:
            self._entries.pop(key, None)
            self._hashes.pop(key, None)
            self._ends.pop(key, None)

    def settle(
        self, hash_key: str, fields: Mapping[str, str], ttl: float | None = None
    ) -> dict[str, str]:
        with self._lock:
            standing = self._hash(hash_key)
            if ttl is not None:
                self._ends[hash_key] = self._clock() + ttl
            for field, text in fields.items():
                standing.setdefault(field, text)
            return {field: standing[field] for field in fields}

    def replace(self, hash_key: str, fields: Mapping[str, str]) -> None:
        with self._lock:
            standing = self._hash(hash_key)
            for field, text in fields.items():
                standing[field] = text

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
            standing = self._logs.setdefault(stream, deque(maxlen=most))
            standing.extend(records)
        del ttl  # It ends with the process.

    def gather(self, names: Sequence[str]) -> list[dict[str, str]]:
        with self._lock:
            return [dict(self._hash(name)) for name in names]

    def watch(self, watcher: Watcher) -> None:
        del watcher  # It never fails.

    def facts(self) -> list[Facts]:
        with self._lock:
            entries, used = len(self._entries), self._entries.currsize
            room = self._entries.maxsize
        numbers = {"keys": entries, "used_memory": used, "maxmemory": room}
        return [Facts("memory", numbers)]

    def check(self, key: str, hash_key: str) -> tuple[str, ...]:
        del key, hash_key  # Nothing here can be misconfigured.
        return ()

    def claim(
        self, entry: str, lease: str, token: str, ttl: float, *, over: str = ""
    ) -> Claim:
        mark = token[token.rindex(".") :]
        with self._lock:
            holder = self._holder(lease)
            other = holder is None or not holder.endswith(mark)
            if other or over in ("*", holder):
                holder = token
                self._leases[lease] = (token, self._clock() + ttl)
            return Claim(holder or token, self._get(entry))

    def beat(self, beats: Sequence[Beat]) -> list[int | None]:
        with self._lock:
            for beat in beats:
                if beat.lease_ttl and self._holder(beat.lease) == beat.token:
                    until = self._clock() + beat.lease_ttl
                    self._leases[beat.lease] = (beat.token, until)
                if beat.records:
                    self._add(beat.stream, beat.records, beat.stream_ttl)
            return [len(self._stream(beat.stream)) for beat in beats]

    def land(self, landing: Landing) -> bool:
        with self._lock:
            holder = self._holder(landing.lease)
            found = self._get(landing.entry)
            unchanged = found is None or digest(found) == landing.seen
            mark = landing.token[landing.token.rindex(".") :]
            waits = holder is not None and holder.endswith(mark) and holder[0] != "r"
            free = (holder is None or waits) and unchanged
            kept = landing.value is not None and (holder == landing.token or free)
            if kept:
                self._set(landing.entry, landing.value or b"", landing.ttl)
            if self._stream(landing.stream):
                self._add(landing.stream, landing.records, landing.stream_ttl)
            if holder == landing.token:
                del self._leases[landing.lease]
            return kept

    def listen(
        self, stream: str, lease: str, after: str, wait: float, *, sign: bool
    ) -> Heard:
        with self._lock:
            if sign:
                self._add(stream, (None,), 60)
            first = int(after)
            if not self._stream(stream)[first:]:
                self._told.wait(wait)
            fresh = tuple(self._stream(stream)[first:])
            return Heard(fresh, self._holder(lease))

    def _holder(self, lease: str) -> str | None:
        token, until = self._leases.get(lease, ("", 0.0))
        return token if until > self._clock() else None

    def _stream(self, key: str) -> _Records:
        records, until = self._streams.get(key, ([], 0.0))
        return records if until > self._clock() else []

    def _add(self, key: str, records: Sequence[bytes | None], ttl: float) -> None:
        standing = self._stream(key)
        for record in records:
            standing.append((str(len(standing) + 1), record))
        self._streams[key] = (standing, self._clock() + ttl)
        self._told.notify_all()

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
        standing = self._hashes.get(hash_key)
        if standing is None:
            standing = LRUCache(_MAX_HASH_FIELDS)
            self._hashes[hash_key] = standing
        return standing

    def __repr__(self) -> str:
        used, room = self._entries.currsize, self._entries.maxsize
        return f"<MemoryStore {len(self._entries)} entries, {used} of {room} bytes>"
