"""Entries, stamps, leases and streams in Redis or Valkey, as commands.

A look-up is one pipeline and, off a cluster, one round trip. Commands used:
GET SET DEL EXISTS PEXPIRE, HMGET HGETALL HSETNX HSET HDEL, EVAL, XADD XLEN XREAD; on
connecting AUTH and SELECT where the URL asks for them; INFO when credentials
are saved, if it is allowed. Values always get a time to live.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from cachecore.errors import StoreError
from cachecore.stores import commands, health
from cachecore.stores.base import (
    Beat,
    Bid,
    Claim,
    Facts,
    Found,
    Heard,
    Landing,
    Page,
    Write,
)
from cachecore.stores.calls import PATIENCE, Calls
from cachecore.stores.remedies import ErrorReply
from cachecore.stores.sockets import Command, Reply

_ASK_AGAIN: Final = 0.05
# After one that was refused, no bid is sent for so long.
_NO_BIDS: Final = 60.0
# A listener's sign outlives any lease, for the leader makes the stream its own.
_SIGN_TTL: Final = 60_000


class RedisStore(Calls):
    """A store in the Redis that ``url`` names. Connects when first asked.

    ``timeout`` in seconds bounds each call as a whole. Thread-safe, and made to
    be shared: what is known of a Redis (its breaker) is known to all who use it.
    """

    shared = True

    # --- entries and stamps -----------------------------------------------

    def look_up(
        self, key: str, hash_key: str, fields: Sequence[str], bid: Bid | None = None
    ) -> Found:
        if bid is not None and self.bids:
            reply = self._run(commands.look(key, hash_key, fields, bid))[0]
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
            raise StoreError(commands.NO_REDIS)
        return reply

    def look_up_many(
        self, keys: Sequence[str], hash_key: str, fields: Sequence[str]
    ) -> tuple[list[bytes | None], tuple[str | None, ...]]:
        gets: list[Command] = [("GET", key) for key in keys]
        limit = self._timeout * commands.patience(len(keys))
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
            raise StoreError(commands.NO_REDIS)
        return value

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        self._write("SET", key, value, "PX", commands.ms(ttl))

    def keep_many(self, kept: Sequence[Write]) -> None:
        limit = self._timeout * commands.patience(len(kept))
        for reply in self._run(*map(commands.put, kept), limit=limit):
            self._accepted(reply)

    def delete(self, key: str) -> None:
        self._write("DEL", key)

    def settle(
        self, hash_key: str, fields: Mapping[str, str], ttl: float | None = None
    ) -> dict[str, str]:
        ends = () if ttl is None else (("PEXPIRE", hash_key, commands.ms(ttl)),)
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
        calls: list[Command] = []
        for page in pages:
            pairs = [part for pair in page.fields.items() for part in pair]
            calls.append(("HSET", page.name, *pairs))
            calls.append(("PEXPIRE", page.name, commands.ms(page.ttl)))
        for reply in self._run_aside(*calls):
            self._accepted(reply)

    def append(
        self, stream: str, records: Sequence[bytes], most: int, ttl: float
    ) -> None:
        command = commands.append(stream, records, most, ttl)
        self._accepted(self._run_aside(command)[0])

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
        return [commands.table(self._sound(reply)) for reply in replies]

    def check(self, key: str, hash_key: str) -> tuple[str, ...]:
        probe = key + ":check"
        lease, token = f"{key}:lease", "t.m"
        calls: tuple[Command, ...] = (
            ("HMGET", hash_key, "switch"),
            ("HSETNX", probe, "field", "1"),
            ("HSET", probe, "field", "2"),
            ("HGETALL", probe),
            ("HDEL", probe, "field"),
            ("DEL", probe),
            ("SET", key, b"check", "PX", 1000),
            ("GET", key),
            commands.claim(key, lease, token, 1, ""),
            commands.beat(Beat(lease, probe, token, 1, 1, (b"x",))),
            ("XREAD", "COUNT", 1, "STREAMS", probe, "0"),
            commands.append(probe, [b"x"], 1, 1),
            commands.land(Landing(key, lease, probe, token, b"check", 1, (b"x",), 1)),
            ("DEL", probe),
            ("DEL", key),
        )
        limit = max(self._timeout, PATIENCE)
        for reply in self._run(*calls, limit=limit, forced=True):
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
        match self._write(*commands.claim(entry, lease, token, ttl, over)):
            case [bytes() as holder, (bytes() | None) as value]:
                return Claim(holder.decode("utf-8", "replace"), value)
        raise StoreError(commands.NO_REDIS)

    def beat(self, beats: Sequence[Beat]) -> list[int | None]:
        replies = self._run(*map(commands.beat, beats))
        for reply in replies:
            if isinstance(reply, ErrorReply):
                self._complaint.refused(reply.remedy)
        return [reply if isinstance(reply, int) else None for reply in replies]

    def land(self, landing: Landing) -> bool:
        return bool(self._write(*commands.land(landing)) == 1)

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
        block = ("BLOCK", commands.ms(wait)) if wait else ()
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
            raise StoreError(commands.NO_REDIS)
        return Heard(
            tuple(commands.records(streams)),
            None if holder is None else holder.decode("utf-8", "replace"),
        )
