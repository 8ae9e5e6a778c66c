"""What an operator does to the cache: invalidate, switch, try, and hear complaints."""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cachetools import LRUCache

from cachecore.cache import Cache
from cachecore.errors import ConfigError, StoreError
from cachecore.policy import Switch
from cachecore.request import app_tags
from cachecore.shelf import Vote
from rag_cache import inputs, knowledge, settings, ticket
from rag_cache.caller import Caller
from rag_cache.inputs import BadInput
from rag_cache.knowledge import KnowledgeError
from rag_cache.settings import Settings

logger = logging.getLogger(__name__)

TARGETS: Final = ("tag", "dataset", "app", "model", "namespace", "switch")
# Votes that one voter, and a namespace in all, may give within a minute, by process.
_VOTES_OF_ONE: Final = 10
_VOTES_OF_ALL: Final = 120
_MINUTE: Final = 60

# How many, and since when: an item that is only counted up keeps its own minute.
_votes: LRUCache[tuple[str, str], tuple[int, float]] = LRUCache(10_000)
_votes_lock = threading.Lock()


def invalidate(caller: Caller, parameters: Mapping[str, Any]) -> str:
    """Invalidate, or turn the switch; returns a sentence that says what was done.

    Raises BadInput or ConfigError; StoreError becomes BadInput, for who
    invalidates must know that it did not happen.
    """
    cache = settings.open_cache(settings.read(caller.credentials))
    target = inputs.choice(parameters, "target", *TARGETS)
    name = inputs.text(parameters, "name").strip()
    if target == "switch":
        return switch(cache, name)
    if target == "namespace":
        if not inputs.yes(parameters, "confirm"):
            msg = "Set the parameter confirm to true to drop the whole namespace."
            raise BadInput(msg)
        _drop(cache, ["*"])
        return "Everything in the namespace is invalidated."
    if not name:
        msg = f"The parameter name is empty; it says which {target} to invalidate."
        raise BadInput(msg)
    if target == "dataset":
        found = inputs.ids(parameters, "name")
        _drop(cache, [f"dataset:{one}" for one in found])
        return f"The dataset {', '.join(found)} is invalidated."
    tags = {"tag": (f"tag:{name}",), "model": (f"model:{name}",)}
    _drop(cache, tags.get(target) or app_tags(name))
    return f"The {target} {name} is invalidated."


def _drop(cache: Cache, tags: Sequence[str]) -> None:
    try:
        cache.invalidate(tags)
    except StoreError as error:
        raise BadInput(f"Nothing was invalidated: {error.remedy}") from error


def switch(cache: Cache, word: str) -> str:
    """Turn the namespace's switch; returns a sentence. Raises BadInput."""
    if word not in Switch:
        msg = "The parameter name must be on, read_only or off to turn the switch."
        raise BadInput(msg)
    try:
        cache.turn(Switch(word))
    except StoreError as error:
        raise BadInput(f"The switch was not turned: {error.remedy}") from error
    return f"The cache of this namespace is now {word}."


def feedback(caller: Caller, parameters: Mapping[str, Any], voter: str) -> Vote:
    """Count that ``voter`` found an answer wrong. Raises BadInput or ConfigError."""
    read = settings.read(caller.credentials)
    cache = settings.open_cache(read)
    key = _key(parameters, read)
    if not cache.owns(key):
        raise BadInput(
            "The parameter cache_key is not the key of an entry in this namespace; "
            "connect it to the cache_key output of a tool of RAG Cache."
        )
    if not voter:
        raise BadInput("The vote has no voter; Dify named no user for this run.")
    _limit_votes(read, voter)
    options = read.cache.options
    try:
        return cache.vote(
            key,
            voter,
            needed=options.feedback_votes,
            window=options.feedback_window_seconds,
            quarantine=options.quarantine_seconds,
        )
    except StoreError as error:
        raise BadInput(f"The vote was not counted: {error.remedy}") from error


def _key(parameters: Mapping[str, Any], read: Settings) -> str:
    if not inputs.text(parameters, "ticket").strip():
        return inputs.required(parameters, "cache_key").strip()
    return ticket.given(parameters, settings.ticket_key(read)).key


def _limit_votes(read: Settings, voter: str) -> None:
    namespace = read.cache.store.namespace
    now = time.monotonic()
    with _votes_lock:
        for who, most in ((voter, _VOTES_OF_ONE), ("", _VOTES_OF_ALL)):
            count, since = _votes.get((namespace, who), (0, now))
            if now - since > _MINUTE:
                count, since = 0, now
            if count >= most:
                raise BadInput("There are too many votes just now; try in a minute.")
            _votes[namespace, who] = count + 1, since


def check(credentials: Mapping[str, Any]) -> tuple[str, ...]:
    """Try the credentials; sentences about what works and could be better.

    Raises ConfigError with one sentence.
    """
    read = settings.read(credentials)
    try:
        advice = settings.open_cache(read).check()
    except StoreError as error:
        raise ConfigError(
            "redis_url", f"Redis URL (redis_url): {error.remedy}"
        ) from error
    if read.knowledge.url or read.knowledge.key:
        try:
            knowledge.check(read.knowledge)
        except KnowledgeError as error:
            raise ConfigError("knowledge_api_url", str(error)) from error
    return advice


def advise(advice: Iterable[str]) -> None:
    """Log what could be better: Dify shows errors only, and this is none."""
    for sentence in advice:
        logger.warning("Redis URL (redis_url): %s", sentence)
