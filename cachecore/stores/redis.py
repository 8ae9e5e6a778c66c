"""Entries, stamps, leases and streams in Redis or Valkey, as commands.

A look-up is one pipeline and, off a cluster, one round trip. Commands used:
GET SET DEL EXISTS PEXPIRE, HMGET HGETALL HSETNX HSET HDEL, EVAL, XADD XLEN XREAD; on
connecting AUTH and SELECT where the URL asks for them; INFO when credentials
are saved, if it is allowed. Values always get a time to live.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Final
from weakref import WeakSet

from cachecore.errors import NotAsked, StoreError
from cachecore.redis_url import RedisUrl
from cachecore.stores import health, scripts
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
)
from cachecore.stores.breaker import Breaker
from cachecore.stores.connections import (
    MAX_CONNECTIONS,
    Command,
    Reply,
    open_door,
)
from cachecore.stores.remedies import ErrorReply

# How long a caller waits for one of the connections. All being busy is our own
# crowd, not a fault of Redis: it opens no breaker.
SLOT_TIMEOUT: Final = 0.5
# Who listens to a stream holds a connection while it waits; more than this many
# ask again and again instead.
MAX_LISTENERS: Final = 32
_ASK_AGAIN: Final = 0.05
# Entries for which the time limit of one call is meant.
_AT_ONCE: Final = 8
# After one that was refused, no bid is sent for so long.
_NO_BIDS: Final = 60.0
# For what a person waits for: saving credentials, invalidating.
PATIENCE: Final = 3.0
# A listener's sign outlives any lease, for the leader makes the stream its own.
_SIGN_TTL: Final = 60_000

_NO_REDIS: Final = (
    "What answers at the Redis URL (redis_url) does not speak as Redis does."
)


class RedisStore:
    """A store in the Redis that ``url`` names. Connects when first asked.

    ``timeout`` in seconds bounds each call as a whole. Thread-safe, and made to
    be shared: what is known of a Redis (its breaker) is known to all who use it.
    """

    shared = True

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

    # --- entries and stamps -----------------------------------------------

    def look_up(
        self, key: str, hash_key: str, fields: Sequence[str], bid: Bid | None = None
    ) -> Found:
        if bid is not None and self.bids:
            reply = self._run(_look(key, hash_key, fields, bid))[0]
            if not isinstance(reply, ErrorReply):
                value, texts, held = self._triple(reply)
                found = tuple(self._texts(texts, len(fields)))
                return Found(self._value(value), found, held=held == 1)
            # What refuses to write, or holds another type there, can be read still.
            self._no_bids_until = time.monotonic() + _NO_BIDS
        (value,), found = self.look_up_many([key], hash_key, fields)
        return Found(value, found)

    @staticmethod
    def _triple(reply: Reply) -> list[Reply]:
        if not isinstance(reply, list) or len(reply) != 3:  # noqa: PLR2004
            raise StoreError(_NO_REDIS)
        return reply

    def look_up_many(
        self, keys: Sequence[str], hash_key: str, fields: Sequence[str]
    ) -> tuple[list[bytes | None], tuple[str | None, ...]]:
        gets: list[Command] = [("GET", key) for key in keys]
        limit = self._timeout * _patience(len(keys))
        *values, texts = self._run(*gets, ("HMGET", hash_key, *fields), limit=limit)
        return [self._value(v) for v in values], tuple(self._texts(texts, len(fields)))

    def _value(self, reply: Reply) -> bytes | None:
        """The reply to a GET."""
        if isinstance(reply, ErrorReply):
            if "WRONGTYPE" in reply.text:
                # Another type under our key is not an entry; the caller deletes it.
                return b""
            self._complaint.refused(reply.remedy)
        value = self._sound(reply)
        if not isinstance(value, bytes | None):
            raise StoreError(_NO_REDIS)
        return value

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        self._write("SET", key, value, "PX", _ms(ttl))

    def keep_many(self, kept: Sequence[Write]) -> None:
        limit = self._timeout * _patience(len(kept))
        for reply in self._run(*map(_set, kept), limit=limit):
            self._accepted(reply)

    def delete(self, key: str) -> None:
        self._write("DEL", key)

    def settle(
        self, hash_key: str, fields: Mapping[str, str], ttl: float | None = None
    ) -> dict[str, str]:
        ends = () if ttl is None else (("PEXPIRE", hash_key, _ms(ttl)),)
        *written, texts = self._run(
            *(("HSETNX", hash_key, field, text) for field, text in fields.items()),
            *ends,
            ("HMGET", hash_key, *fields),
        )
        for reply in written:
            self._accepted(reply)
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
        limit = max(self._timeout, PATIENCE)
        self._accepted(
            self._run(("HSET", hash_key, *pairs), limit=limit, forced=True)[0]
        )

    def forget(self, hash_key: str, field: str) -> None:
        self._write("HDEL", hash_key, field)

    def publish(self, pages: Sequence[Page]) -> None:
        commands: list[Command] = []
        for page in pages:
            pairs = [part for pair in page.fields.items() for part in pair]
            commands.append(("HSET", page.name, *pairs))
            commands.append(("PEXPIRE", page.name, _ms(page.ttl)))
        for reply in self._run_aside(*commands):
            self._accepted(reply)

    def append(
        self, stream: str, records: Sequence[bytes], most: int, ttl: float
    ) -> None:
        command = _append(stream, records, most, ttl)
        self._accepted(self._run_aside(command)[0])

    def watch(self, watcher: Watcher) -> None:
        with self._watching:
            self._watchers.add(watcher)

    def _tell_watchers(self, opens: bool) -> None:
        with self._watching:
            watchers = tuple(self._watchers)
        for watcher in watchers:
            watcher.watch_store(opens=opens)

    def facts(self) -> list[Facts]:
        replies = self._door.ask_each(("INFO",), max(self._timeout, PATIENCE))
        found = [Facts(server, health.numbers(reply)) for server, reply in replies]
        return [facts for facts in found if facts.numbers]

    def gather(self, names: Sequence[str]) -> list[dict[str, str]]:
        if not names:
            return []
        replies = self._run(
            *(("HGETALL", name) for name in names),
            limit=max(self._timeout, PATIENCE),
            forced=True,
        )
        return [_table(self._sound(reply)) for reply in replies]

    def check(self, key: str, hash_key: str) -> tuple[str, ...]:
        probe = key + ":check"
        lease, token = f"{key}:lease", "t.m"
        commands: tuple[Command, ...] = (
            ("HMGET", hash_key, "switch"),
            ("HSETNX", probe, "field", "1"),
            ("HSET", probe, "field", "2"),
            ("HGETALL", probe),
            ("HDEL", probe, "field"),
            ("DEL", probe),
            ("SET", key, b"check", "PX", 1000),
            ("GET", key),
            _claim(key, lease, token, 1, ""),
            _beat(Beat(lease, probe, token, 1, 1, (b"x",))),
            ("XREAD", "COUNT", 1, "STREAMS", probe, "0"),
            _append(probe, [b"x"], 1, 1),
            _land(Landing(key, lease, probe, token, b"check", 1, (b"x",), 1)),
            ("DEL", probe),
            ("DEL", key),
        )
        limit = max(self._timeout, PATIENCE)
        for reply in self._run(*commands, limit=limit, forced=True):
            self._sound(reply)
        started = time.monotonic()
        self._run(("HMGET", hash_key, "switch"), limit=limit)
        took = time.monotonic() - started
        slow = health.slowness(took, self._timeout)
        if self._url.form == "cluster":
            return slow  # Each node has its own memory; Dify uses no Cluster of ours.
        asked = ("INFO", "memory"), *(("EXISTS", name) for name in health.NAMES_OF_DIFY)
        return slow + health.advice(self._run(*asked, limit=limit))

    # --- leases and streams -----------------------------------------------

    def claim(
        self, entry: str, lease: str, token: str, ttl: float, *, over: str = ""
    ) -> Claim:
        match self._write(*_claim(entry, lease, token, ttl, over)):
            case [bytes() as holder, (bytes() | None) as value]:
                return Claim(holder.decode("utf-8", "replace"), value)
        raise StoreError(_NO_REDIS)

    def beat(self, beats: Sequence[Beat]) -> list[int | None]:
        replies = self._run(*map(_beat, beats))
        for reply in replies:
            if isinstance(reply, ErrorReply):
                self._complaint.refused(reply.remedy)
        return [reply if isinstance(reply, int) else None for reply in replies]

    def land(self, landing: Landing) -> bool:
        return bool(self._write(*_land(landing)) == 1)

    def listen(
        self, stream: str, lease: str, after: str, wait: float, *, sign: bool
    ) -> Heard:
        before: tuple[Command, ...] = ()
        if sign:
            before = (
                ("XADD", stream, "*", "s", b"1"),
                ("PEXPIRE", stream, _SIGN_TTL),
            )
        until = time.monotonic() + wait
        if self._door.blocks and wait and self._listeners.acquire(blocking=False):
            try:
                return self._heard(before, stream, lease, after, wait)
            finally:
                self._listeners.release()
        while True:
            heard = self._heard(before, stream, lease, after, 0)
            left = until - time.monotonic()
            if heard.records or left <= 0:
                return heard
            before = ()
            time.sleep(min(_ASK_AGAIN, left))

    def _heard(
        self,
        before: Sequence[Command],
        stream: str,
        lease: str,
        after: str,
        wait: float,
    ) -> Heard:
        block = ("BLOCK", _ms(wait)) if wait else ()
        replies = self._run(
            *before,
            ("XREAD", "COUNT", 1000, *block, "STREAMS", stream, after),
            ("GET", lease),
            limit=self._timeout + wait,
            slotted=not wait,
        )
        for reply in replies[: len(before)]:
            self._sound(reply)
        streams, holder = (self._sound(reply) for reply in replies[-2:])
        if not isinstance(holder, bytes | None):
            raise StoreError(_NO_REDIS)
        return Heard(
            tuple(_records(streams)),
            None if holder is None else holder.decode("utf-8", "replace"),
        )

    # --- the calls themselves ---------------------------------------------

    def _texts(self, reply: Reply, count: int) -> list[str | None]:
        """The texts of an HMGET; anything may answer at an address."""
        if isinstance(reply, ErrorReply):
            self._complaint.refused(reply.remedy)
        items = self._sound(reply)
        if not isinstance(items, list) or len(items) != count:
            raise StoreError(_NO_REDIS)
        try:
            return [
                None if item is None else item.decode("utf-8", "replace")
                for item in items
            ]
        except AttributeError:  # no texts
            raise StoreError(_NO_REDIS) from None

    def _write(self, *command: str | bytes | int) -> Reply:
        return self._accepted(self._run(command)[0])

    def _run(
        self,
        *commands: Command,
        limit: float | None = None,
        forced: bool = False,
        slotted: bool = True,
    ) -> list[Reply]:
        if slotted:
            self._take_slot()
        try:
            # Only now: who waited for a slot must see a breaker that has opened.
            with self._breaker.call(forced=forced):
                return self._door.run(commands, limit or self._timeout)
        finally:
            if slotted:
                self._slots.put(None)

    def _run_aside(self, *commands: Command) -> list[Reply]:
        """The same for what is done behind the answers, which is longer and may wait.

        That it fails says little of how an answer would fare: it opens no breaker.
        """
        if self._breaker.is_open:
            raise NotAsked("Redis did not answer a moment ago and is being left alone.")
        self._take_slot()
        try:
            return self._door.run(commands, max(self._timeout, PATIENCE))
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


def _patience(entries: int) -> float:
    """How many limits a call with so many entries may take: they may be large."""
    return max(1.0, entries / _AT_ONCE)


def _set(write: Write) -> Command:
    command = ("SET", write.key, write.value, "PX", _ms(write.ttl))
    return (*command, "NX") if write.only_if_absent else command


def _look(key: str, hash_key: str, fields: Sequence[str], bid: Bid) -> Command:
    wanted = ["-" if text is None else f"+{text}" for text in bid.fields]
    names = key, hash_key, bid.lease
    return ("EVAL", scripts.LOOK, 3, *names, bid.token, _ms(bid.ttl), *fields, *wanted)


def _claim(entry: str, lease: str, token: str, ttl: float, over: str) -> Command:
    mark = token[token.rindex(".") :]
    return ("EVAL", scripts.CLAIM, 2, entry, lease, token, _ms(ttl), mark, over)


def _beat(beat: Beat) -> Command:
    ttls = int(beat.lease_ttl * 1000), _ms(beat.stream_ttl)
    names = beat.lease, beat.stream, beat.token
    return ("EVAL", scripts.BEAT, 2, *names, *ttls, *beat.records)


def _land(landing: Landing) -> Command:
    names = landing.entry, landing.lease, landing.stream, landing.token
    ttls = _ms(landing.ttl), _ms(landing.stream_ttl)
    value, told = landing.value or b"", landing.records
    return ("EVAL", scripts.LAND, 3, *names, value, *ttls, landing.seen, *told)


def _append(stream: str, records: Sequence[bytes], most: int, ttl: float) -> Command:
    # One script: as many commands would cost twenty times a record's time to send.
    return ("EVAL", scripts.APPEND, 1, stream, most, _ms(ttl), *records)


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _records(streams: Reply) -> list[tuple[str, bytes | None]]:
    """The records of the one stream in the reply to XREAD; it is None for none."""
    try:
        return [
            (position.decode(), _fields(pairs).get(b"d"))
            for _, records in streams or ()
            for position, pairs in records
        ]
    except (TypeError, ValueError, AttributeError):
        raise StoreError(_NO_REDIS) from None


def _table(reply: Reply) -> dict[str, str]:
    """The reply to HGETALL; a Cluster's has been parsed already."""
    try:
        return {
            name.decode("utf-8", "replace"): text.decode("utf-8", "replace")
            for name, text in _fields(reply).items()
        }
    except (TypeError, ValueError, AttributeError):
        raise StoreError(_NO_REDIS) from None


def _fields(pairs: Reply) -> dict[bytes, bytes]:
    if isinstance(pairs, dict):  # redis-py's client for a Cluster has parsed it
        return pairs
    return dict(zip(pairs[::2], pairs[1::2], strict=True))
