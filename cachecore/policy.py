"""Every decision of the cache, as a pure function of its arguments.

No clock, no chance, no store: ``now`` and ``spread`` are arguments. Nothing
here acts; ``cache.py`` asks and does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from cachecore.entry import Cost, Entry

TTL_CLASSES: Final[Mapping[str, int]] = {"volatile": 300, "faq": 21600, "policy": 86400}
MAX_TTL: Final = 30 * 86400
# What was written together shall not expire together.
JITTER: Final = 0.1
# Where each band of scores of ``match: meaning`` begins; what is below the first is another
# question (``meaning/bands.py``).
BAND_STARTS: Final = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)


class Control(StrEnum):
    """What the caller asks of the cache for one request."""

    DEFAULT = "default"
    BYPASS = "bypass"
    REFRESH = "refresh"
    ONLY = "only"
    ALWAYS = "always"


# Those who take what is there; the others have said what they want.
LENIENT: Final = (Control.DEFAULT, Control.ALWAYS)


class Scope(StrEnum):
    """Who may share an answer."""

    SHARED = "shared"
    APP = "app"
    USER = "user"

    def whose(self, *, app_id: str, user_id: str) -> str:
        """The ``scope_id`` of a request; empty if shared, or if the host named none."""
        return {Scope.SHARED: "", Scope.APP: app_id, Scope.USER: user_id}[self]


class Switch(StrEnum):
    """The operator's switch for a whole namespace."""

    ON = "on"
    READ_ONLY = "read_only"
    OFF = "off"

    @classmethod
    def read(cls, text: str | None) -> "Switch":
        """The switch as stored. Absent means on; a word we don't know means off."""
        if text is None:
            return cls.ON
        return cls(text) if text in cls else cls.OFF


class Reason(StrEnum):
    """Why a request was not answered from the cache, or was answered."""

    HIT = "hit"
    # misses
    ABSENT = "absent"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    CORRUPT = "corrupt"
    REFRESH = "refresh"
    # a hit past its time, with a refresh behind
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
    SUPERSEDED = "superseded"
    UNAVAILABLE = "cache_unavailable"


@dataclass(frozen=True, slots=True)
class Price:
    """What the upstream bills: money per ``per`` tokens.

    ``cached_input`` is for prompt tokens that the provider had in its own cache,
    ``cache_write`` for those that it put there; None is the price of any other.
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
        """What the provider's own cache took off the price of one prompt."""
        rates = self.rate(self.cached_input), self.rate(self.cache_write)
        total = cached * (self.input - rates[0]) + written * (self.input - rates[1])
        return total / self.per

    def rate(self, of: float | None) -> float:
        """A price of its own, or that of any input."""
        return self.input if of is None else of


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided for one model or tool."""

    enabled: bool = True
    ttl: int = TTL_CLASSES["faq"]
    scope: Scope = Scope.SHARED
    max_temperature: float = 1.0
    max_entry_bytes: int = 1024 * 1024
    price: Price = Price()
    # For so many seconds past its time an answer may still be served: while it is
    # refreshed behind, and where the upstream fails (RFC 5861).
    stale_while_revalidate: int = 0
    stale_if_error: int = 0
    # While the store is away, a load of this process that began at most so many seconds
    # ago is joined, though nobody knows whether it was invalidated since.
    join_without_store: float = 2.0
    # An upstream that has given nothing after so many seconds is not waited for where a
    # stale answer may stand in (``stale_if_error``); 0 waits.
    first_token_budget: float = 0.0
    # Of the hits, which share is asked upstream again behind the answer; whether a
    # different answer then replaces the kept one; and what that may cost in a minute, in
    # calls and in money (0: no bound of money).
    audit_share: float = 0.0
    audit_repairs: bool = False
    audits_a_minute: int = 6
    audit_money_a_minute: float = 0.0

    def in_halves(self, life: int) -> "Rules":
        """For something that may grow ``life`` seconds old, and no older.

        In the first half of its life it is simply served; in the second it is served
        while it is loaded again behind, so that what is asked for often never waits.
        """
        fresh = max(1, life // 2)
        return replace(
            self, ttl=fresh, stale_while_revalidate=life - fresh, stale_if_error=0
        )


@dataclass(frozen=True, slots=True)
class Traits:
    """What a request is like, as far as the policy cares.

    ``ends_at`` is when an answer is over in any case, in seconds since the epoch:
    a signed URL in the request ends then.
    """

    conversation: bool = False
    tools: bool = False
    # Whether a tool call is the answer itself, and nothing is run for it.
    calls_are_data: bool = False
    external_url: bool = False
    temperature: float | None = None
    scope_id: str = ""
    ends_at: float | None = None


def bypass(rules: Rules, control: Control, traits: Traits) -> Reason | None:
    """Why this request must not touch the cache, or None if it may.

    A missing scope id always bypasses: an answer for one app or user must not
    be filed under nobody. ``always`` lifts the guesses about what repeats.
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


def judge(
    entry: Entry, stamps: Mapping[str, str | None], now: float, ttl: float
) -> Reason:
    """HIT if the entry may be served at ``now``, else why not.

    ``stamps`` are those that stand now. A missing stamp equals nothing, so what an
    eviction took costs hits and never brings a dead entry back. ``ttl`` is that of the
    request: nobody is served an answer older than they ask for, jitter aside.
    """
    for field, stamp in entry.stamps.items():
        current = stamps.get(field)
        if current is None or current != stamp:
            return Reason.INVALIDATED
    if not entry.stamps:
        return Reason.INVALIDATED
    if not now < fresh_until(entry, ttl):
        return Reason.EXPIRED
    # Written by a machine whose clock runs ahead by more than any lifetime.
    if entry.created_at > now + MAX_TTL:
        return Reason.EXPIRED
    return Reason.HIT


def fresh_until(entry: Entry, ttl: float) -> float:
    """When the entry stops being fresh for a request with this ``ttl``."""
    return min(entry.fresh_until, entry.created_at + ttl * (1 + JITTER))


def may_serve_stale(entry: Entry, window: float, now: float, ttl: float) -> bool:
    """Whether an expired entry may still be served, ``window`` seconds past its time.

    Its stamps were judged before: what was invalidated is dead, never stale.
    """
    begins = fresh_until(entry, ttl)
    return begins <= now < min(begins + window, entry.stale_until)


# --- who leads, and whose answer is kept: the rules of every store ---------------
#
# The memory store calls these; Redis has them in Lua (stores/redis.py). One table of
# cases in the tests is put to the functions and to both stores.


@dataclass(frozen=True, slots=True)
class Token:
    """Whose lease it is: a load of its own, under the stamps with this mark."""

    id: str
    digest: str

    def __str__(self) -> str:
        return f"{self.id}.{self.digest}"

    @classmethod
    def read(cls, text: str) -> "Token":
        """The token as it stands in a lease."""
        name, _, digest = text.rpartition(".")
        return cls(name, digest)


def may_take_over(holder: Token, token: Token, take_over: str) -> bool:
    """Whether the lease that ``holder`` has goes to ``token``.

    A lease under other stamps is taken over, because nobody may follow its load. So is the
    lease with the token ``take_over``, which a caller gave up. A refresh passes ``*`` and
    takes over any lease.
    """
    return holder.digest != token.digest or take_over in ("*", str(holder))


def may_replace(current: int | None, order: int) -> bool:
    """Whether an answer that was asked for at ``order`` may be kept.

    ``current`` is the order of the entry that is there, None for none. An answer never
    replaces one that was asked for later; who held which lease meanwhile is no matter.
    """
    return current is None or current < order


def lifetime(
    ttl: float,
    now: float,
    spread: float,
    ends_at: float | None = None,
    stale: float = 0,
) -> tuple[float, float]:
    """When an answer made at ``now`` goes stale, and ``stale`` seconds later is gone.

    Both in seconds since the epoch.
    ``spread`` in [-1, 1] places it within the jitter. Nothing outlives ``ends_at``.
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

    ``size`` is in bytes. An answer cut by length or by a filter is served, for
    it is the upstream's word, but it is not what the next caller should get.
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


def cost(
    prompt: int,
    completion: int,
    cached: int,
    written: int,
    *,
    seconds: float,
    price: Price,
) -> Cost:
    """What a load cost, so that a later hit knows what it saved."""
    paid = price.of(prompt, completion, cached, written)
    return Cost(prompt, completion, paid, price.currency, seconds, cached, written)
