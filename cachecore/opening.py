"""Opens a cache from settings, and remembers it: equal settings are one cache.

Dify makes new objects of the plugins' classes for every call, so this module remembers
opened caches by their settings. This, and the settings that ``config`` remembers, is the
only state of the core outside a Cache.
"""

import hashlib
import threading
import time
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from cachetools import LRUCache

from cachecore import redis_url
from cachecore.background import Background
from cachecore.cache import Cache
from cachecore.event_log import EventLog, Mode
from cachecore.keys import PREFIX, Keyspace
from cachecore.statistics import Statistics
from cachecore.stores.memory import MemoryStore
from cachecore.stores.redis import RedisStore

_REMEMBERED_CACHES: Final = 256


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The settings of a cache. Equal settings open the same cache."""

    namespace: str
    redis_url: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    timeout: float = 0.05
    memory_bytes: int = 64 * 1024 * 1024
    events: Mode = "sizes"
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A cache, and the statistics of its namespace."""

    cache: Cache
    statistics: Statistics


_opened: LRUCache[StoreSettings, Opened] = LRUCache(_REMEMBERED_CACHES)


# One for each Redis, for all of its namespaces: an outage affects all of them.
_stores: WeakValueDictionary[tuple[str, float], RedisStore] = WeakValueDictionary()


_opened_lock = threading.Lock()  # guards both


def open_cache(settings: StoreSettings) -> Cache:
    """The cache of these settings: the same one for equal settings.

    It does not connect yet.
    """
    return _open(settings).cache


def open_statistics(settings: StoreSettings) -> Statistics:
    """The statistics of the namespace of these settings, of all processes."""
    return _open(settings).statistics


def _open(settings: StoreSettings) -> Opened:
    with _opened_lock:
        opened = _opened.get(settings)
        if opened is None:
            opened = _opened[settings] = _make(settings)
        return opened


def _make(settings: StoreSettings) -> Opened:
    store = (
        _redis_store(settings)
        if settings.redis_url
        else MemoryStore(settings.memory_bytes)
    )
    fingerprint_key = cipher_key = None
    if settings.secret:
        fingerprint_key, cipher_key = derive_keys(settings.secret, settings.namespace)
    keyspace = Keyspace(settings.namespace, fingerprint_key)
    background = Background(at_once=settings.at_once)
    statistics = Statistics(
        store,
        keyspace,
        cipher_key=cipher_key,
        background=background,
    )
    event_log = None
    if store.shared and settings.events != "off":  # No other process reads a memory.
        texts = settings.events == "texts"
        event_log = EventLog(
            store, keyspace, background, time.time, statistics.lost, texts, cipher_key
        )
        background.also(event_log.flush)
    background.also(statistics.job)  # Last, so that lost events are counted.
    cache = Cache(
        store, keyspace, cipher_key=cipher_key, hook=statistics, event_log=event_log
    )
    return Opened(cache, statistics)


def _redis_store(settings: StoreSettings) -> RedisStore:
    place = settings.redis_url, settings.timeout
    store = _stores.get(place)
    if store is None:
        store = RedisStore(redis_url.parse(settings.redis_url), settings.timeout)
        _stores[place] = store
    return store


def derive_keys(secret: str, namespace: str) -> tuple[bytes, bytes]:
    """A key for fingerprints and one for entries, of 32 bytes each.

    scrypt, about 50 ms: people choose the secrets, and an attacker with a copy of the
    Redis can test guesses. It runs once for each cache, because caches are remembered.
    Both plugins derive the same keys: the parameters are part of the contract.
    """
    salt = f"{PREFIX}:{namespace}".encode()
    keys = hashlib.scrypt(secret.encode(), salt=salt, n=2**14, r=8, p=1, dklen=64)
    return keys[:32], keys[32:]
