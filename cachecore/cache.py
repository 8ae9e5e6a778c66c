"""The order of things, and nothing else.

key -> look up -> judge -> join or lead -> load -> keep -> tell. Decisions are
in ``policy``, bytes in ``entry``, what is kept in ``shelf``, the load and its company
in ``loads``.

Two promises shape every line: what the loader raises reaches the caller
unchanged, and what the store raises never does. After its first store failure
a request does not touch the store again.
"""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from cachecore import policy
from cachecore.batches import Batches
from cachecore.entry import Entry
from cachecore.errors import LeaderGone, NothingCached, Standstill
from cachecore.finder import Look, Stamps
from cachecore.flights import IDLE_LIMIT, MORTAL_IDLE_LIMIT, Flight
from cachecore.journal import Journal
from cachecore.keys import Keyspace
from cachecore.loads import MAX_LEADERS
from cachecore.metrics import Ended, Followed, Result, Stale
from cachecore.policy import Control, Reason
from cachecore.request import Request
from cachecore.stores.base import Store
from cachecore.streams import Answer, Piece, replay
from cachecore.trips import LENIENT, Load, Met, Trip, joined

logger = logging.getLogger(__name__)

# Refreshes behind a stale answer at a time, by one cache.
MAX_BEHIND: Final = 16


class Cache(Batches):
    """A cache over one store and one namespace. Thread-safe."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        *,
        journal: Journal | None = None,
        **options: Any,
    ) -> None:
        super().__init__(store, keyspace, **options)
        self._journal = journal
        self._behind = threading.BoundedSemaphore(MAX_BEHIND)

    # --- asking -----------------------------------------------------------

    def stream(
        self,
        request: Request,
        load: Load,
        *,
        outlives: bool = True,
        met: Met | None = None,
    ) -> Iterator[Piece]:
        """The answer in pieces: kept, followed, or loaded and kept.

        ``outlives`` says that ``load`` can go on when the call has ended; only
        then is a stale answer refreshed behind, and a load waited for that is long
        silent. ``met`` is told how the answer came about. Raises what ``load``
        raises; NothingCached for a miss under ``only``; FlightBroken where a
        followed answer ended after a part was shown.
        """
        met = met or Met()
        pieces = self._answer(request, load, met, outlives=outlives)
        if request.rules.stale_if_error and request.control in LENIENT:
            pieces = self._or_stale(request, met, pieces)
        return self._watched(request, met, pieces)

    def _watched(
        self, request: Request, met: Met, pieces: Iterator[Piece]
    ) -> Iterator[Piece]:
        """The pieces; how it went is told when they end, however they do."""
        began, first, journal = self._timer(), None, self._journal
        seen = journal.see(request) if journal else None
        result = Result.FAILED
        try:
            for piece in pieces:
                if first is None and (piece.text or piece.data is not None):
                    first = self._timer() - began
                if seen is not None:
                    seen.add(piece)
                yield piece
            reason = met.look.reason if met.look else Reason.MODE_OFF
            result = Result.of(reason, shared=met.shared)
            if result is Result.HIT and met.waited:
                result = Result.SHARED
        except NothingCached:
            result = Result.NOTHING
            raise
        except GeneratorExit:
            result = Result.LEFT
            raise
        finally:
            ended = Ended(request.subject, result, first, self._timer() - began)
            if journal is not None and seen is not None:
                journal.add(request, met.look, ended, seen)
            self.tell_miss(met.look, request)
            self._tell(ended)

    def _answer(
        self, request: Request, load: Load, met: Met, *, outlives: bool
    ) -> Iterator[Piece]:
        leaders, told, only = 0, False, request.control is Control.ONLY
        while True:
            mark = self._flights.mark()
            look = self.seek(request)
            if look.entry is None and outlives and self._may_lag(request, look.stale):
                look = replace(look, reason=Reason.STALE, entry=look.stale)
                self._refresh(request, look, load, mark)
            met.look, met.shared = look, False
            loads = not (only or look.entry)
            stamps = self.settle(look) if loads else None
            unsettled = loads and look.writable and stamps is None
            met.failure = met.failure or look.failed or unsettled
            flight, leads = None, False
            # Who has the lease waits for nobody.
            flies = leaders < MAX_LEADERS or look.held is not None
            if stamps is not None and flies:
                flight, leads = self._join(request, look, stamps, mark, outlives)
            if flight is None:
                self._give_back(look)
                if stamps is not None and flies:
                    continue
            if not told:  # However often it has to look: it is one request.
                told = True
                self.tell_look(look, request)
            if stamps is None or flight is None:
                yield from self._unshared(request, look, load)
                return
            trip = Trip(request, look, stamps, flight, load, met)
            try:
                yield from self.fly(trip) if leads else self._follow(trip)
            except LeaderGone as gone:
                self._flights.leave(look.key, flight)
                met.waited = True
                # Who only is slow is not given up for good: all would ask at once.
                leaders += not isinstance(gone, Standstill)
                continue
            return

    @staticmethod
    def _unshared(request: Request, look: Look, load: Load) -> Iterator[Piece]:
        """The entry that was found, or a load that is nobody else's affair."""
        if look.entry is not None:
            yield from replay(look.entry.payload)
        elif request.control is Control.ONLY:
            msg = f"no cached answer may be served ({look.reason.value})"
            raise NothingCached(msg)
        else:
            yield from load()

    def _join(
        self, request: Request, look: Look, stamps: Stamps, mark: int, outlives: bool
    ) -> tuple[Flight | None, bool]:
        return self._flights.join(
            look.key,
            stamps,
            request.credential,
            mark=mark,
            alone=request.control is Control.REFRESH,
            idle=IDLE_LIMIT if outlives else MORTAL_IDLE_LIMIT,
        )

    def _follow(self, trip: Trip) -> Iterator[Piece]:
        request, trip.met.shared = trip.request, True
        try:
            for pieces in trip.flight.follow(request.credential):
                yield joined(pieces)
        finally:
            # Only now: until then the leader of this process may take the lease over.
            self._give_back(trip.look)
        self._tell(Followed(request.subject))

    # --- stale answers ----------------------------------------------------

    def _may_lag(self, request: Request, stale: Entry | None) -> bool:
        window = request.rules.stale_while_revalidate
        return request.control in LENIENT and self._is_spare(stale, window)

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
        trip = Trip(request, look, stamps, flight, load, Met())
        behind = threading.Thread(
            target=self._refreshed, args=(trip,), name="cache-refresh", daemon=True
        )
        try:
            behind.start()
        except RuntimeError as error:  # no more threads to be had
            self._flights.leave(look.key, flight)
            flight.crash(LeaderGone(str(error)))
            self._behind.release()

    def _refreshed(self, trip: Trip) -> None:
        try:
            for _ in self.fly(trip, behind=True):
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
        self, request: Request, met: Met, pieces: Iterator[Piece]
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
            self._tell(Stale(request.subject))
            met.look = Look(Reason.STALE, met.look.key if met.look else "", entry=stale)
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
