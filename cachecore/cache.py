"""The order of things, and nothing else.

key -> look up -> judge -> join or lead -> load -> keep -> tell. Decisions are
in ``policy``, bytes in ``entry``, what is kept in ``shelf``, company in ``flights``
and ``relay``.

Two promises shape every line: what the loader raises reaches the caller
unchanged, and what the store raises never does. After its first store failure
a request does not touch the store again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from cachecore import policy
from cachecore.entry import Entry
from cachecore.errors import FlightBroken, LeaderGone, NothingCached, StoreError
from cachecore.flights import Flight, FlightTable
from cachecore.keys import Keyspace
from cachecore.listener import Shared
from cachecore.metrics import Followed, Kept, Loaded, Lookup, Stale
from cachecore.policy import Control, Reason, Refusal
from cachecore.records import Pace
from cachecore.relay import Lead, Relay
from cachecore.request import Request
from cachecore.shelf import Look, Sealed, Shelf, Stamps
from cachecore.stores.base import Store
from cachecore.streams import Answer, Piece, Recorder, merge, replay, unbilled

logger = logging.getLogger(__name__)

# Refreshes behind a stale answer at a time, by one cache.
MAX_BEHIND: Final = 16
# So many leaders may fail a caller one after another before it waits for no more.
MAX_LEADERS: Final = 3

# Those who take what is there; the others have said what they want.
_LENIENT: Final = (Control.DEFAULT, Control.ALWAYS)

type Load = Callable[[], Iterable[Piece]]


@dataclass(slots=True)
class _Met:
    """What a request has met so far. A store that failed it once is left alone."""

    failure: bool = False


@dataclass(frozen=True, slots=True)
class _Trip:
    """A load under way: the first of this process for its key."""

    request: Request
    look: Look
    stamps: Stamps
    flight: Flight
    load: Load
    met: _Met


class Cache(Shelf):
    """A cache over one store and one namespace. Thread-safe."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
        **options: Any,
    ) -> None:
        super().__init__(store, keyspace, **options)
        self._flights = FlightTable()
        self._relay = (
            Relay(store, self._cipher_key, monotonic, pace) if store.shared else None
        )
        self._behind = threading.BoundedSemaphore(MAX_BEHIND)

    # --- asking -----------------------------------------------------------

    def stream(
        self, request: Request, load: Load, *, outlives: bool = True
    ) -> Iterator[Piece]:
        """The answer in pieces: kept, followed, or loaded and kept.

        ``outlives`` says that ``load`` can go on when the call has ended; a
        stale answer is refreshed behind only then. Raises what ``load`` raises;
        NothingCached for a miss under ``only``; FlightBroken where a followed
        answer ended after a part was shown.
        """
        met = _Met()
        pieces = self._answer(request, load, met, outlives=outlives)
        if request.rules.stale_if_error and request.control in _LENIENT:
            return self._or_stale(request, met, pieces)
        return pieces

    def _answer(
        self, request: Request, load: Load, met: _Met, *, outlives: bool
    ) -> Iterator[Piece]:
        leaders = 0
        while True:
            mark = self._flights.mark()
            look = self.find(request, Answer.from_payload)
            entry = look.entry
            if entry is None and outlives and self._may_lag(request, look.stale):
                entry = look.stale
                look = replace(look, reason=Reason.STALE)
                self._refresh(request, look, load, mark)
            met.failure = met.failure or look.failed
            self._tell_look(request, look, entry)
            if entry is not None:
                yield from replay(entry.payload)
                return
            if request.control is Control.ONLY:
                msg = f"no cached answer may be served ({look.reason.value})"
                raise NothingCached(msg)
            stamps = self.settle(look)
            if stamps is None or leaders == MAX_LEADERS:
                met.failure = met.failure or (look.writable and stamps is None)
                yield from load()
                return
            flight, leads = self._flights.join(
                look.key,
                stamps,
                request.credential,
                mark=mark,
                alone=request.control is Control.REFRESH,
            )
            if flight is None:
                continue
            try:
                if leads:
                    trip = _Trip(request, look, stamps, flight, load, met)
                    yield from self._fly(trip)
                else:
                    yield from self._follow(request, flight)
            except LeaderGone:
                self._flights.leave(look.key, flight)
                leaders += 1
                continue
            return

    def _follow(self, request: Request, flight: Flight) -> Iterator[Piece]:
        for pieces in flight.follow(request.credential):
            yield _joined(pieces)
        self._tell(Followed(request.kind, request.label))

    # --- loading ----------------------------------------------------------

    def _fly(self, trip: _Trip, *, behind: bool = False) -> Iterator[Piece]:
        """Lead this process: load, or listen to who loads elsewhere.

        ``behind`` loads only where nobody else does.
        """
        key = trip.look.key
        try:
            yield from self._led(trip, behind=behind)
        except BaseException as error:
            # Off the table before followers wake: they would join it again.
            self._flights.leave(key, trip.flight)
            trip.flight.crash(error)
            raise
        # After keeping: who misses the flight must find the entry.
        self._flights.leave(key, trip.flight)

    def _led(self, trip: _Trip, *, behind: bool) -> Iterator[Piece]:
        relay, request, key = self._relay, trip.request, trip.look.key
        if relay is None:
            yield from self._load(trip, None)
            return
        newest = self._flights.is_current(key, trip.flight)
        over = "*" if request.control is Control.REFRESH and newest else ""
        try:
            claim, value = relay.claim(key, trip.stamps, over=over)
        except StoreError:
            if behind:
                raise LeaderGone("nothing could be kept") from None
            trip.met.failure = True
            yield from self._load(trip, None)
            return
        if isinstance(claim, Lead):
            yield from self._led_under(claim, value, trip)
            return
        if behind:
            raise LeaderGone("another process is loading it")
        try:
            yield from self._listen(trip, relay, claim)
        except LeaderGone:
            # To be looked up anew: while this one waited, an invalidation may have
            # overtaken the stamps that it came with.
            relay.give_up(claim)
            raise
        except StoreError:
            trip.met.failure = True
            yield from self._load(trip, None)

    def _led_under(
        self, lead: Lead, value: bytes | None, trip: _Trip
    ) -> Iterator[Piece]:
        reason, entry = self.judge(
            trip.request, lead.key, value, trip.stamps, Answer.from_payload
        )
        if entry is None or reason is not Reason.HIT:
            yield from self._load(trip, lead)
            return
        # Kept by another process since this one looked.
        lead.leave()
        for piece in replay(entry.payload):
            trip.flight.publish(piece)
            yield piece
        trip.flight.land()

    def _listen(self, trip: _Trip, relay: Relay, token: str) -> Iterator[Piece]:
        """What another process loads; taken over where it ends and that is fair."""
        request = trip.request
        shown: list[Piece] = []
        try:
            for pieces in relay.listen(trip.look.key, token, request.credential):
                shown += pieces
                trip.flight.publish(merge(pieces))
                yield _joined(pieces)
        except Shared as error:
            revived = request.revive(error.name, error.text)
            if revived is not None:
                raise revived from None
            if not shown:
                raise LeaderGone("the load failed elsewhere") from None
        except FlightBroken:
            pass
        else:
            trip.flight.land()
            self._tell(Followed(request.kind, request.label))
            return
        yield from self._resume(trip, shown)

    def _resume(self, trip: _Trip, shown: list[Piece]) -> Iterator[Piece]:
        """Another answer, if it begins with what was shown of the one that broke off.

        Then what the caller has is this answer from its first word to its last,
        and nothing is spliced; else it ends with FlightBroken.
        """
        part = merge(shown)
        if part.finish_reason is not None:  # Only the word that it was kept is missing.
            trip.flight.land()
            return
        owed = part.text
        for piece in trip.load():
            common = min(len(owed), len(piece.text))
            rest = replace(piece, text=piece.text[common:])
            differs = owed[:common] != piece.text[:common] or part.tool_calls
            owed = owed[common:]
            if differs or (owed and (piece.tool_calls or piece.finish_reason)):
                raise FlightBroken("the load that this answer came from ended early")
            if rest != Piece():
                trip.flight.publish(rest)
                yield rest
        if owed:
            raise FlightBroken("the load that this answer came from ended early")
        trip.flight.land()

    def _load(self, trip: _Trip, lead: Lead | None) -> Iterator[Piece]:
        request, flight = trip.request, trip.flight
        recorder = Recorder(request.rules.max_entry_bytes)
        started, first = self._timer(), None
        try:
            if lead is not None:
                lead.attach(flight)
            for piece in trip.load():
                if first is None:
                    first = self._timer() - started
                recorder.add(piece)
                flight.publish(piece)
                if lead is not None:
                    lead.moved()
                yield piece
        except BaseException as error:
            if lead is not None:
                trip.met.failure = trip.met.failure or lead.failed
                lead.crash(error, request.credential)
            raise
        # Reached by exhaustion only: close() and errors leave the loop above.
        flight.land()
        seconds = self._timer() - started
        self._tell(Loaded(request.kind, request.label, first or seconds, seconds))
        self._land(trip, lead, self._sealed(trip, recorder, seconds))

    # --- keeping ----------------------------------------------------------

    def _land(self, trip: _Trip, lead: Lead | None, sealed: Sealed | None) -> None:
        """Keep the answer, unless one that was asked for later is on its way."""
        request, key, flight = trip.request, trip.look.key, trip.flight
        refusal: Refusal | None = None
        if trip.met.failure:
            refusal = Refusal.UNAVAILABLE
        else:
            if not self._flights.is_current(key, flight):
                sealed = None
            try:
                if not self._put(key, lead, sealed):
                    refusal = Refusal.SUPERSEDED
            except StoreError:
                refusal = Refusal.UNAVAILABLE
        if sealed is None:
            return
        if refusal is not None:
            self._refuse(request, refusal)
        elif not self._flights.is_current(key, flight):
            # A refresh began while this was being written, and may have written
            # before it: rather nothing than the older answer.
            self._drop(key)
        else:
            self._tell(Kept(request.kind, request.label, len(sealed.data)))

    def _put(self, key: str, lead: Lead | None, sealed: Sealed | None) -> bool:
        """Write the entry and end the lead's stream; raises StoreError."""
        if lead is not None:
            return lead.land(sealed.data, sealed.ttl) if sealed else lead.land(None, 1)
        if sealed is not None:
            self._store.keep(key, sealed.data, sealed.ttl)
        return True

    def _sealed(self, trip: _Trip, recorder: Recorder, seconds: float) -> Sealed | None:
        request, answer = trip.request, recorder.answer()
        refusal = policy.refuse(
            answer.finish_reason,
            has_text=bool(answer.text.strip()),
            has_tool_calls=bool(answer.tool_calls),
            size=recorder.size,
            rules=request.rules,
            control=request.control,
        )
        if recorder.overflowed:
            refusal = Refusal.TOO_LARGE
        if refusal is None and not _accepted(request, answer):
            refusal = Refusal.INVALID_OUTPUT
        if refusal is not None:
            self._refuse(request, refusal)
            return None
        usage = answer.usage
        cost = policy.cost(
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
            seconds,
            request.rules.price,
        )
        return self.seal(request, trip.look.key, trip.stamps, answer.payload(), cost)

    # --- stale answers ----------------------------------------------------

    def _may_lag(self, request: Request, stale: Entry | None) -> bool:
        window = request.rules.stale_while_revalidate
        return request.control in _LENIENT and self._is_spare(stale, window)

    def _is_spare(self, stale: Entry | None, window: float) -> bool:
        return stale is not None and policy.may_lag(stale, window, self._clock())

    def _refresh(self, request: Request, look: Look, load: Load, mark: int) -> None:
        """Load anew behind a stale answer, unless somebody does already."""
        if not self._behind.acquire(blocking=False):
            return
        stamps = self.settle(look)
        flight, leads = None, False
        if stamps is not None:
            flight, leads = self._flights.join(
                look.key, stamps, request.credential, mark=mark, alone=False
            )
        if stamps is None or flight is None or not leads:
            self._behind.release()
            return
        trip = _Trip(request, look, stamps, flight, load, _Met())
        behind = threading.Thread(
            target=self._refreshed, args=(trip,), name="cache-refresh", daemon=True
        )
        try:
            behind.start()
        except RuntimeError as error:  # no more threads to be had
            self._flights.leave(look.key, flight)
            flight.crash(LeaderGone(str(error)))
            self._behind.release()

    def _refreshed(self, trip: _Trip) -> None:
        try:
            for _ in self._fly(trip, behind=True):
                pass
        except LeaderGone:
            pass  # Another process refreshes it.
        except Exception as error:  # noqa: BLE001 - its caller has been served
            # The name alone: the error's text is for a caller, and there is none.
            name = type(error).__name__
            logger.warning("a stale answer could not be refreshed: %s", name)
        finally:
            self._behind.release()

    def _or_stale(
        self, request: Request, met: _Met, pieces: Iterator[Piece]
    ) -> Iterator[Piece]:
        """The pieces, or a stale answer where they fail before the first of them."""
        shown = False
        try:
            for piece in pieces:
                shown = True
                yield piece
        except Exception as error:
            stale = None if shown or met.failure else self._spare(request, error)
            if stale is None:
                raise
            self._tell(Stale(request.kind, request.label))
            yield from replay(stale.payload)

    def _spare(self, request: Request, error: Exception) -> Entry | None:
        """What may be served in place of ``error``; looked up anew.

        The load may have taken minutes: what was invalidated meanwhile is dead.
        """
        if isinstance(error, NothingCached) or not request.excuses(error):
            return None
        look = self.find(request, Answer.from_payload)
        if look.entry is not None:
            return look.entry
        window = request.rules.stale_if_error
        return look.stale if self._is_spare(look.stale, window) else None

    # --- telling ----------------------------------------------------------

    def _tell_look(self, request: Request, look: Look, entry: Entry | None) -> None:
        self._tell(
            Lookup(
                request.kind,
                request.label,
                look.reason,
                look.seconds,
                entry.cost if entry else None,
                self._clock() - entry.created_at if entry else None,
            )
        )


def _joined(pieces: Iterable[Piece]) -> Piece:
    """Several pieces as one, which another caller has paid for."""
    piece = merge(pieces)
    return replace(piece, usage=unbilled(piece.usage))


def _accepted(request: Request, answer: Answer) -> bool:
    try:
        return request.accept is None or request.accept(answer)
    except Exception as error:  # noqa: BLE001 - the answer was given in full
        # The name alone: the error's text may repeat the answer.
        name = type(error).__name__
        logger.warning("an answer could not be judged and is not kept: %s", name)
        return False
