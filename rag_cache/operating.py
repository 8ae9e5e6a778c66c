"""An operator's actions: invalidate, switch, test the settings, count votes."""

import hashlib
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cachetools import LRUCache

from cachecore.admin import Vote
from cachecore.cache import Cache
from cachecore.errors import ConfigError, StoreError
from cachecore.policy import Switch
from cachecore.request import app_tags
from rag_cache import inputs, retrieval, settings, ticket
from rag_cache.caller import Caller
from rag_cache.errors import BadInput, CacheUnavailable, KnowledgeError
from rag_cache.settings import Settings

logger = logging.getLogger(__name__)

TARGETS: Final = ("tag", "dataset", "app", "model", "namespace", "switch")
# The most votes within a minute, in one process: of one voter, and of a namespace.
_VOTES_OF_ONE: Final = 10
_VOTES_OF_ALL: Final = 120
_MINUTE: Final = 60

# The number of votes, and when their minute began; another vote does not extend it.
_votes: LRUCache[tuple[str, str], tuple[int, float]] = LRUCache(10_000)
_votes_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Invalidation:
    """The result as a sentence; and for each name, whether it had entries."""

    message: str
    names: Mapping[str, bool] = field(default_factory=dict)


def invalidate(caller: Caller, parameters: Mapping[str, Any]) -> Invalidation:
    """Invalidate, or turn the switch.

    Raises BadInput or ConfigError. A StoreError becomes CacheUnavailable, because the
    caller must know that nothing was invalidated.
    """
    cache = settings.open_cache(settings.read(caller.credentials))
    target = inputs.choice(parameters, "target", *TARGETS)
    if target == "switch":
        return Invalidation(switch(cache, inputs.text(parameters, "name").strip()))
    if target == "namespace":
        if not inputs.yes(parameters, "confirm"):
            msg = "Set the parameter confirm to true to drop the whole namespace."
            raise BadInput(msg)
        _renew(cache, {"*": ("*",)})
        return Invalidation("Everything in the namespace is invalidated.")
    if target == "dataset":
        names = inputs.ids(parameters, "name")
    else:
        names = inputs.tags(parameters, "name")
    if not names:
        msg = f"The parameter name is empty; it says which {target} to invalidate."
        raise BadInput(msg)
    existed = _renew(cache, {name: _tags_of(target, name) for name in names})
    return Invalidation(_said(target, existed), existed)


def _tags_of(target: str, name: str) -> tuple[str, ...]:
    return app_tags(name) if target == "app" else (f"{target}:{name}",)


def _renew(cache: Cache, tags: Mapping[str, Sequence[str]]) -> dict[str, bool]:
    """Invalidate each name's tags; for each name, whether a tag of it had entries."""
    try:
        existed = cache.admin.invalidate(one for many in tags.values() for one in many)
    except StoreError as error:
        raise CacheUnavailable(f"Nothing was invalidated: {error.remedy}") from error
    return {name: any(existed[one] for one in many) for name, many in tags.items()}


def _said(target: str, existed: Mapping[str, bool]) -> str:
    if target == "app":
        # Answers that all apps share have no app's tag, so each app's invalidation
        # drops all of them.
        plural = "s" if len(existed) > 1 else ""
        return (
            f"App{plural} invalidated: {', '.join(existed)}. All answers that apps share "
            "are dropped too."
        )
    known, unknown = split(existed)
    kind = "knowledge base" if target == "dataset" else target
    sentences = []
    if known:
        plural = "s" if len(known) > 1 else ""
        sentences.append(
            f"{len(known)} {kind}{plural} invalidated: {', '.join(known)}."
        )
    if unknown:
        sentences.append(
            f"Nothing was kept under {', '.join(unknown)}: nothing to invalidate."
        )
    return " ".join(sentences)


def split(existed: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """The names that had entries, and the names that had none."""
    known = [name for name, found in existed.items() if found]
    return known, [name for name, found in existed.items() if not found]


def switch(cache: Cache, word: str) -> str:
    """Turn the namespace's switch; returns a sentence. Raises BadInput."""
    if word not in Switch:
        msg = "The switch (name, or switch over HTTP) must be on, read_only or off."
        raise BadInput(msg)
    try:
        cache.admin.turn(Switch(word))
    except StoreError as error:
        raise CacheUnavailable(f"The switch was not turned: {error.remedy}") from error
    return f"The cache of this namespace is now {word}."


def feedback(caller: Caller, parameters: Mapping[str, Any], voter: str) -> Vote:
    """Count that ``voter`` found an answer wrong. Raises BadInput or ConfigError."""
    read = settings.read(caller.credentials)
    cache = settings.open_cache(read)
    key = _key(parameters, read)
    if not cache.admin.owns(key):
        raise BadInput(
            "The parameter cache_key is not the key of an entry in this namespace; "
            "connect it to the cache_key output of a tool of RAG Cache."
        )
    if not voter:
        raise BadInput("The vote has no voter; Dify named no user for this run.")
    # A digest has a fixed length, whatever the length of the name.
    voter = hashlib.sha256(voter.encode("utf-8", "replace")).hexdigest()[:32]
    _limit_votes(read, voter)
    options = read.cache.options
    try:
        return cache.admin.vote(
            key,
            voter,
            needed=options.feedback_votes,
            window=options.feedback_window_seconds,
        )
    except StoreError as error:
        raise CacheUnavailable(f"The vote was not counted: {error.remedy}") from error


def _key(parameters: Mapping[str, Any], read: Settings) -> str:
    if not inputs.text(parameters, "ticket").strip():
        return inputs.required(parameters, "cache_key").strip()
    try:
        secret = settings.open_cache(read).admin.ticket_secret()
    except StoreError as error:
        raise CacheUnavailable(f"The vote was not counted: {error.remedy}") from error
    return ticket.read(ticket.text_of(parameters), secret).key


def _limit_votes(read: Settings, voter: str) -> None:
    namespace = read.cache.store.namespace
    now = time.monotonic()
    with _votes_lock:
        # The namespace's limit first: a voter that it refuses is not remembered.
        for who, most in (("", _VOTES_OF_ALL), (voter, _VOTES_OF_ONE)):
            count, since = _votes.get((namespace, who), (0, now))
            if now - since > _MINUTE:
                count, since = 0, now
            if count >= most:
                raise BadInput("There are too many votes now; try again in a minute.")
            _votes[namespace, who] = count + 1, since


def state(credentials: Mapping[str, Any]) -> str:
    """The namespace's switch; ``unknown`` if the Redis does not answer."""
    try:
        return settings.open_cache(settings.read(credentials)).admin.switch().value
    except StoreError:
        return "unknown"


def check(credentials: Mapping[str, Any]) -> tuple[str, ...]:
    """Test the credentials; returns advice on settings that work but could be better.

    Raises ConfigError with one sentence.
    """
    read = settings.read(credentials)
    try:
        advice = settings.open_cache(read).admin.check()
    except StoreError as error:
        raise ConfigError(
            "redis_url", f"Redis URL (redis_url): {error.remedy}"
        ) from error
    if read.knowledge.url or read.knowledge.key:
        try:
            retrieval.check(read.knowledge)
        except KnowledgeError as error:
            raise ConfigError("knowledge_api_url", str(error)) from error
    return advice


def advise(advice: Iterable[str]) -> None:
    """Log the advice: Dify shows only errors, and advice is not an error."""
    for sentence in advice:
        logger.warning("Redis URL (redis_url): %s", sentence)
