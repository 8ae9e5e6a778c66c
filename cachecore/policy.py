"""Every decision of the cache, as a pure function of its arguments.

No clock, no chance, no store: ``now`` and ``spread`` are arguments. The modules ``lookup``,
``lease``, ``keep`` and ``cache`` call these functions and act on their results.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from cachecore.entry import Entry

TTL_CLASSES: Final[Mapping[str, int]] = {"volatile": 300, "faq": 21600, "policy": 86400}
MAX_TTL: Final = 30 * 86400
# Entries written together must not expire together.
JITTER: Final = 0.1
# The lower bound of each band of scores of ``match: meaning``. A score below the first is
# another question (``meaning/bands.py``).
BAND_STARTS: Final = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)


class Control(StrEnum):
    """The caller's choice for one request."""

    DEFAULT = "default"
    BYPASS = "bypass"
    REFRESH = "refresh"
    ONLY = "only"
    ALWAYS = "always"


# The controls that accept any valid answer. The others make a choice of their own.
LENIENT: Final = (Control.DEFAULT, Control.ALWAYS)


class Scope(StrEnum):
    """The callers that may share an answer."""

    SHARED = "shared"
    APP = "app"
    USER = "user"

    def whose(self, *, app_id: str, user_id: str) -> str:
        """The ``scope_id`` of a request; empty if shared, or if the host sends none."""
        return {Scope.SHARED: "", Scope.APP: app_id, Scope.USER: user_id}[self]


class Switch(StrEnum):
    """The operator's switch for a whole namespace."""

    ON = "on"
    READ_ONLY = "read_only"
    OFF = "off"

    @classmethod
    def read(cls, text: str | None) -> "Switch":
        """The stored switch. An absent one means on; an unknown word means off."""
        if text is None:
            return cls.ON
        return cls(text) if text in cls else cls.OFF


class Reason(StrEnum):
    """Why a request was answered from the cache, or why not."""

    HIT = "hit"
    # misses
    ABSENT = "absent"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    CORRUPT = "corrupt"
    REFRESH = "refresh"
    # a hit past its time, with a refresh in the background
    STALE = "stale"
    # a stale answer, because the upstream's first token was late
    LATE = "late"
    # the answer to the same question in other words
    MEANING = "meaning"
    # bypasses
    MODE_OFF = "mode_off"
    CONTROL = "bypass_asked"
    SWITCHED_OFF = "switched_off"
    CONVERSATION = "conversation"
    TOOLS = "tools_offered"
    EXTERNAL_URL = "external_url"
    TEMPERATURE = "temperature"
    NO_SCOPE_ID = "no_scope_id"
    UNKEYABLE = "unkeyable"
    # the store could not be asked
    UNAVAILABLE = "cache_unavailable"


HITS: Final = frozenset({Reason.HIT, Reason.STALE, Reason.LATE, Reason.MEANING})
MISSES: Final = frozenset(
    {
        *(Reason.ABSENT, Reason.EXPIRED, Reason.INVALIDATED, Reason.CORRUPT),
        Reason.REFRESH,
    }
)


class Refusal(StrEnum):
    """Why an answer was not kept."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    FINISH_REASON = "finish_reason"
    TOOL_CALLS = "tool_calls"
    INVALID_OUTPUT = "invalid_output"
    ENDED = "ended"
    SUPERSEDED = "superseded"
    UNAVAILABLE = "cache_unavailable"


@dataclass(frozen=True, slots=True)
class Price:
    """The upstream's price: money for ``per`` tokens.

    ``cached_input`` is for prompt tokens read from the provider's own cache,
    ``cache_write`` for prompt tokens written to it; None means the price of ``input``.
    """

    input: float = 0.0
    output: float = 0.0
    per: int = 1_000_000
    currency: str = "USD"
    cached_input: float | None = None
    cache_write: float | None = None

    def of(
        self, prompt: int, completion: int, cached: int = 0, written: int = 0
    ) -> float:
        """The price of one answer in ``currency``, by its tokens (``Usage.tokens``)."""
        total = prompt * self.input + completion * self.output
        return total / self.per - self.saved_by_provider(cached, written)

    def saved_by_provider(self, cached: int, written: int) -> float:
        """The amount that the provider's own cache saved for one prompt."""
        rates = self.rate(self.cached_input), self.rate(self.cache_write)
        total = cached * (self.input - rates[0]) + written * (self.input - rates[1])
        return total / self.per

    def rate(self, of: float | None) -> float:
        """The price ``of`` these tokens; if None, that of ``input``."""
        return self.input if of is None else of


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's settings for one model or tool."""

    enabled: bool = True
    ttl: int = TTL_CLASSES["faq"]
    scope: Scope = Scope.SHARED
    max_temperature: float = 1.0
    max_entry_bytes: int = 1024 * 1024
    price: Price = Price()
    # For this many seconds past its time an answer may still be served: during a refresh
    # in the background, and if the upstream fails (RFC 5861).
    stale_while_revalidate: int = 0
    stale_if_error: int = 0
    # While the store is not available, callers join a load of this process that began at
    # most this many seconds ago. They can't know whether it was invalidated since.
    join_without_store: float = 2.0
    # If the upstream has sent nothing after this many seconds, a stale answer is served
    # instead, if there is one (``stale_if_error``). 0 waits.
    first_token_budget: float = 0.0
    # Audits: the share of hits that is asked upstream again in the background; whether a
    # different answer replaces the kept one; the most calls and money in a minute (money
    # 0: no limit).
    audit_share: float = 0.0
    audit_repairs: bool = False
    audits_a_minute: int = 6
    audit_money_a_minute: float = 0.0

    def in_halves(self, life: int) -> "Rules":
        """The rules for an entry that may be at most ``life`` seconds old.

        In the first half of its life the entry is served. In the second half it is served
        while it is loaded again in the background, so that frequent requests never wait.
        """
        fresh = max(1, life // 2)
        return replace(
            self, ttl=fresh, stale_while_revalidate=life - fresh, stale_if_error=0
        )


@dataclass(frozen=True, slots=True)
class Traits:
    """The properties of a request that the policy uses.

    ``ends_at`` is the latest end of its answer, in seconds since the epoch: the time at
    which a signed URL in the request expires.
    """

    conversation: bool = False
    tools: bool = False
    # Whether a tool call is the answer itself, and no tool is run for it.
    calls_are_data: bool = False
    external_url: bool = False
    temperature: float | None = None
    scope_id: str = ""
    ends_at: float | None = None


def bypass(rules: Rules, control: Control, traits: Traits) -> Reason | None:
    """Why this request must not use the cache, or None if it may.

    A missing scope id always bypasses: an answer for one app or user must not be kept
    without an owner. ``always`` overrides the rules about requests that rarely repeat.
    """
    if not rules.enabled:
        return Reason.MODE_OFF
    if control is Control.BYPASS:
        return Reason.CONTROL
    if rules.scope is not Scope.SHARED and not traits.scope_id:
        return Reason.NO_SCOPE_ID
    if control is Control.ALWAYS:
        return None
    if traits.tools:
        return Reason.TOOLS
    if traits.conversation:
        return Reason.CONVERSATION
    if traits.external_url:
        return Reason.EXTERNAL_URL
    if (
        traits.temperature is not None
        and not traits.temperature <= rules.max_temperature
    ):
        return Reason.TEMPERATURE
    return None


def judge(entry: Entry, now: float, ttl: float) -> Reason:
    """HIT if an entry with current stamps is fresh at ``now``, else EXPIRED.

    ``ttl`` is that of the request: except for jitter, no caller gets an answer that is
    older than it asks for.
    """
    if not now < fresh_until(entry, ttl):
        return Reason.EXPIRED
    # The writer's clock was ahead by more than any lifetime.
    if entry.created_at > now + MAX_TTL:
        return Reason.EXPIRED
    return Reason.HIT


def fresh_until(entry: Entry, ttl: float) -> float:
    """The time at which the entry stops being fresh for a request with this ``ttl``."""
    return min(entry.fresh_until, entry.created_at + ttl * (1 + JITTER))


def may_serve_stale(entry: Entry, window: float, now: float, ttl: float) -> bool:
    """Whether an expired entry may still be served, ``window`` seconds past its time.

    Its stamps were judged before: an invalidated entry is never stale.
    """
    begins = fresh_until(entry, ttl)
    return begins <= now < min(begins + window, entry.stale_until)


# --- leases and replacement: the rules of every store ----------------------------
#
# Redis has them in Lua (stores/redis.py). The memory store calls ``may_replace``; it grants
# every lease, because the flights of its one process decide who loads. The tests apply one
# table of cases to the functions, to Lua and, for ``may_replace``, to the memory store.


@dataclass(frozen=True, slots=True)
class Token:
    """The token of a lease: the id of a load, and the digest of its stamps."""

    id: str
    digest: str

    def __str__(self) -> str:
        return f"{self.id}.{self.digest}"

    @classmethod
    def read(cls, text: str) -> "Token":
        """The token from its text in a lease."""
        name, _, digest = text.rpartition(".")
        return cls(name, digest)


def may_take_over(holder: Token, token: Token, take_over: str) -> bool:
    """Whether the lease of ``holder`` goes to ``token``.

    A lease under other stamps is taken over, because nobody may follow its load. So is the
    lease with the token ``take_over``, which a caller gave up. A refresh passes ``*`` and
    takes over any lease.
    """
    return holder.digest != token.digest or take_over in ("*", str(holder))


def may_replace(current: int | None, order: int) -> bool:
    """Whether an answer that was asked for at ``order`` may be kept.

    ``current`` is the order of the present entry, None if there is none. An answer never
    replaces an answer that was asked for later, whatever leases there were meanwhile.
    """
    return current is None or current < order


def lifetime(
    ttl: float,
    now: float,
    spread: float,
    ends_at: float | None = None,
    stale: float = 0,
) -> tuple[float, float]:
    """The times at which an answer made at ``now`` becomes stale, and expires.

    Both are in seconds since the epoch; it is stale for ``stale`` seconds. ``spread`` in
    [-1, 1] chooses a place within the jitter. Both are at most ``ends_at``.
    """
    fresh_until = now + ttl * (1 + JITTER * spread)
    stale_until = fresh_until + stale
    if ends_at is not None:
        fresh_until = min(fresh_until, ends_at)
        stale_until = min(stale_until, ends_at)
    return fresh_until, stale_until


def refuse(
    finish_reason: str | None,
    *,
    has_text: bool,
    has_tool_calls: bool,
    size: int,
    rules: Rules,
    control: Control,
    calls_are_data: bool = False,
) -> Refusal | None:
    """Why a complete answer must not be kept, or None if it may.

    ``size`` is in bytes. An answer that was cut by length or by a filter is served,
    because the upstream gave it, but the next caller should not get it.
    """
    if has_tool_calls or finish_reason in ("tool_calls", "function_call"):
        if control is not Control.ALWAYS and not calls_are_data:
            return Refusal.TOOL_CALLS
        if not has_tool_calls:
            return Refusal.EMPTY
        if finish_reason not in ("tool_calls", "function_call", "stop"):
            return Refusal.FINISH_REASON
    elif finish_reason != "stop":
        return Refusal.FINISH_REASON
    elif not has_text:
        return Refusal.EMPTY
    if size > rules.max_entry_bytes:
        return Refusal.TOO_LARGE
    return None
