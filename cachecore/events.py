"""The events of the cache, and the hook that receives them.

The cache emits one immutable event for each of its actions; counters and logs use them.
Events are named tuples, which take a third of a frozen dataclass's time to make, and each
hit makes two. An event contains no prompt, answer, key text or credential.
"""

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from cachecore.entry import Cost
from cachecore.policy import HITS, MISSES, Reason, Refusal

logger = logging.getLogger(__name__)

# The label of the cache's own entries: they belong to no user's request.
INTERNAL = "(internal)"


class Subject(NamedTuple):
    """The owner of a request: its kind, the model or tool, and the app, if known."""

    kind: str
    label: str
    app: str = ""


class Result(StrEnum):
    """The result of a whole request."""

    HIT = "hit"
    SHARED = "shared"  # another caller's load answered it
    MISS = "miss"
    UNCACHED = "uncached"  # bypassed, or the store could not be asked
    NOTHING = "nothing"  # only a kept answer was wanted, and there is none
    FAILED = "failed"
    LEFT = "left"  # its caller went away

    @classmethod
    def of(cls, reason: Reason, *, shared: bool) -> "Result":
        """The result of a request that was answered completely."""
        if reason in HITS:
            return cls.HIT
        if shared:
            return cls.SHARED
        return cls.MISS if reason in MISSES else cls.UNCACHED


class Lookup(NamedTuple):
    """The verdict on one request. Times are in seconds, ``at`` since the epoch.

    ``seconds`` is the time of the look-up in the store, ``key_seconds`` that of making the
    key. ``short_key`` has both short keys if the answer to another question was served.
    """

    of: Subject
    reason: Reason
    at: float
    seconds: float = 0.0
    key_seconds: float = 0.0
    saved: Cost | None = None
    short_key: str = ""


class Missed(NamedTuple):
    """The parts of a request without an entry, emitted at its end.

    ``parts`` has a keyed digest of each part, so that a difference can be found.
    """

    of: Subject
    short_key: str
    parts: Mapping[str, str]


class Ended(NamedTuple):
    """A request has ended. ``first`` is the time to its first piece, None for none.

    Times are in seconds from the call, and include the time that its caller used.
    """

    of: Subject
    result: Result
    first: float | None
    seconds: float


class Compared(NamedTuple):
    """The answer to another question was compared with a request's own, by its band.

    ``saved`` is the time that serving it would have saved.
    """

    of: Subject
    band: int
    right: bool
    saved: Cost = Cost()


class Followed(NamedTuple):
    """A request was answered by another caller's load, maybe of another process."""

    of: Subject
    other_process: bool = False


class Loaded(NamedTuple):
    """The upstream answered completely. Times are in seconds from the call.

    ``prompt_tokens`` is None if they were not counted. ``provider_saved`` is the amount in
    ``currency`` that the provider's own prompt cache saved.
    """

    of: Subject
    first: float
    seconds: float
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    written_tokens: int = 0
    provider_saved: float = 0.0
    currency: str = "USD"


class Audited(NamedTuple):
    """A hit was audited.

    ``verdict`` is an ``audit.Verdict``; ``age`` is that of the entry in seconds; ``price``
    is the approximate cost.
    """

    of: Subject
    verdict: str
    age: float
    price: float = 0.0
    currency: str = "USD"


class Kept(NamedTuple):
    """An answer was stored, in ``size`` bytes."""

    of: Subject
    size: int


class Refused(NamedTuple):
    """An answer was served and not kept."""

    of: Subject
    refusal: Refusal


class Stale(NamedTuple):
    """The upstream failed, and a stale answer was served instead of its error."""

    of: Subject


class Invalidated(NamedTuple):
    """The stamps of these tags were replaced: their entries are invalidated."""

    tags: tuple[str, ...]
    at: float


type Event = (
    Lookup
    | Missed
    | Ended
    | Followed
    | Loaded
    | Audited
    | Compared
    | Kept
    | Refused
    | Stale
    | Invalidated
)
type Hook = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """A hook that ignores all events."""


def guarded(hook: Hook) -> Hook:
    """``hook``, whose errors are logged and dropped, so that no answer fails."""

    def call(event: Event) -> None:
        try:
            hook(event)
        except Exception as error:  # noqa: BLE001 - a listener must not break an answer
            logger.warning("a metrics hook failed: %s", type(error).__name__)

    return call
