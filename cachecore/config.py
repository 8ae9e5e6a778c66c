"""Settings from strings, checked once.

A form contains text. Each mistake in it raises ConfigError with one English sentence that
names the field and the remedy. Dify makes new objects of the plugins' classes for every
call, so this module remembers the settings by the text of their form.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache, wraps
from typing import Any, Final

import orjson

from cachecore import redis_url
from cachecore.errors import ConfigError, NoTenant, UnkeyableError
from cachecore.keys import canonical, fingerprint
from cachecore.opening import StoreSettings
from cachecore.options import Options, read_options
from cachecore.policy import MAX_TTL, TTL_CLASSES, Price, Rules, Scope
from cachecore.stamps import plain_tag

# The operator's environment. These are our own names: the daemon gives plugins its whole
# environment, in which names such as REDIS_URL belong to Dify.
ENV_REDIS_URL: Final = "ANSWER_CACHE_REDIS_URL"
ENV_ALLOWED_REDIS: Final = "ANSWER_CACHE_ALLOWED_REDIS"

NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# The lifetime of answers if a form sets none; and the word that switches the cache off.
DEFAULT: Final = "6 hours"
OFF: Final = "off"
_MIN_SECRET: Final = 12
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(
    r"([0-9]{1,7}) ?(s|seconds?|m|min|minutes?|h|hours?|d|days?)?", re.ASCII
)
_MAX_TAGS: Final = 16
_MAX_TAG: Final = 100
_REMEMBERED_FORMS: Final = 256


@dataclass(frozen=True, slots=True)
class Settings[O: Options]:
    """The settings of a form."""

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

    ``tenant`` is a digest that distinguishes this form's owner from others. It matters
    without a Redis: one process serves all workspaces of a daemon, and anyone may type a
    namespace. ``at_once`` says that nothing can run after a call, so that its counts are
    published before it ends.
    """
    options = read_options(_text(form, "cache_options"), options_type)
    for wanted, option, remedy in (
        (options.audit_percent, "audit_percent", "leave it out"),
        (options.match == "meaning", "match: meaning", "use normalized"),
    ):
        if at_once and wanted:
            sentence = (
                f"Cache options (cache_options): {option} needs a plugin daemon that lives on "
                f"behind an answer, which a serverless runtime does not; {remedy}."
            )
            raise ConfigError("cache_options", sentence)
    lifetime = _text(form, "cache_ttl") or DEFAULT
    return Settings(
        store=replace(_read_store(form, environ, options, tenant), at_once=at_once),
        rules=Rules(
            enabled=lifetime != OFF,
            ttl=options.ttl_seconds
            or read_ttl(DEFAULT if lifetime == OFF else lifetime),
            scope=_scope(form),
            max_temperature=options.max_temperature,
            max_entry_bytes=options.max_entry_bytes,
            price=Price(**dict(options.price)),
            stale_while_revalidate=options.stale_while_revalidate_seconds,
            stale_if_error=options.stale_if_error_seconds,
            join_without_store=options.join_without_store_seconds,
            first_token_budget=options.first_token_budget_ms / 1000,
            audit_share=options.audit_percent / 100,
            audit_repairs=options.audit_repairs,
            audits_a_minute=options.audits_per_minute,
            audit_money_a_minute=options.audit_money_per_minute,
        ),
        options=options,
    )


def read_ttl(text: str, name: str = "cache_ttl") -> int:
    """A lifetime in seconds, from a choice of the forms or a whole number."""
    word = text.strip().lower()
    if word in TTL_CLASSES:
        return TTL_CLASSES[word]
    found = _DURATION.fullmatch(word)
    if found:
        seconds = int(found[1]) * _UNITS[(found[2] or "")[:1]]
        if 0 < seconds <= MAX_TTL:
            return seconds
    sentence = (
        f"How long answers are kept ({name}) must be as in 5 minutes, 1 hour or 7 days, or "
        f"a whole number of seconds from 1 to {MAX_TTL}, not {text[:40]!r}."
    )
    raise ConfigError(name, sentence)


def read_tags(text: str, name: str = "cache_tags") -> tuple[str, ...]:
    """Tags from a comma-separated list, without empty and repeated ones."""
    if not text:
        return ()
    given = (plain_tag(tag) for tag in text.replace("，", ",").split(","))
    tags = tuple(dict.fromkeys(filter(None, given)))
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
    namespace = _namespace(form, needed=bool(url))
    secret = _secret(form)
    if not url:
        if not (tenant or secret):
            raise NoTenant(
                redis_url.FIELD,
                "Redis URL (redis_url) is empty: without a Redis, fill in Cache Secret "
                "(cache_secret), so that no other workspace can share your answers.",
            )
        namespace = "memory-" + fingerprint(canonical([tenant, namespace, secret]))[:32]
    return StoreSettings(
        namespace=namespace,
        redis_url=url,
        secret=secret,
        timeout=options.redis_timeout_ms / 1000,
        memory_bytes=options.memory_bytes,
        events=options.events,
    )


def _namespace(form: Mapping[str, object], *, needed: bool) -> str:
    namespace = _text(form, "cache_namespace")
    if namespace and not NAMESPACE.fullmatch(namespace):
        sentence = (
            "Cache namespace (cache_namespace) may have 1 to 64 letters, digits, dots, "
            "hyphens and underscores."
        )
        raise ConfigError("cache_namespace", sentence)
    if needed and not namespace:
        sentence = (
            "Cache namespace (cache_namespace) is required with a Redis; choose a name "
            "that no other workspace on this Redis uses."
        )
        raise ConfigError("cache_namespace", sentence)
    return namespace


def _secret(form: Mapping[str, object]) -> str:
    secret = _text(form, "cache_secret")
    if secret and len(secret) < _MIN_SECRET:
        sentence = (
            f"Cache secret (cache_secret) needs at least {_MIN_SECRET} characters; "
            "use a long random one, or leave it empty."
        )
        raise ConfigError("cache_secret", sentence)
    return secret


def _allow(url: redis_url.RedisUrl, allowed: str | None) -> None:
    """Refuse addresses that the daemon's operator does not permit to forms.

    Without the variable every TCP address is permitted, because a self-hosted Redis has
    an internal one. A UNIX socket is a file of the daemon's machine, and must be listed.
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


def _scope(form: Mapping[str, object]) -> Scope:
    value = _text(form, "cache_scope") or Scope.SHARED
    if value not in Scope:
        sentence = (
            f"Who shares an answer (cache_scope) must be one of {', '.join(Scope)}, not "
            f"{value[:40]!r}."
        )
        raise ConfigError("cache_scope", sentence)
    return Scope(value)


def remembered[F](
    read: Callable[[Mapping[str, Any]], F],
) -> Callable[[Mapping[str, Any]], F]:
    """``read`` with a memory: it runs once for equal forms.

    ``read`` may raise ConfigError. The returned function also raises it for a form that
    is not text.
    """

    @lru_cache(_REMEMBERED_FORMS)
    def once(memo: tuple[tuple[str, str], ...] | bytes) -> F:
        return read(orjson.loads(memo if isinstance(memo, bytes) else _text_of(memo)))

    @wraps(read)
    def call(form: Mapping[str, Any]) -> F:
        # Most forms contain only texts: they are compared directly, for each request.
        texts = all(type(value) is str for value in form.values())
        return once(tuple(form.items()) if texts else _text_of(form.items()))

    return call


def _text_of(items: Iterable[tuple[str, Any]]) -> bytes:
    try:
        return canonical(dict(items))
    except UnkeyableError:
        # Otherwise a lone surrogate, for example, would fail in each request.
        sentence = "The form holds characters that are no text; type the fields again."
        raise ConfigError("credentials", sentence) from None
