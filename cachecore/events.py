"""What the cache says has happened, and the hook that is called with it.

The cache emits one immutable event for each thing it did; counters and logs use them.
They are named tuples, which take a third of a frozen dataclass's time to make, and each
hit makes two. An event carries no prompt, answer, key text or credential.
"""

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from cachecore.entry import Cost
from cachecore.policy import HITS, MISSES, Reason, Refusal

logger = logging.getLogger(__name__)

# The label of what the cache keeps for itself: it is no request of a user's.
INTERNAL = "(internal)"


class Subject(NamedTuple):
    """Whose request it was: its kind, the model or tool, and the app, if known."""

    kind: str
    label: str
    app: str = ""


class Result(StrEnum):
    """What became of a request as a whole."""

    HIT = "hit"
    SHARED = "shared"  # another caller's load answered it
    MISS = "miss"
    UNCACHED = "uncached"  # bypassed, or the store could not be asked
    NOTHING = "nothing"  # only a kept answer was wanted, and there is none
    FAILED = "failed"
    LEFT = "left"  # its caller went away

    @classmethod
    def of(cls, reason: Reason, *, shared: bool) -> "Result":
        """The result of a request that was answered to its end."""
        if reason in HITS:
            return cls.HIT
        if shared:
            return cls.SHARED
        return cls.MISS if reason in MISSES else cls.UNCACHED


class Lookup(NamedTuple):
    """The verdict on one request. Times in seconds; ``at`` since the epoch.

    ``seconds`` is what asking the store took, ``key_seconds`` making the key.
    ``short_key`` is the head of the key's fingerprint; of both keys, where the answer of another
    question was given.
    """

    of: Subject
    reason: Reason
    at: float
    seconds: float = 0.0
    key_seconds: float = 0.0
    saved: Cost | None = None
    short_key: str = ""


class Missed(NamedTuple):
    """What a request that was not kept consisted of, emitted when it has ended.

    ``parts`` has a keyed digest of each part, so that it can be told what has changed.
    """

    of: Subject
    short_key: str
    parts: Mapping[str, str]


class Ended(NamedTuple):
    """A request has ended. ``first`` is the time to its first piece, None for none.

    Times are in seconds from the call, and hold what its caller took for itself.
    """

    of: Subject
    result: Result
    first: float | None
    seconds: float


class Compared(NamedTuple):
    """The answer of another question was compared with a request's own, by its band.

    ``saved`` is what serving it would have saved.
    """

    of: Subject
    band: int
    right: bool
    saved: Cost = Cost()


class Followed(NamedTuple):
    """A request was answered by another caller's load, ``other_process``: of another process."""

    of: Subject
    other_process: bool = False


class Loaded(NamedTuple):
    """The upstream answered to its end. Times in seconds from the call.

    ``prompt_tokens`` is None where nobody counted. What the provider's own prompt cache
    saved of its price is ``provider_saved``, in ``currency``.
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
    """A hit was asked upstream again: what came of it, and how old the entry was.

    ``verdict`` is an ``audit.Verdict``; ``age`` in seconds; ``price`` about what it cost.
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
    """The upstream failed, and an answer past its time stood in for its error."""

    of: Subject


class Invalidated(NamedTuple):
    """The stamps of these tags were replaced: their entries are dead."""

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
    """The hook of a cache that nobody watches."""


def guarded(hook: Hook) -> Hook:
    """``hook``, unable to break an answer: what it raises is logged and dropped."""

    def call(event: Event) -> None:
        try:
            hook(event)
        except Exception as error:  # noqa: BLE001 - a listener must not break an answer
            logger.warning("a metrics hook failed: %s", type(error).__name__)

    return call
