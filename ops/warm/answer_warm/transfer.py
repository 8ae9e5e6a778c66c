"""Sealed entries from one Redis to another.

Each line of the file is a JSON object: first the namespace, then its stamps, then entries. The
bytes are copied unchanged, so that entries with a secret remain sealed. Leases, streams,
statistics and the namespace's own secret are not copied.
"""

import base64
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any, Final

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from answer_warm.rows import BadFile, json_object
from cachecore.entry import order_of
from cachecore.keys import PREFIX, Keyspace
from cachecore.redis_url import RedisUrl, parse
from cachecore.stores.base import Write
from cachecore.stores.redis import RedisStore

FORMAT: Final = "answer-cache-entries/1"
_AT_ONCE: Final = 100
_TIMEOUT: Final = 5.0
_LATEST: Final = 1e11  # seconds since the epoch
_STAMP: Final = "t:"  # the prefix of the fields of stamps; other fields are no stamps


@dataclass
class Moved:
    """The results of a transfer. ``faults`` name the lines that are no entries."""

    entries: int = 0
    there: int = 0  # the Redis had the same or newer entries
    over: int = 0  # expired entries
    other_stamps: int = 0  # tags with another stamp in this Redis
    faults: list[str] = field(default_factory=list)


def save(url_text: str, namespace: str, path: Path) -> Moved:
    """Write the entries of a namespace to a file. Raises redis.RedisError, ConfigError."""
    moved, keyspace = Moved(), Keyspace(namespace)
    source = _client(parse(url_text))
    found = source.hgetall(keyspace.stamps)
    stamps = {
        field.decode(): stamp.decode()
        for field, stamp in found.items()
        if field.startswith(_STAMP.encode())
    }
    part = path.with_name(path.name + ".part")
    # Only the user may read the file: it has the content of the Redis.
    part.unlink(missing_ok=True)
    part.touch(0o600)
    heads = {"format": FORMAT, "namespace": namespace}, {"stamps": stamps}
    with part.open("w", encoding="ascii") as file:
        file.writelines(json.dumps(head) + "\n" for head in heads)
        names = source.scan_iter(match=f"{PREFIX}:{namespace}:*", count=1000)
        entries = (name for name in names if keyspace.is_entry(name.decode()))
        for some in batched(entries, _AT_ONCE):
            for line in _lines(source, some):
                file.write(line)
                moved.entries += 1
    part.replace(path)
    return moved


def _lines(source: Any, names: tuple[bytes, ...]) -> Iterator[str]:
    with source.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.get(name)
            pipe.pttl(name)
        replies = pipe.execute(raise_on_error=False)
    now = time.time()
    for name, value, left in zip(names, replies[::2], replies[1::2], strict=True):
        if not isinstance(value, bytes) or not isinstance(left, int) or left <= 0:
            continue  # It expired meanwhile, or is not an entry.
        entry = {
            "key": name.decode(),
            "ends_at": round(now + left / 1000, 3),
            "value": base64.b64encode(value).decode(),
        }
        yield json.dumps(entry) + "\n"


def load(url_text: str, path: Path) -> Moved:
    """Keep the entries of a file. Raises BadFile, StoreError, ConfigError.

    Present stamps are not replaced, so that entries which were invalidated in this Redis
    stay invalidated. Newer entries are not replaced either.
    """
    moved = Moved()
    store = RedisStore(parse(url_text), _TIMEOUT)
    try:
        with path.open(encoding="utf-8") as file:
            lines = enumerate(file, 1)
            keyspace = _begin(store, path, lines, moved)
            for some in batched(lines, _AT_ONCE):
                writes = list(_writes(keyspace, some, moved))
                kept = store.keep_many(writes) if writes else []
                moved.entries += sum(kept)
                moved.there += len(kept) - sum(kept)
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} can't be read: {type(error).__name__}.") from error
    finally:
        store.close()
    return moved


def _begin(
    store: RedisStore, path: Path, lines: Iterator[tuple[int, str]], moved: Moved
) -> Keyspace:
    head, stamps = (
        json_object(line) for _, line in (next(lines, (0, "")) for _ in "12")
    )
    namespace, found = head.get("namespace"), stamps.get("stamps")
    if head.get("format") != FORMAT or not isinstance(namespace, str):
        msg = f"{path} is no export of entries; make one with scripts/warm export."
        raise BadFile(msg)
    if not isinstance(found, dict) or not all(
        isinstance(stamp, str) and name.startswith(_STAMP)
        for name, stamp in found.items()
    ):
        raise BadFile(f"{path} has no stamps in its second line; export it anew.")
    keyspace = Keyspace(namespace)
    if found:
        standing = store.settle(keyspace.stamps, found)
        moved.other_stamps = sum(found[name] != standing[name] for name in found)
    return keyspace


def _writes(
    keyspace: Keyspace, lines: Iterable[tuple[int, str]], moved: Moved
) -> Iterator[Write]:
    now = time.time()
    for number, line in lines:
        data = json_object(line)
        key, ends_at, text = (
            data.get("key"),
            _time(data.get("ends_at")),
            data.get("value"),
        )
        try:
            value = base64.b64decode(text or "", validate=True)
        except (TypeError, ValueError):
            value = b""
        if not isinstance(key, str) or not keyspace.is_entry(key):
            moved.faults.append(
                f"line {number}: has no key of an entry of this namespace"
            )
        elif ends_at is None:
            moved.faults.append(
                f"line {number}: has no time at which it ends (ends_at)"
            )
        elif order_of(value) is None:
            moved.faults.append(f"line {number}: has no entry as its value, in base64")
        elif ends_at <= now:
            moved.over += 1
        else:
            yield Write(key, value, ends_at - now)


def _time(value: Any) -> float | None:
    """The seconds since the epoch; None if the value is not a time."""
    valid = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if valid and 0 <= value < _LATEST else None


def _client(url: RedisUrl) -> Any:
    """redis-py's client for any form of URL, because the core's store can't list keys."""
    login: dict[str, Any] = {
        "username": url.username,
        "password": url.password,
        "socket_timeout": _TIMEOUT,
    }
    if url.form == "unix":
        return redis.Redis(unix_socket_path=url.path, db=url.db, **login)
    if url.tls:
        login |= {
            "ssl": True,
            "ssl_ca_certs": url.ca_certs,
            "ssl_certfile": url.certfile,
            "ssl_keyfile": url.keyfile,
        }
    if url.form == "cluster":
        nodes = [ClusterNode(host, port) for host, port in url.hosts]
        return RedisCluster(startup_nodes=nodes, **login)
    if url.form == "sentinel":
        own = {
            "username": url.sentinel_username,
            "password": url.sentinel_password,
            "ssl": url.tls,
            "socket_timeout": _TIMEOUT,
        }
        sentinel = Sentinel(url.hosts, sentinel_kwargs=own)
        return sentinel.master_for(url.service, db=url.db, **login)
    host, port = url.hosts[0]
    return redis.Redis(host=host, port=port, db=url.db, **login)
