"""Settings from strings, checked once; opens a cache from them.

A form hands over text. Each mistake in it raises ConfigError: one English
sentence that names the field and the remedy. Dify builds the plugins' shells
anew for every call, so what was read and opened is remembered here, by the
text it came from; this is the only state of the core outside a Cache.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Final
from weakref import WeakValueDictionary

from cachetools import LRUCache

from cachecore import redis_url
from cachecore.behind import Behind
from cachecore.cache import Cache
from cachecore.errors import ConfigError, UnkeyableError
from cachecore.journal import Journal, Mode
from cachecore.keys import PREFIX, Keyspace, canonical, fingerprint
from cachecore.options import Options, read_options
from cachecore.policy import MAX_TTL, TTL_CLASSES, Price, Rules, Scope
from cachecore.statistics import Statistics
from cachecore.stores.memory import MemoryStore
from cachecore.stores.redis import RedisStore

# The operator's environment. Own names: the daemon hands plugins its whole
# environment, in which REDIS_URL and the like belong to Dify.
ENV_REDIS_URL: Final = "RESPONSE_CACHE_REDIS_URL"
ENV_ALLOWED_REDIS: Final = "RESPONSE_CACHE_ALLOWED_REDIS"

NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MIN_SECRET: Final = 12
_MAX_TAGS: Final = 16
_MAX_TAG: Final = 100
_REMEMBERED_CACHES: Final = 256
_REMEMBERED_FORMS: Final = 256


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Which cache to open. Equal settings open the same one."""

    namespace: str
    redis_url: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    timeout: float = 0.05
    memory_bytes: int = 64 * 1024 * 1024
    events: Mode = "sizes"
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Settings[O: Options]:
    """A form, read."""

    store: StoreSettings
    rules: Rules
    options: O


def read[O: Options](
    form: Mapping[str, object],
    environ: Mapping[str, str],
    options_type: type[O],
    tenant: str = "",
    *,
    at_once: bool = False,
) -> Settings[O]:
    """The cache fields of a form: redis_url and cache_*. Raises ConfigError.

    ``tenant`` is a digest of what tells this form's owner from others. It counts
    where there is no Redis: one process serves all workspaces of a daemon, and
    a namespace is a name that anyone may type. ``at_once`` says that nothing runs
    behind a call: what is counted goes out before it ends.
    """
    options = read_options(_text(form, "cache_options"), options_type)
    return Settings(
        store=replace(_read_store(form, environ, options, tenant), at_once=at_once),
        rules=Rules(
            enabled=_choice(form, "cache_mode", "Cache", ("exact", "off")) == "exact",
            ttl=read_ttl(_text(form, "cache_ttl") or "faq"),
            scope=Scope(
                _choice(form, "cache_scope", "Cache Scope", [s.value for s in Scope])
            ),
            max_temperature=options.max_temperature,
            max_entry_bytes=options.max_entry_bytes,
            price=Price(
                options.price.input,
                options.price.output,
                options.price.per,
                options.price.currency,
            ),
            stale_while_revalidate=options.stale_while_revalidate_seconds,
            stale_if_error=options.stale_if_error_seconds,
        ),
        options=options,
    )


def read_ttl(text: str, name: str = "cache_ttl") -> int:
    """A lifetime in seconds, from a TTL class or a whole number."""
    word = text.strip().lower()
    if word in TTL_CLASSES:
        return TTL_CLASSES[word]
    if word.isascii() and word.isdigit() and len(word) <= len(str(MAX_TTL)):
        seconds = int(word)
        if 0 < seconds <= MAX_TTL:
            return seconds
    classes = ", ".join(TTL_CLASSES)
    sentence = (
        f"Cache TTL ({name}) must be {classes} or a whole number of seconds from 1 to "
        f"{MAX_TTL}, not {text[:40]!r}."
    )
    raise ConfigError(name, sentence)


def read_tags(text: str, name: str = "cache_tags") -> tuple[str, ...]:
    """Tags from a comma-separated list, without empty and repeated ones."""
    tags = tuple(dict.fromkeys(tag.strip() for tag in text.split(",") if tag.strip()))
    if len(tags) > _MAX_TAGS or any(len(tag) > _MAX_TAG for tag in tags):
        sentence = (
            f"Cache tags ({name}) may be at most {_MAX_TAGS}, of at most {_MAX_TAG} "
            "characters each, separated by commas."
        )
        raise ConfigError(name, sentence)
    return tags


def _read_store(
    form: Mapping[str, object],
    environ: Mapping[str, str],
    options: Options,
    tenant: str,
) -> StoreSettings:
    url = _text(form, "redis_url")
    if url:
        _allow(redis_url.parse(url), environ.get(ENV_ALLOWED_REDIS))
    else:
        url = environ.get(ENV_REDIS_URL, "").strip()
        if url:
            redis_url.parse(url)
    namespace = _text(form, "cache_namespace")
    if namespace and not NAMESPACE.fullmatch(namespace):
        sentence = (
            "Cache namespace (cache_namespace) may have 1 to 64 letters, digits, dots, "
            "hyphens and underscores."
        )
        raise ConfigError("cache_namespace", sentence)
    if url and not namespace:
        sentence = (
            "Cache namespace (cache_namespace) is required with a Redis; choose a name "
            "that no other workspace on this Redis uses."
        )
        raise ConfigError("cache_namespace", sentence)
    secret = _text(form, "cache_secret")
    if secret and len(secret) < _MIN_SECRET:
        sentence = (
            f"Cache secret (cache_secret) needs at least {_MIN_SECRET} characters; "
            "use a long random one, or leave it empty."
        )
        raise ConfigError("cache_secret", sentence)
    if not url:
        if not (tenant or secret):
            sentence = (
                "Redis URL (redis_url) is required; without one, set a cache secret "
                "(cache_secret) that tells this workspace from others."
            )
            raise ConfigError(redis_url.FIELD, sentence)
        namespace = "memory-" + fingerprint(canonical([tenant, namespace, secret]))[:32]
    return StoreSettings(
        namespace=namespace,
        redis_url=url,
        secret=secret,
        timeout=options.redis_timeout_ms / 1000,
        memory_bytes=options.memory_bytes,
        events=options.events,
    )


def _allow(url: redis_url.RedisUrl, allowed: str | None) -> None:
    """Refuse places that the daemon's operator did not open to forms.

    Without the variable any TCP address may be named, for a self-hosted Redis
    has an internal one; a UNIX socket is a file of the daemon's machine and
    must be listed.
    """
    if allowed is None and url.form != "unix":
        return
    patterns = [item.strip() for item in (allowed or "").split(",") if item.strip()]
    places = [url.path] if url.form == "unix" else [host for host, _ in url.hosts]
    for place in places:
        if not any(fnmatchcase(place, pattern) for pattern in patterns):
            sentence = (
                "Redis URL (redis_url) names a place that this Dify's operator does not "
                f"allow; ask for it to be listed in {ENV_ALLOWED_REDIS}."
            )
            raise ConfigError(redis_url.FIELD, sentence)


def _text(form: Mapping[str, object], name: str) -> str:
    value = form.get(name)
    return "" if value is None else str(value).strip()


def _choice(
    form: Mapping[str, object], name: str, label: str, choices: Sequence[str]
) -> str:
    """One of ``choices``; the first is the default."""
    value = _text(form, name) or choices[0]
    if value not in choices:
        sentence = (
            f"{label} ({name}) must be one of {', '.join(choices)}, not {value[:40]!r}."
        )
        raise ConfigError(name, sentence)
    return value


class Remembered[F]:
    """Reads a form, and once only: what was read is remembered by what it came from.

    ``read`` may raise ConfigError; so does this for a form that is no text.
    """

    def __init__(self, read: Callable[[Mapping[str, Any]], F]) -> None:
        self._read = read
        self._forms: LRUCache[Hashable, F] = LRUCache(_REMEMBERED_FORMS)
        self._lock = threading.Lock()  # guards _forms

    def __call__(self, form: Mapping[str, Any]) -> F:
        """The form in ``form``."""
        memo = _memo(form)
        with self._lock:
            read = self._forms.get(memo)
        if read is None:
            _digest(form)  # Half a surrogate pair would fail each request by itself.
            read = self._read(form)
            with self._lock:
                self._forms[memo] = read
        return read


def _memo(form: Mapping[str, Any]) -> Hashable:
    """What tells a form from others: itself, where it is texts alone, as most are."""
    if all(type(value) is str for value in form.values()):
        return tuple(form.items())
    return _digest(form)


def _digest(form: Mapping[str, Any]) -> str:
    try:
        return fingerprint(canonical(dict(form)))
    except UnkeyableError:
        sentence = "The form holds characters that are no text; type the fields again."
        raise ConfigError("credentials", sentence) from None


@dataclass(frozen=True, slots=True)
class Opened:
    """A cache, and what was counted in its namespace."""

    cache: Cache
    statistics: Statistics


_opened: LRUCache[StoreSettings, Opened] = LRUCache(_REMEMBERED_CACHES)
# One for each Redis, whatever the namespaces in it: it is slow or gone for all.
_stores: WeakValueDictionary[tuple[str, float], RedisStore] = WeakValueDictionary()
_opened_lock = threading.Lock()  # guards both


def open_cache(settings: StoreSettings) -> Cache:
    """The cache that these settings name: the same one for equal settings.

    Connects to nothing yet.
    """
    return _open(settings).cache


def open_statistics(settings: StoreSettings) -> Statistics:
    """What was counted in the namespace that these settings name, by everybody."""
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
    behind = Behind(at_once=settings.at_once)
    statistics = Statistics(
        store,
        keyspace,
        cipher_key=cipher_key,
        behind=behind,
    )
    store.watch(statistics)
    journal = None
    if store.shared and settings.events != "off":  # Nobody else reads a memory.
        texts = settings.events == "texts"
        journal = Journal(
            store, keyspace, behind, time.time, statistics.lost, texts, cipher_key
        )
        behind.also(journal.flush)
    behind.also(statistics.job)  # The last: what the journal loses is counted.
    cache = Cache(
        store, keyspace, cipher_key=cipher_key, hook=statistics, journal=journal
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

    scrypt, about 50 ms, because people choose secrets and a stolen Redis can
    be tried against them; once per cache, for the cache is remembered. Both
    plugins derive the same keys: the parameters are part of the contract.
    """
    salt = f"{PREFIX}:{namespace}".encode()
    keys = hashlib.scrypt(secret.encode(), salt=salt, n=2**14, r=8, p=1, dklen=64)
    return keys[:32], keys[32:]
