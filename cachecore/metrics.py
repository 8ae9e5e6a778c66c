"""What the cache says has happened, and the hook that hears it.

``cache.py`` emits one frozen event for each thing it did; counting and logging
listen. An event carries no prompt, answer, key text or credential.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from cachecore.entry import Cost
from cachecore.policy import Reason, Refusal

logger = logging.getLogger(__name__)

# The label of what the cache keeps for itself: it is no request of a user's.
INTERNAL = "(internal)"


@dataclass(frozen=True, slots=True)
class Lookup:
    """One pass through the cache. ``seconds`` is the time the look-up took."""

    kind: str
    label: str
    reason: Reason
    seconds: float = 0.0
    saved: Cost | None = None
    age: float | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """A request was answered by another caller's load."""

    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The upstream answered to its end. Times in seconds from the call."""

    kind: str
    label: str
    first: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer was stored, in ``size`` bytes."""

    kind: str
    label: str
    size: int


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer was served and not kept."""

    kind: str
    label: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Stale:
    """The upstream failed, and an answer past its time stood in for its error."""

    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Invalidated:
    """Stamps were replaced: this many tags lost their entries."""

    tags: int


type Event = Lookup | Followed | Loaded | Kept | Refused | Stale | Invalidated
type Hook = Callable[[Event], None]


def hear_nothing(_event: Event) -> None:
    """The hook for a cache that nobody listens to."""


def guarded(hook: Hook) -> Hook:
    """``hook``, unable to break an answer: what it raises is logged and dropped."""

    def call(event: Event) -> None:
        try:
            hook(event)
        except Exception as error:  # noqa: BLE001 - a listener must not break an answer
            logger.warning("a metrics hook failed: %s", type(error).__name__)

    return call
