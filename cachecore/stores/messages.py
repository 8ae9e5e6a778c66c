"""Messages for operators: a Redis that fails, refuses, or needs a better setup."""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
)
from redis.sentinel import MasterNotFoundError

from cachecore.errors import StoreError, StoreTimeout
from cachecore.redis_url import RedisUrl

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error reply of Redis. ``remedy`` is for an operator."""

    text: str
    remedy: str


def store_error(error: Exception, url: RedisUrl) -> StoreError:
    """The error as an error of the core, with a remedy."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, redis.exceptions.TimeoutError):
        return StoreTimeout(_remedy(error, url))
    return StoreError(_remedy(error, url))


def error_reply(error: ResponseError, url: RedisUrl) -> ErrorReply:
    """The error as a reply."""
    return ErrorReply(str(error), _remedy(error, url))


# The sentences for redis-py's errors; the first that matches is used.
_REMEDIES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (AuthenticationError, "refused the user name or password in the URL."),
    (
        NoPermissionError,
        "does not let this user run the cache's commands on its keys; allow them in "
        "the user's ACL.",
    ),
    (ReadOnlyError, "is a read-only replica; use its master."),
    (
        OutOfMemoryError,
        "is full; set its maxmemory-policy to allkeys-lru or give it more memory.",
    ),
    (AskError, "is a node of a Cluster; write redis+cluster:// in the URL."),
    (BusyLoadingError, "is still loading its data; try again shortly."),
    (
        redis.exceptions.TimeoutError,
        "did not answer in time; check the address and the network between it and the "
        "plugin daemon.",
    ),
    (
        MasterNotFoundError,
        "is not a Sentinel, or it does not know a master of that name.",
    ),
)


def _remedy(error: Exception, url: RedisUrl) -> str:
    """One sentence for an operator: the error of Redis, and the remedy."""
    # The Cluster's client wraps the error of a node.
    if isinstance(error, RedisClusterException) and error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    place, text = f"Redis at {url.shown}", str(error)
    for kind, sentence in _REMEDIES:
        if isinstance(error, kind):
            return f"{place} {sentence}"
    if "NOAUTH" in text or "WRONGPASS" in text:
        return f"{place} asks for a user name or password; put it in the URL."
    if "CERTIFICATE" in text.upper() or "SSL" in text.upper():
        return (
            f"{place} could not be reached over TLS; check rediss://, the host name and "
            "the certificate authority."
        )
    if isinstance(error, ResponseError):
        return f"{place} refused a command: {text.partition(' ')[0]}."
    return (
        f"{place} could not be reached; check the address, the port and the network "
        "between it and the plugin daemon."
    )


# Keys of Dify itself (its Celery queue, its plugin daemon's cluster).
NAMES_OF_DIFY: Final = (
    "_kombu.binding.celery",
    "_kombu.binding.dataset",
    "plugin_daemon:cluster-nodes-status-hash-map",
)


class Complaint:
    """Logs a line when a Redis begins to refuse writes, and when it accepts them again.

    The breaker stays closed, because the Redis answers: entries can still be read.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # guards _open
        self._open = False

    def refused(self, remedy: str) -> None:
        """Note an error reply."""
        with self._lock:
            begins, self._open = not self._open, True
        if begins:
            logger.warning(
                "the cache at %s works only in part, or not at all: %s",
                self._name,
                remedy,
            )

    def accepted(self) -> None:
        """Note an accepted write."""
        if not self._open:
            return
        with self._lock:
            ends, self._open = self._open, False
        if ends:
            logger.warning("the cache at %s works fully again", self._name)


def slowness(took: float, timeout: float) -> tuple[str, ...]:
    """A warning if one round trip takes more than half of a call's limit."""
    if took < timeout / 2:
        return ()
    return (
        f"Redis took {took * 1000:.0f} ms for one command, and an answer waits at most "
        f"{timeout * 1000:.0f} ms for it; use a Redis nearer to the plugin daemon, or "
        "raise redis_timeout_ms in cache_options.",
    )


def advice(replies: Sequence[Any]) -> tuple[str, ...]:
    """Warnings, from INFO memory and from EXISTS of Dify's own keys.

    If the ACL denies a command, there is no warning about it.
    """
    memory, *exist = replies
    sentences = []
    if any(reply == 1 for reply in exist):
        sentences.append(
            "This Redis is the one that Dify itself uses; give the cache a Redis of its "
            "own, with maxmemory-policy allkeys-lru, so that neither can use up the "
            "other's memory."
        )
    facts = {} if isinstance(memory, ErrorReply) else _facts(memory)
    if facts.get("maxmemory") == "0":
        sentences.append(
            "This Redis has no maxmemory, so the cache may fill its machine's "
            "memory; set maxmemory, and maxmemory-policy allkeys-lru."
        )
    elif facts.get("maxmemory_policy") == "noeviction":
        sentences.append(
            "This Redis refuses writes when it is full; set its maxmemory-policy to "
            "allkeys-lru."
        )
    return tuple(sentences)


def numbers(reply: Any) -> dict[str, float]:
    """The numbers in a reply to INFO; ``keys`` counts the keys of all databases."""
    found: dict[str, float] = {}
    keys = 0.0
    # redis-py's Cluster client has parsed the reply already.
    facts = reply if isinstance(reply, dict) else _facts(reply)
    for name, value in facts.items():
        if re.fullmatch(r"db\d+", str(name)):
            counted = value if isinstance(value, dict) else dict(_pairs(str(value)))
            with suppress(TypeError, ValueError):
                keys += float(counted.get("keys", 0))
            continue
        with suppress(TypeError, ValueError):
            found[str(name)] = float(value)
    if "used_memory" in found:
        found["keys"] = keys
    return found


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        yield name, value


def _facts(reply: Any) -> dict[str, str]:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else ""
    lines = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in lines}
