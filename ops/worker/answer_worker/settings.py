"""The worker's settings, from its environment: each mistake is one sentence."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

from cachecore.config import derive_keys
from cachecore.errors import ConfigError
from cachecore.redis_url import RedisUrl, parse

_YES = {"yes": True, "no": False, "": False}


class BadSetting(Exception):
    """A variable is missing or makes no sense; ``str`` names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of the environment that the worker reads.

    ``plugged`` are the tasks of the operator's own, as ``module:function``. Times in
    seconds.
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
    tries: int = 8

    def cipher_key(self, namespace: str) -> bytes | None:
        """What the texts of a namespace are sealed with."""
        return _cipher_key(self.secret, namespace) if self.secret else None


@cache
def _cipher_key(secret: str, namespace: str) -> bytes:
    return derive_keys(secret, namespace)[1]


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings; raises BadSetting."""

    def text(name: str, default: str = "") -> str:
        return environ.get(f"ANSWER_WORKER_{name}", default).strip()

    def needed(name: str, meaning: str) -> str:
        value = text(name)
        if not value:
            raise BadSetting(f"ANSWER_WORKER_{name} is empty; set it to {meaning}.")
        return value

    def number(name: str, default: float, least: float, most: float) -> float:
        try:
            value = float(text(name) or default)
        except ValueError:
            value = -1
        if not least <= value <= most:
            raise BadSetting(
                f"ANSWER_WORKER_{name} must be a number from {least:g} to {most:g}."
            )
        return value

    try:
        redis = parse(needed("REDIS_URL", "the Redis URL of the plugins"))
    except ConfigError as error:
        raise BadSetting(f"ANSWER_WORKER_REDIS_URL: {error}") from None
    names = needed("NAMESPACES", "the cache namespaces to read, with commas")
    ships = text("SHIP_TEXTS").lower()
    if ships not in _YES:
        raise BadSetting("ANSWER_WORKER_SHIP_TEXTS must be yes or no.")
    plugged = _listed(text("TASKS"))
    for one in plugged:
        find(one)
    return Settings(
        redis=redis,
        namespaces=_listed(names),
        broker=needed("BROKER_URL", "amqp://… or redis://…, which Celery uses"),
        secret=text("CACHE_SECRET"),
        elasticsearch=text("ELASTICSEARCH_URL"),
        index=text("INDEX", "answer-cache") or "answer-cache",
        ship_texts=_YES[ships],
        plugged=plugged,
        first_pause=number("FIRST_PAUSE", 2.0, 0.01, 600),
        tries=int(number("TRIES", 8, 1, 50)),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))


def find(name: str) -> object:
    """A plugged-in task by its name; raises BadSetting."""
    module, _, function = name.partition(":")
    try:
        found: object = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not callable(found):
        raise BadSetting(
            f"ANSWER_WORKER_TASKS names {name[:80]!r}, which is no function; write it as "
            "in answer_worker.examples.scoring:score."
        )
    return found
