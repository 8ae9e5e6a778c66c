"""Many small answers at once: known ones come from the store, the rest is loaded.

This is for embeddings. Each text is an entry of its own, so that a batch with one new
text loads one. A batch waits for a text that another batch of this process is loading. It
does not wait for other processes, because a text costs too little for a lease.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cachecore.answer import Piece, Usage, unbilled
from cachecore.entry import Entry
from cachecore.errors import LeaderGone, NothingCached, StoreError
from cachecore.events import Ended, Followed, Hook, Loaded, Result, Stale
from cachecore.flight import CALL_IDLE_LIMIT, IDLE_LIMIT, Flight, FlightTable
from cachecore.keep import Keeper, Sealed, cost_of
from cachecore.lookup import PER_ROUND_TRIP, Look, Lookup
from cachecore.policy import HITS, LENIENT, MISSES, Control, Reason, Refusal
from cachecore.reports import Reports
from cachecore.request import Request
from cachecore.stamps import Stamps, StampTable
from cachecore.stores.base import Store, Write

# Loads the answers to the forms at these places, in several parts. The data of each is
# bytes. An answer whose finish reason is not ``stop`` is not kept.
type LoadMany = Callable[[Sequence[int]], Iterable[Mapping[int, Piece]]]

# After this many rounds of waiting for other loads, a batch loads the rest itself.
_ROUNDS: Final = 3
# Remembered completions of single answers: enough for a few of the largest batches.
_REMEMBERED: Final = 16_384


@dataclass(slots=True)
class _Batch:
    """A batch in progress. ``items`` are the answers so far, by place."""

    request: Request
    forms: Sequence[Mapping[str, object]]
    load: LoadMany
    idle: float
    alone: bool = False
    items: dict[int, Piece] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)
    failed: bool = False  # The store has failed it, and is not asked again.
    reasons: set[Reason] = field(default_factory=set)  # of its look-ups
    loaded: bool = False


@dataclass(frozen=True, slots=True)
class _Led:
    """An answer that this caller loads, also for its followers."""

    key: str
    stamps: Stamps
    flight: Flight
    absent: bool  # whether there was no entry before


@dataclass(eq=False, slots=True)
class Batches:
    """Requests for batches of answers. Thread-safe."""

    _store: Store
    _lookup: Lookup
    _stamps: StampTable
    _keeper: Keeper
    _reports: Reports
    _emit: Hook
    _timer: Callable[[], float]
    # A table of its own: a batch has thousands of flights, which would displace those of
    # the other kinds.
    _flights: FlightTable = field(
        default_factory=lambda: FlightTable(_REMEMBERED), init=False
    )

    def batch(
        self,
        request: Request,
        forms: Sequence[Mapping[str, object]],
        load: LoadMany,
        *,
        outlives_call: bool = True,
        alone: bool = False,
    ) -> list[Piece]:
        """The answer to each of ``forms``, in order; ``request`` has all their other data.

        ``outlives_call`` says that ``load`` can go on after its call has ended. With
        ``alone`` it waits for no other caller's load. Raises the errors of ``load``, and
        NothingCached if an answer is missing under ``only``.
        """
        idle = IDLE_LIMIT if outlives_call else CALL_IDLE_LIMIT
        batch = _Batch(request, forms, load, idle, alone)
        batch.left = list(range(len(forms)))
        began, result = self._timer(), Result.FAILED
        try:
            items = self._answered(batch)
            result = _result_of(batch)
        except NothingCached:
            result = Result.NOTHING
            raise
        else:
            return items
        finally:
            took = self._timer() - began
            if forms:
                self._emit(Ended(request.subject, result, took, took))

    def _answered(self, batch: _Batch) -> list[Piece]:
        forms = batch.forms
        try:
            for round_ in range(_ROUNDS):
                self._round(batch, reported=round_ > 0)
                if not batch.left:
                    break
            self._load_many(batch, {}, batch.left)
        except Exception as error:
            if not self._stale_for_rest(batch, error):
                raise
        if len(batch.items) < len(forms):
            msg = "the load gave fewer answers than it was asked for"
            raise LookupError(msg)
        return [batch.items[place] for place in range(len(forms))]

    # --- one round: look up, load, follow ----------------------------------

    def _round(self, batch: _Batch, *, reported: bool) -> None:
        request, since = batch.request, self._flights.moment()
        looks = self._known(batch, reported=reported)
        if batch.left and request.control is Control.ONLY:
            raise NothingCached("there is no cached answer for this request")
        mine: dict[int, _Led] = {}
        own: dict[str, Flight] = {}
        theirs: dict[int, tuple[str, Flight]] = {}
        alone, again = [], []
        stamps = self._settled(batch, looks)
        for place in batch.left:
            key = looks[place].key
            if stamps is None or looks[place].stamps is None:
                alone.append(place)
                continue
            if key in own:  # the same text again
                theirs[place] = key, own[key]
                continue
            flight, leads = self._flights.join(
                key,
                stamps,
                request.credential,
                since=since,
                alone=batch.alone or request.control is Control.REFRESH,
                idle=batch.idle,
            )
            if flight is None:
                again.append(place)
            elif leads:
                absent = looks[place].reason is Reason.ABSENT
                mine[place] = _Led(key, stamps, flight, absent)
                own[key] = flight
            else:
                theirs[place] = key, flight
        # Load first, then follow: else two batches might wait for each other.
        self._load_many(batch, mine, alone)
        batch.left = again + self._follow_all(batch, theirs)

    def _follow_all(
        self, batch: _Batch, theirs: Mapping[int, tuple[str, Flight]]
    ) -> list[int]:
        """Take the answers of other loads; returns the places that got none."""
        again = []
        for place, (key, flight) in theirs.items():
            item = self._followed(batch.request, key, flight)
            if item is None:
                again.append(place)
            else:
                batch.items[place] = item
        return again

    def _known(self, batch: _Batch, *, reported: bool) -> dict[int, Look]:
        request = batch.request
        forms = [batch.forms[place] for place in batch.left]
        if batch.failed:
            found = [Look(Reason.UNAVAILABLE, failed=True)] * len(forms)
        else:
            found = self._lookup.find_many(request, forms, _bytes_of)
        looks = dict(zip(batch.left, found, strict=True))
        for place, look in looks.items():
            if not reported:
                batch.reasons.add(look.reason)
                self._reports.look(request, look)
            if look.entry is not None:
                batch.items[place] = _kept(look.entry)
            batch.failed = batch.failed or look.failed
        batch.left = [place for place in batch.left if place not in batch.items]
        return looks

    def _settled(self, batch: _Batch, looks: Mapping[int, Look]) -> Stamps | None:
        """The stamps of this batch's entries: all have the same tags."""
        if batch.failed:
            return None
        for place in batch.left:
            current = looks[place].stamps
            if current is not None:
                stamps = self._stamps.settle(current)
                batch.failed = stamps is None
                return stamps
        return None

    def _order(self, batch: _Batch, mine: Mapping[int, _Led]) -> int:
        """The order of this batch's request; 0 if it replaces no entry."""
        for led in mine.values():
            if not led.absent:
                try:
                    return self._store.order(led.key)
                except StoreError:
                    batch.failed = True
                    break
        return 0

    def _followed(self, request: Request, key: str, flight: Flight) -> Piece | None:
        """The answer that another batch loaded; None if it loaded none."""
        try:
            for pieces in flight.follow(request.credential):
                self._emit(Followed(request.subject))
                return unbilled(pieces[-1])
        except LeaderGone:
            self._flights.leave(key, flight)
        return None

    # --- loading and keeping ----------------------------------------------

    def _load_many(
        self, batch: _Batch, mine: Mapping[int, _Led], alone: Sequence[int]
    ) -> None:
        request, waiting = batch.request, dict(mine)
        order = self._order(batch, mine)
        started = self._timer()
        try:
            for items in batch.load([*mine, *alone]) if mine or alone else ():
                seconds, batch.loaded = self._timer() - started, True
                self._emit(Loaded(request.subject, seconds, seconds))
                batch.items.update(items)
                for place in items.keys() & waiting.keys():
                    waiting[place].flight.publish(items[place])
                    waiting[place].flight.complete()
                led = {place: mine[place] for place in items if place in mine}
                self._keep_items(batch, led, order, seconds / max(1, len(items)))
                for place in items.keys() & waiting.keys():
                    one = waiting.pop(place)
                    self._flights.leave(one.key, one.flight)
                started = self._timer()
        except BaseException as error:
            # The failed call was for all remaining texts: any of them may be the cause.
            left = len({*mine, *alone} - batch.items.keys())
            self._abandon(waiting, error if left == 1 else LeaderGone("a load failed"))
            raise
        self._abandon(waiting, LeaderGone("the load gave no answer"))

    def _abandon(self, waiting: Mapping[int, _Led], error: BaseException) -> None:
        for led in waiting.values():
            # Remove the flight before its followers wake, or they would join it again.
            self._flights.leave(led.key, led.flight)
            led.flight.fail(error)

    def _keep_items(
        self, batch: _Batch, led: Mapping[int, _Led], order: int, seconds: float
    ) -> None:
        """Keep the answers of these loads, which took ``seconds`` each."""
        request = batch.request
        writes: list[Write] = []
        for place, one in led.items():
            item = batch.items[place]
            sealed: Sealed | Refusal = Refusal.INVALID_OUTPUT
            if item.finish_reason == "stop":
                cost = cost_of(item.usage, seconds, request.rules.price)
                sealed = self._keeper.seal(
                    request, one.key, one.stamps, item.data, cost, order
                )
            if isinstance(sealed, Refusal):
                self._keeper.report(request, sealed)
            else:
                writes.append(Write(one.key, sealed.data, sealed.ttl, one.absent))
        for start in range(0, len(writes), PER_ROUND_TRIP):
            self._write_some(batch, writes[start : start + PER_ROUND_TRIP])

    def _write_some(self, batch: _Batch, writes: Sequence[Write]) -> None:
        request = batch.request
        kept: Sequence[bool] = [False] * len(writes)
        if not batch.failed:
            try:
                kept = self._store.keep_many(writes)
            except StoreError:
                batch.failed = True
        why = Refusal.UNAVAILABLE if batch.failed else Refusal.SUPERSEDED
        for write, done in zip(writes, kept, strict=True):
            result = Sealed(write.value, write.ttl) if done else why
            self._keeper.report(request, result)

    def _stale_for_rest(self, batch: _Batch, error: Exception) -> bool:
        """Fill the missing places with stale answers; whether all are filled.

        It looks up again: entries may have been invalidated while the load failed.
        """
        request, window = batch.request, batch.request.rules.stale_if_error
        lenient = window and request.control in LENIENT and not batch.failed
        if not lenient or not request.stale_may_replace(error):
            return False
        missing = [i for i in range(len(batch.forms)) if i not in batch.items]
        forms = [batch.forms[place] for place in missing]
        looks = self._lookup.find_many(request, forms, _bytes_of)
        for place, look in zip(missing, looks, strict=True):
            entry = look.entry or look.stale
            if entry is None:
                return False
            stale = self._lookup.may_serve_stale(request, look.stale, window)
            if look.entry is None and not stale:
                return False
            batch.items[place] = _kept(entry)
        for _ in missing:
            self._emit(Stale(request.subject))
        return True


def _result_of(batch: _Batch) -> Result:
    """The result of a batch that was answered completely."""
    if batch.reasons <= HITS:
        return Result.HIT
    if batch.reasons <= HITS | MISSES:
        return Result.MISS if batch.loaded else Result.SHARED
    return Result.UNCACHED


def _bytes_of(payload: Any) -> bytes:
    """The payload, which must be bytes; raises ValueError otherwise."""
    if not isinstance(payload, bytes):
        msg = "the payload is not that of a batch's item"
        raise ValueError(msg)  # noqa: TRY004 - a caller handles one error
    return payload


def _kept(entry: Entry) -> Piece:
    """The answer of an entry, whose tokens are not billed again."""
    usage = Usage(entry.cost.prompt_tokens, billed=False)
    return Piece(data=entry.payload, usage=usage, finish_reason="stop")
