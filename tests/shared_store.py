"""Leases and streams in memory: the fake that the core's tests use as a Redis."""

import threading
from collections.abc import Callable, Sequence
from time import time

from cachecore import policy
from cachecore.policy import Token
from cachecore.stores.base import Claim, Commit, Heartbeat, StreamReply, Write
from cachecore.stores.memory import MemoryStore

type _Records = list[tuple[str, bytes | None]]


class FakeSharedStore(MemoryStore):
    """A fake: several caches over one memory, as if each were a process of its own."""

    shared = True

    def __init__(self, clock: Callable[[], float] = time) -> None:
        super().__init__(clock=clock)
        self._changed = threading.Condition(self._lock)
        self._position = 0  # of the last record of all streams
        self._leases: dict[str, tuple[str, float]] = {}
        self._streams: dict[str, tuple[_Records, float]] = {}

    def claim(
        self, entry: str, lease: str, token: str, ttl: float, *, take_over: str = ""
    ) -> Claim:
        with self._lock:
            holder = self._holder(lease)
            mine = Token.read(token)
            if holder is None or policy.may_take_over(
                Token.read(holder), mine, take_over
            ):
                holder = token
                self._leases[lease] = (token, self._clock() + ttl)
            return Claim(holder, self._get(entry), self._order())

    def heartbeat(self, beats: Sequence[Heartbeat]) -> list[int | None]:
        with self._lock:
            return [self._beat(beat) for beat in beats]

    def _beat(self, beat: Heartbeat) -> int:
        until = self._clock() + beat.ttl
        if beat.renews and self._holder(beat.lease) in (None, beat.token):
            self._leases[beat.lease] = (beat.token, until)
        kept = self._stream(beat.stream)
        if beat.records:
            kept = self._add(beat.stream, beat.records, beat.ttl)
        if beat.renews and kept:
            self._streams[beat.stream] = (kept, until)
        return len(kept)

    def commit(self, commit: Commit) -> bool:
        with self._lock:
            kept = commit.value is not None and self._keep(
                Write(commit.entry, commit.value, commit.ttl)
            )
            if self._stream(commit.stream):
                standing_records = self._add(commit.stream, commit.records, 0)
                until = self._clock() + commit.linger
                self._streams[commit.stream] = (standing_records, until)
            if self._holder(commit.lease) == commit.token:
                del self._leases[commit.lease]
            return kept

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
        with self._lock:
            left = ""
            if subscribe and (self._stream(stream) or self._holder(lease) == token):
                left = self._add(stream, (None,), subscribe)[-1][0]
            if not self._records_after(stream, after) and wait:
                self._changed.wait(wait)
            fresh = self._records_after(stream, after)
            alive = bool(self._stream(stream)) or self._holder(lease) == token
            return StreamReply(fresh, alive, left)

    def _records_after(
        self, stream: str, after: str
    ) -> tuple[tuple[str, bytes | None], ...]:
        seen = int(after)
        return tuple(r for r in self._stream(stream) if int(r[0]) > seen)

    def _holder(self, lease: str) -> str | None:
        token, until = self._leases.get(lease, ("", 0.0))
        return token if until > self._clock() else None

    def _stream(self, key: str) -> _Records:
        records, until = self._streams.get(key, ([], 0.0))
        return records if until > self._clock() else []

    def _add(self, key: str, records: Sequence[bytes | None], ttl: float) -> _Records:
        """Add ``records``, return the stream; ``ttl`` is for a new stream only."""
        until = self._streams[key][1] if self._stream(key) else self._clock() + ttl
        kept = self._stream(key)
        for record in records:
            self._position += 1
            kept.append((str(self._position), record))
        self._streams[key] = (kept, until)
        self._changed.notify_all()
        return kept
