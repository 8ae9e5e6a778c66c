"""Entries, stamps, leases and streams in Redis or Valkey.

A look-up is one pipeline and, except in a Cluster, one round trip. The commands are GET
SET DEL EXISTS PEXPIRE PTTL TIME, HMGET HGETALL HSETNX HSET HDEL, EVAL, XADD XLEN XREAD.
A new connection sends AUTH and SELECT if the URL requires them. INFO is sent when
credentials are saved, if it is allowed. Values always get a time to live.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from cachecore.errors import NotAsked, StoreError
from cachecore.redis_url import RedisUrl
from cachecore.stores import messages
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
from cachecore.stores.breaker import Breaker
from cachecore.stores.connection import MAX_BLOCKING, Command, Reply, open_route
from cachecore.stores.messages import ErrorReply

# The limit in seconds of calls for which a person waits, such as an invalidation.
PATIENCE: Final = 3.0
# The number of entries in one call; a call with more entries has a longer limit.
_ENTRIES_A_CALL: Final = 8
# A follower that can't wait at the server reads again after this many seconds.
_ASK_AGAIN: Final = 0.05
_PROBE: Final = "dify:cache:v1:probe"
NO_REDIS: Final = (
    "The server at the Redis URL (redis_url) does not reply as a Redis does."
)

# --- Lua scripts: changes that must be atomic ---------------------------------------
#
# The keys of one script share a slot of a Cluster. A script delays all other clients, so
# each has only a few commands. The rules are policy.may_take_over and may_replace.

# KEYS entry lease; ARGV token, ttl in ms, take_over
_CLAIM: Final = """
local held = redis.pcall('GET', KEYS[2])
if type(held) == 'table' then redis.call('DEL', KEYS[2]) held = false end
local mark = string.match(ARGV[1], '[^.]*$')
if not held or ARGV[3] == '*' or ARGV[3] == held
    or string.match(held, '[^.]*$') ~= mark then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  held = ARGV[1]
end
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'table' then value = false end
local now = redis.call('TIME')
return {held, value, now[1], now[2]}
"""

# KEYS lease stream; ARGV token, ttl in ms, whether it renews, records…
_HEARTBEAT: Final = """
if ARGV[3] == '1' then
  local held = redis.call('GET', KEYS[1])
  if not held or held == ARGV[1] then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  end
end
for i = 4, #ARGV do redis.call('XADD', KEYS[2], '*', 'd', ARGV[i]) end
if ARGV[3] == '1' or redis.call('PTTL', KEYS[2]) == -1 then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return redis.call('XLEN', KEYS[2])
"""

# The header of an entry: three characters of its format, flags, 16 digits of its order.
_MAY_REPLACE: Final = """
local function may_replace(found, value)
  if type(found) ~= 'string' or string.sub(found, 1, 3) ~= string.sub(value, 1, 3) then
    return true
  end
  local current = tonumber(string.sub(found, 5, 20))
  return not current or current < tonumber(string.sub(value, 5, 20))
end
"""

# KEYS entry; ARGV value, its ttl in ms
_KEEP: Final = f"""{_MAY_REPLACE}
if not may_replace(redis.pcall('GET', KEYS[1]), ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS entry lease stream; ARGV token, value, its ttl in ms, linger in ms, records…
_COMMIT: Final = f"""{_MAY_REPLACE}
local kept = 0
if ARGV[2] ~= '' and may_replace(redis.pcall('GET', KEYS[1]), ARGV[2]) then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  kept = 1
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  for i = 5, #ARGV do redis.call('XADD', KEYS[3], '*', 'd', ARGV[i]) end
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return kept
"""

# KEYS stream lease; ARGV token, ttl in ms if this creates the stream
_SUBSCRIBE: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return ''
end
local subscription = redis.call('XADD', KEYS[1], '*', 's', '1')
if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return subscription
"""

# KEYS stream; ARGV approximate number of kept records, ttl in ms, records…
_APPEND: Final = """
for i = 3, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'e', ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# KEYS hash; ARGV ttl in ms
_END_ONCE: Final = """
if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
"""

# KEYS any; ARGV the reply
_ECHO: Final = "return ARGV[1]"

# KEYS any; returns the time of the server that has this key
_ORDER: Final = "return redis.call('TIME')"


class RedisStore:
    """A store in the Redis of ``url``. It connects at its first call.

    ``timeout`` in seconds is the budget of each call. Thread-safe. Users of one Redis
    share one store, because its breaker must count every failure.
    """

    shared = True

    def __init__(self, url: RedisUrl, timeout: float = 0.05) -> None:
        self._url = url
        self._timeout = timeout
        self._breaker = Breaker(url.shown, probe=self._probe)
        self._complaint = messages.Complaint(url.shown)
        self._followers = threading.BoundedSemaphore(MAX_BLOCKING)
        self._route = open_route(url, self._breaker.fail)

    # --- calls ------------------------------------------------------------

    def _run(
        self, *commands: Command, limit: float | None = None, forced: bool = False
    ) -> list[Reply]:
        with self._breaker.call(forced=forced):
            return self._route.run(commands, limit or self._timeout)

    def _run_in_background(self, *commands: Command) -> list[Reply]:
        """``_run`` for background work, which takes longer and may wait.

        A failure shows little about look-ups, so it does not open the breaker.
        """
        if self._breaker.is_open:
            raise NotAsked(
                "Redis did not answer a moment ago; it will be asked again soon."
            )
        return self._route.run(commands, max(self._timeout, PATIENCE))

    def _write(self, *command: str | bytes | int) -> Reply:
        return self._accepted(self._run(command)[0])

    def _probe(self) -> None:
        # The reply is as long as a look-up's reply, to test a slow network. An error
        # reply is an answer too: the user may lack the right for EVAL.
        self._route.run([("EVAL", _ECHO, 1, _PROBE, _PROBE * 10)], self._timeout)

    def outages(self) -> tuple[int, float]:
        return self._breaker.outages

    def close(self) -> None:
        """Drop the connections. The store may be used again; it reconnects."""
        self._route.close()

    # --- entries and stamps -----------------------------------------------

    def look_up(self, key: str, hash_key: str, fields: Sequence[str]) -> Found:
        value, texts = self._run(("GET", key), ("HMGET", hash_key, *fields))
        return Found(self._value(value), tuple(self._texts(texts, len(fields))))

    def look_up_many(
        self, keys: Sequence[str], hash_key: str, fields: Sequence[str]
    ) -> tuple[list[bytes | None], tuple[str | None, ...]]:
        gets: list[Command] = [("GET", key) for key in keys]
        *values, texts = self._run(
            *gets, ("HMGET", hash_key, *fields), limit=self._limit_for(len(keys))
        )
        return [self._value(v) for v in values], tuple(self._texts(texts, len(fields)))

    def _limit_for(self, entries: int) -> float:
        """The limit of a call with this many entries; entries may be large."""
        return self._timeout * max(1.0, entries / _ENTRIES_A_CALL)

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        self._write("SET", key, value, "PX", _ms(ttl))

    def keep_many(self, writes: Sequence[Write]) -> list[bool]:
        limit = self._limit_for(len(writes))
        replies = self._run(*map(_put, writes), limit=limit)
        return [self._accepted(reply) in (b"OK", True, 1) for reply in replies]

    def delete(self, key: str) -> None:
        self._write("DEL", key)

    def settle(
        self, hash_key: str, fields: Mapping[str, str], ttl: float | None = None
    ) -> dict[str, str]:
        ends: tuple[Command, ...] = ()
        if ttl is not None:
            ends = (("EVAL", _END_ONCE, 1, hash_key, _ms(ttl)),)
        *written, texts = self._run(
            *(("HSETNX", hash_key, field, text) for field, text in fields.items()),
            *ends,
            ("HMGET", hash_key, *fields),
        )
        for reply in written:
            self._accepted(reply)
        current = {}
        for field, text in zip(fields, self._texts(texts, len(fields)), strict=True):
            if text is None:
                # The stamp was evicted between the two commands.
                msg = "Redis evicts the cache's stamps as soon as they are written."
                raise StoreError(msg)
            current[field] = text
        return current

    def replace(
        self, hash_key: str, fields: Mapping[str, str], *, only_existing: bool = False
    ) -> dict[str, bool]:
        limit = max(self._timeout, PATIENCE)
        (reply,) = self._run(("HMGET", hash_key, *fields), limit=limit, forced=True)
        texts = self._texts(reply, len(fields))
        existed = {
            field: text is not None for field, text in zip(fields, texts, strict=True)
        }
        pairs = [
            part
            for field, text in fields.items()
            if existed[field] or not only_existing
            for part in (field, text)
        ]
        if pairs:
            (written,) = self._run(("HSET", hash_key, *pairs), limit=limit, forced=True)
            self._accepted(written)
        return existed

    def forget(self, hash_key: str, field: str) -> None:
        self._write("HDEL", hash_key, field)

    # --- statistics and events --------------------------------------------

    def publish(self, pages: Sequence[Page]) -> None:
        commands: list[Command] = []
        for page in pages:
            pairs = [part for pair in page.fields.items() for part in pair]
            commands.append(("HSET", page.name, *pairs))
            commands.append(("PEXPIRE", page.name, _ms(page.ttl)))
        for reply in self._run_in_background(*commands):
            self._accepted(reply)

    def append(
        self, stream: str, records: Sequence[bytes], most: int, ttl: float
    ) -> None:
        # One script: separate commands would take twenty times as long for each record.
        command: Command = ("EVAL", _APPEND, 1, stream, most, _ms(ttl), *records)
        self._accepted(self._run_in_background(command)[0])

    def tail(
        self, stream: str, after: str, count: int, *, in_background: bool = False
    ) -> list[tuple[str, bytes]]:
        run = self._run_in_background if in_background else self._run
        (reply,) = run(("XREAD", "COUNT", count, "STREAMS", stream, after or "0"))
        found = _records(_checked(reply), b"e")
        return [(position, data) for position, data in found if data is not None]

    def gather(self, names: Sequence[str]) -> list[dict[str, str]]:
        if not names:
            return []
        replies = self._run(
            *(("HGETALL", name) for name in names),
            limit=max(self._timeout, PATIENCE),
            forced=True,
        )
        return [_table(_checked(reply)) for reply in replies]

    # --- leases and streams -----------------------------------------------

    def order(self, key: str) -> int:
        reply = self._write("EVAL", _ORDER, 1, key)
        match reply:
            case [bytes() as seconds, bytes() as micros]:
                return _order(seconds, micros)
        raise StoreError(NO_REDIS)

    def claim(
        self, entry: str, lease: str, token: str, ttl: float, *, take_over: str = ""
    ) -> Claim:
        reply = self._write("EVAL", _CLAIM, 2, entry, lease, token, _ms(ttl), take_over)
        match reply:
            case [
                bytes() as holder,
                (bytes() | None) as value,
                bytes() as seconds,
                bytes() as micros,
            ]:
                name = holder.decode("utf-8", "replace")
                return Claim(name, value, _order(seconds, micros))
        raise StoreError(NO_REDIS)

    def heartbeat(self, beats: Sequence[Heartbeat]) -> list[int | None]:
        replies = self._run(*map(_heartbeat, beats))
        for reply in replies:
            if isinstance(reply, ErrorReply):
                self._complaint.refused(reply.remedy)
        return [reply if isinstance(reply, int) else None for reply in replies]

    def commit(self, commit: Commit) -> bool:
        names = commit.entry, commit.lease, commit.stream, commit.token
        ttls = _ms(commit.ttl), _ms(commit.linger)
        value = commit.value or b""
        return bool(
            self._write("EVAL", _COMMIT, 3, *names, value, *ttls, *commit.records) == 1
        )

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
        before: tuple[Command, ...] = ()
        if subscribe:
            before = (("EVAL", _SUBSCRIBE, 2, stream, lease, token, _ms(subscribe)),)
        names = stream, lease, token, after
        if self._route.blocks and wait and self._followers.acquire(blocking=False):
            try:
                return self._read(before, names, wait)
            finally:
                self._followers.release()
        until = time.monotonic() + wait
        while True:
            reply = self._read(before, names, 0)
            left = until - time.monotonic()
            if reply.records or left <= 0:
                return reply
            before = ()
            time.sleep(min(_ASK_AGAIN, left))

    def _read(
        self, before: Sequence[Command], names: tuple[str, str, str, str], wait: float
    ) -> StreamReply:
        stream, lease, token, after = names
        block = ("BLOCK", _ms(wait)) if wait else ()
        commands = (
            *before,
            ("XREAD", "COUNT", 1000, *block, "STREAMS", stream, after),
            ("GET", lease),
            ("EXISTS", stream),
        )
        with self._breaker.call():
            run = self._route.wait_for if wait else self._route.run
            replies = run(commands, self._timeout + wait)
        subscriptions = [_checked(reply) for reply in replies[: len(before)]]
        streams, holder, exists = (_checked(reply) for reply in replies[-3:])
        if not isinstance(holder, bytes | None):
            raise StoreError(NO_REDIS)
        alive = exists == 1 or holder == token.encode()
        subscription = (
            subscriptions[0].decode()
            if subscriptions and isinstance(subscriptions[0], bytes)
            else ""
        )
        return StreamReply(tuple(_records(streams)), alive, subscription)

    # --- facts of its servers ---------------------------------------------

    def facts(self) -> list[Facts]:
        replies = self._route.ask_each(("INFO",), max(self._timeout, PATIENCE))
        found = [Facts(server, messages.numbers(reply)) for server, reply in replies]
        return [facts for facts in found if facts.numbers]

    def check(self, key: str, hash_key: str) -> tuple[str, ...]:
        probe = key + ":check"
        lease, token = f"{key}:lease", "t.m"
        commit = (key, lease, probe, token, b"check", 1000, 1000, b"x")
        commands: tuple[Command, ...] = (
            ("HMGET", hash_key, "switch"),
            ("HSETNX", probe, "field", "1"),
            ("HSET", probe, "field", "2"),
            ("EVAL", _END_ONCE, 1, probe, 1000),
            ("HGETALL", probe),
            ("HDEL", probe, "field"),
            ("DEL", probe),
            ("SET", key, b"check", "PX", 1000),
            ("GET", key),
            ("EVAL", _KEEP, 1, key, b"check", 1000),
            ("EVAL", _CLAIM, 2, key, lease, token, 1000, ""),
            ("EVAL", _SUBSCRIBE, 2, probe, lease, token, 1000),
            _heartbeat(Heartbeat(lease, probe, token, 1, records=(b"x",))),
            ("XREAD", "COUNT", 1, "STREAMS", probe, "0"),
            ("EXISTS", probe),
            ("EVAL", _APPEND, 1, probe, 1, 1000, b"x"),
            ("EVAL", _COMMIT, 3, *commit),
            ("DEL", probe),
            ("DEL", key),
        )
        limit = max(self._timeout, PATIENCE)
        for reply in self._run(*commands, limit=limit, forced=True):
            _checked(reply)
        started = time.monotonic()
        self._run(("HMGET", hash_key, "switch"), limit=limit)
        took = time.monotonic() - started
        return messages.slowness(took, self._timeout) + self.advice()

    def advice(self) -> tuple[str, ...]:
        """Advice on the setup, from the facts of the server."""
        if self._url.form == "cluster":
            # Each node has its own memory, and Dify does not use this Cluster.
            return ()
        names = (("EXISTS", name) for name in messages.NAMES_OF_DIFY)
        limit = max(self._timeout, PATIENCE)
        replies = self._run(("INFO", "memory"), *names, limit=limit, forced=True)
        return messages.advice(replies)

    # --- replies ----------------------------------------------------------

    def _value(self, reply: Reply) -> bytes | None:
        """The reply to a GET."""
        if isinstance(reply, ErrorReply):
            if "WRONGTYPE" in reply.text:
                # A value of another type is not an entry; the caller deletes it.
                return b""
            self._complaint.refused(reply.remedy)
        value = _checked(reply)
        if not isinstance(value, bytes | None):
            raise StoreError(NO_REDIS)
        return value

    def _texts(self, reply: Reply, count: int) -> list[str | None]:
        """The texts of an HMGET; raises StoreError if the server is no Redis."""
        if isinstance(reply, ErrorReply):
            self._complaint.refused(reply.remedy)
        items = _checked(reply)
        if not isinstance(items, list) or len(items) != count:
            raise StoreError(NO_REDIS)
        try:
            return [
                None if item is None else item.decode("utf-8", "replace")
                for item in items
            ]
        except AttributeError:  # the items are not texts
            raise StoreError(NO_REDIS) from None

    def _accepted(self, reply: Reply) -> Reply:
        """The reply to a write. A refused write is logged."""
        if isinstance(reply, ErrorReply):
            self._complaint.refused(reply.remedy)
        else:
            self._complaint.accepted()
        return _checked(reply)

    def __repr__(self) -> str:
        state = "open" if self._breaker.is_open else "closed"
        return f"<RedisStore {self._url.shown}, breaker {state}>"


def _checked(reply: Reply) -> Reply:
    """The reply; raises an error reply as StoreError.

    An error reply does not open the breaker, because the server has answered.
    """
    if isinstance(reply, ErrorReply):
        raise StoreError(reply.remedy)
    return reply


def _put(write: Write) -> Command:
    if write.only_if_absent:
        return ("SET", write.key, write.value, "PX", _ms(write.ttl), "NX")
    return ("EVAL", _KEEP, 1, write.key, write.value, _ms(write.ttl))


def _heartbeat(beat: Heartbeat) -> Command:
    names = beat.lease, beat.stream, beat.token
    renews = int(beat.renews)
    return ("EVAL", _HEARTBEAT, 2, *names, _ms(beat.ttl), renews, *beat.records)


def _ms(seconds: float) -> int:
    """Whole milliseconds, at least one."""
    return max(1, int(seconds * 1000))


def _order(seconds: bytes, micros: bytes) -> int:
    return int(seconds) * 1_000_000 + int(micros)


def _records(streams: Reply, field: bytes = b"d") -> list[tuple[str, bytes | None]]:
    """The records of the single stream in a reply to XREAD; none if it is None."""
    try:
        return [
            (position.decode(), _fields(pairs).get(field))
            for _, records in streams or ()
            for position, pairs in records
        ]
    except (TypeError, ValueError, AttributeError):
        raise StoreError(NO_REDIS) from None


def _table(reply: Reply) -> dict[str, str]:
    """The fields and texts in a reply to HGETALL."""
    try:
        return {
            name.decode("utf-8", "replace"): text.decode("utf-8", "replace")
            for name, text in _fields(reply).items()
        }
    except (TypeError, ValueError, AttributeError):
        raise StoreError(NO_REDIS) from None


def _fields(pairs: Reply) -> dict[bytes, bytes]:
    """The names and values of a flat list."""
    if isinstance(pairs, dict):  # parsed already, by redis-py's Cluster client
        return pairs
    return dict(zip(pairs[::2], pairs[1::2], strict=True))
