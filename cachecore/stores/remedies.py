"""What a Redis says, or keeps to itself, as one sentence for an operator."""

from dataclasses import dataclass
from typing import Final

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

from cachecore.errors import StoreError
from cachecore.redis_url import RedisUrl


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """Redis answered, and the answer was no. ``remedy`` is for an operator."""

    text: str
    remedy: str


def store_error(error: Exception, url: RedisUrl) -> StoreError:
    """The error as the core's own, with a remedy."""
    return error if isinstance(error, StoreError) else StoreError(_remedy(error, url))


def error_reply(error: ResponseError, url: RedisUrl) -> ErrorReply:
    """The error as a reply that stands in its place."""
    return ErrorReply(str(error), _remedy(error, url))


# What people read, by what redis-py raised; the first that fits.
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
    (MasterNotFoundError, "is no Sentinel that knows a master of that name."),
)


def _remedy(error: Exception, url: RedisUrl) -> str:
    """One sentence for an operator: what Redis said, and what to do."""
    # A cluster's client wraps what a node said.
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
