"""The worker's settings, from its environment: each mistake is one sentence."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

from elasticsearch import Elasticsearch
from kombu.connection import Connection

from cachecore.config import NAMESPACE
from cachecore.errors import ConfigError
from cachecore.opening import derive_keys
from cachecore.redis_url import RedisUrl, parse

_YES = {"yes": True, "no": False, "": False}


class BadSetting(Exception):
    """A variable is missing or invalid; ``str`` names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the worker, from its environment.

    ``plugged`` are the operator's own tasks, as ``module:function``. Times are in seconds.
    """

    redis: RedisUrl
    namespaces: tuple[str, ...]
    broker: str = field(repr=False)
    secret: str = field(default="", repr=False)
    elasticsearch: str = field(default="", repr=False)
    index: str = "answer-cache"
    ship_texts: bool = False
    plugged: tuple[str, ...] = ()
    first_pause: float = 2.0
    tries: int = 30

    def cipher_key(self, namespace: str) -> bytes | None:
        """The key with which the texts of a namespace are sealed."""
        return _cipher_key(self.secret, namespace) if self.secret else None


@cache
def _cipher_key(secret: str, namespace: str) -> bytes:
    return derive_keys(secret, namespace)[1]


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings; raises BadSetting."""
    given = _Environ(environ)
    try:
        redis = parse(given.needed("REDIS_URL", "the Redis URL of the plugins"))
    except ConfigError as error:
        raise BadSetting(f"ANSWER_CACHE_WORKER_REDIS_URL: {error}") from None
    ships = given.text("SHIP_TEXTS").lower()
    if ships not in _YES:
        raise BadSetting("ANSWER_CACHE_WORKER_SHIP_TEXTS must be yes or no.")
    plugged = _listed(given.text("TASKS"))
    for one in plugged:
        find(one)
    return Settings(
        redis=redis,
        namespaces=_namespaces(given),
        broker=_broker(given),
        secret=given.text("CACHE_SECRET"),
        elasticsearch=_elasticsearch(given),
        index=given.text("INDEX") or "answer-cache",
        ship_texts=_YES[ships],
        plugged=plugged,
        first_pause=given.number("FIRST_PAUSE", 2.0, 0.01, 600),
        tries=int(given.number("TRIES", 30, 1, 1000)),
    )


@dataclass(frozen=True, slots=True)
class _Environ:
    environ: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.environ.get(f"ANSWER_CACHE_WORKER_{name}", "").strip()

    def needed(self, name: str, meaning: str) -> str:
        value = self.text(name)
        if not value:
            raise BadSetting(
                f"ANSWER_CACHE_WORKER_{name} is empty; set it to {meaning}."
            )
        return value

    def number(self, name: str, default: float, least: float, most: float) -> float:
        try:
            value = float(self.text(name) or default)
        except ValueError:
            value = -1
        if not least <= value <= most:
            raise BadSetting(
                f"ANSWER_CACHE_WORKER_{name} must be a number from {least:g} to {most:g}."
            )
        return value


def _namespaces(given: _Environ) -> tuple[str, ...]:
    meaning = "the cache namespaces to read, with commas"
    names = _listed(given.needed("NAMESPACES", meaning))
    if not names or not all(map(NAMESPACE.fullmatch, names)):
        raise BadSetting(
            "ANSWER_CACHE_WORKER_NAMESPACES must be cache namespaces as in the plugins' forms, "
            "with commas between them."
        )
    return names


def _broker(given: _Environ) -> str:
    url = given.needed("BROKER_URL", "amqp://… or redis://…, which Celery uses")
    try:
        Connection(url).get_transport_cls()
    except Exception:  # noqa: BLE001 - its text repeats the password
        raise BadSetting(
            "ANSWER_CACHE_WORKER_BROKER_URL is no URL of a broker; write it as in "
            "amqp://user:password@host// or redis://host/0, signs of the password as %xx."
        ) from None
    return url


def _elasticsearch(given: _Environ) -> str:
    url = given.text("ELASTICSEARCH_URL")
    try:
        if url:
            Elasticsearch(url)
    except ValueError:  # which repeats the password
        raise BadSetting(
            "ANSWER_CACHE_WORKER_ELASTICSEARCH_URL must be as in https://user:password@host:9200, "
            "signs of the password as %xx."
        ) from None
    return url


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))


def find(name: str) -> object:
    """A plugged-in task by its name; raises BadSetting."""
    module, _, function = name.partition(":")
    try:
        found: object = getattr(import_module(module), function)
    except Exception:  # noqa: BLE001 - the import runs the operator's own code
        found = None
    if not callable(found):
        raise BadSetting(
            f"ANSWER_CACHE_WORKER_TASKS names {name[:80]!r}, which is no function; write it as "
            "in answer_worker.examples.scoring:score."
        )
    return found
