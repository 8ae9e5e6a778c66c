"""Keeping an answer: whether it may be kept, for how long, and its bytes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import uniform

from cachecore import entry as entries
from cachecore import policy
from cachecore.answer import Piece, Recorder, Usage, spoken
from cachecore.entry import Cost, Entry
from cachecore.events import Hook, Kept, Refused
from cachecore.policy import Price, Refusal
from cachecore.request import Request
from cachecore.stamps import Stamps

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sealed:
    """The bytes of an entry for its key, and their time to live in seconds."""

    data: bytes
    ttl: float


@dataclass(eq=False, slots=True)
class Keeper:
    """Makes the bytes of entries, or refuses answers, and reports it. Thread-safe."""

    _cipher_key: bytes | None
    _clock: Callable[[], float]
    _emit: Hook

    def seal(
        self,
        request: Request,
        key: str,
        stamps: Stamps,
        payload: object,
        cost: Cost = Cost(),  # noqa: B008 - frozen
        order: int = 0,
    ) -> Sealed | Refusal:
        """The bytes of an entry, or the reason why it can't be kept.

        ``order`` is the order of its request (``policy.may_replace``).
        """
        now = self._clock()
        rules = request.rules
        fresh_until, stale_until = policy.lifetime(
            request.lifetime,
            now,
            uniform(-1, 1),  # noqa: S311 - jitter, not a secret
            request.traits.ends_at,
            max(rules.stale_while_revalidate, rules.stale_if_error),
        )
        if fresh_until <= now:
            return Refusal.ENDED
        entry = Entry(payload, now, fresh_until, stale_until, stamps, cost)
        try:
            text = entries.serialise(entry)
        except (TypeError, RecursionError):  # a lone surrogate, a NaN, a cycle
            return Refusal.INVALID_OUTPUT
        # The size before compression counts: a hit writes this much in one line.
        if len(text) > rules.max_entry_bytes:
            return Refusal.TOO_LARGE
        data = entries.seal(text, key, self._cipher_key, order)
        return Sealed(data, stale_until - now)

    def seal_answer(
        self,
        request: Request,
        key: str,
        stamps: Stamps,
        recorder: Recorder,
        seconds: float,
        order: int,
    ) -> Sealed | Refusal:
        """The same for an answer that was complete after ``seconds``."""
        answer = recorder.answer()
        return refusal_of(request, recorder, answer) or self.seal(
            self._bounded(request, answer),
            key,
            stamps,
            answer.payload(),
            cost_of(answer.usage, seconds, request.rules.price),
            order,
        )

    def report(self, request: Request, result: Sealed | Refusal) -> None:
        """Emit that an answer was kept, or why it was not."""
        if isinstance(result, Refusal):
            self._emit(Refused(request.subject, result))
        else:
            self._emit(Kept(request.subject, len(result.data)))

    def _bounded(self, request: Request, answer: Piece) -> Request:
        """The request with the end that ``at_most`` sets for its answer."""
        seconds = request.at_most(answer)
        if seconds is None:
            return request
        ends = [self._clock() + seconds, request.traits.ends_at]
        earliest = min(end for end in ends if end is not None)
        return replace(request, traits=replace(request.traits, ends_at=earliest))


def refusal_of(request: Request, recorder: Recorder, answer: Piece) -> Refusal | None:
    """Why the complete ``answer`` of ``recorder`` must not be kept, or None."""
    refusal = policy.refuse(
        answer.finish_reason,
        has_text=bool(spoken(answer.text).strip()) or answer.data is not None,
        has_tool_calls=bool(answer.tool_calls),
        size=recorder.size,
        rules=request.rules,
        control=request.control,
        calls_are_data=request.traits.calls_are_data,
    )
    if recorder.overflowed:
        return Refusal.TOO_LARGE
    if refusal is None and not _is_accepted(request, answer):
        return Refusal.INVALID_OUTPUT
    return refusal


def cost_of(usage: Usage | None, seconds: float, price: Price) -> Cost:
    """The cost of a load: as the upstream reports it, or by the form's price."""
    if usage is None:
        return Cost(seconds=seconds, currency=price.currency)
    prompt, completion, cached, written = tokens = usage.tokens
    paid, currency = price.of(*tokens), price.currency
    if usage.price is not None:
        paid, currency = usage.price, usage.currency
    return Cost(prompt, completion, paid, currency, seconds, cached, written)


def _is_accepted(request: Request, answer: Piece) -> bool:
    """Whether the request accepts the answer as valid."""
    try:
        return request.accept is None or request.accept(answer)
    except Exception as error:  # noqa: BLE001 - the whole answer was served
        # Only the error's name: its text may repeat the answer.
        name = type(error).__name__
        logger.warning("an answer could not be judged and is not kept: %s", name)
        return False
