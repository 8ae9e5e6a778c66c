"""Loading an answer: alone, or for everybody who asks for it meanwhile.

A load belongs to the first caller of this process (``flights``) that also holds
the lease of all processes (``relay``); who finds it taken listens. What came whole
is kept. The order in which all this is asked is ``cache``'s.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from cachecore import policy
from cachecore.bidding import Bidder
from cachecore.errors import FlightBroken, LeaderGone, StoreError
from cachecore.lead import Lead
from cachecore.listener import Shared
from cachecore.metrics import Followed, Kept, Loaded
from cachecore.policy import Control, Reason, Refusal
from cachecore.relay import Relay
from cachecore.request import Request
from cachecore.shelf import Sealed
from cachecore.streams import Answer, Piece, Recorder, merge, replay
from cachecore.trips import Trip, cost_of, is_accepted, joined

# So many leaders may fail a caller one after another before it waits for no more.
MAX_LEADERS: Final = 3


class Loads(Bidder):
    """A shelf that is filled by loads."""

    def fly(self, trip: Trip, *, behind: bool = False) -> Iterator[Piece]:
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

    def _led(self, trip: Trip, *, behind: bool) -> Iterator[Piece]:
        relay, request, key = self._relay, trip.request, trip.look.key
        if relay is None:
            yield from self._load(trip, None)
            return
        held = relay.take(trip.look.held)
        if held is not None:
            yield from self._load(trip, held)
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
            trip.met.failure, trip.met.shared = True, False
            yield from self._load(trip, None)

    def _led_under(
        self, lead: Lead, value: bytes | None, trip: Trip
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

    def _listen(self, trip: Trip, relay: Relay, token: str) -> Iterator[Piece]:
        """What another process loads; taken over where it ends and that is fair."""
        request = trip.request
        shown: list[Piece] = []
        trip.met.shared = True
        try:
            for pieces in relay.listen(trip.look.key, token, request.credential):
                shown += pieces
                trip.flight.publish(merge(pieces))
                yield joined(pieces)
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
            self._tell(Followed(request.subject, afar=True))
            return
        yield from self._resume(trip, shown)

    def _resume(self, trip: Trip, shown: list[Piece]) -> Iterator[Piece]:
        """Another answer, if it begins with what was shown of the one that broke off.

        Then what the caller has is this answer from its first word to its last,
        and nothing is spliced; else it ends with FlightBroken.
        """
        part = merge(shown)
        if part.finish_reason is not None:  # Only the word that it was kept is missing.
            trip.flight.land()
            return
        owed, trip.met.shared = part.text, False
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

    def _load(self, trip: Trip, lead: Lead | None) -> Iterator[Piece]:
        request, flight = trip.request, trip.flight
        recorder = Recorder(request.rules.max_entry_bytes)
        started, first = self._timer(), None
        try:
            if lead is not None:
                lead.attach(flight)
            for piece in trip.load():
                if first is None and (piece.text or piece.data is not None):
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
        self._tell(Loaded(request.subject, first or seconds, seconds))
        self._land(trip, lead, self._sealed(trip, recorder, seconds))

    # --- bidding ----------------------------------------------------------

    # --- keeping ----------------------------------------------------------

    def _land(self, trip: Trip, lead: Lead | None, sealed: Sealed | None) -> None:
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
            self._flights.kept(key, flight)
            self._tell(Kept(request.subject, len(sealed.data)))

    def _put(self, key: str, lead: Lead | None, sealed: Sealed | None) -> bool:
        """Write the entry and end the lead's stream; raises StoreError."""
        if lead is not None:
            return lead.land(sealed.data, sealed.ttl) if sealed else lead.land(None, 1)
        if sealed is not None:
            self._store.keep(key, sealed.data, sealed.ttl)
        return True

    def _sealed(self, trip: Trip, recorder: Recorder, seconds: float) -> Sealed | None:
        request, answer = trip.request, recorder.answer()
        refusal = policy.refuse(
            answer.finish_reason,
            has_text=bool(answer.text.strip()) or answer.data is not None,
            has_tool_calls=bool(answer.tool_calls),
            size=recorder.size,
            rules=request.rules,
            control=request.control,
        )
        if recorder.overflowed:
            refusal = Refusal.TOO_LARGE
        if refusal is None and not is_accepted(request, answer):
            refusal = Refusal.INVALID_OUTPUT
        if refusal is not None:
            self._refuse(request, refusal)
            return None
        cost = cost_of(answer.usage, seconds, request.rules.price)
        return self.seal(
            self._ending(request, answer),
            trip.look.key,
            trip.stamps,
            answer.payload(),
            cost,
        )

    def _ending(self, request: Request, answer: Answer) -> Request:
        """The request, whose answer lives ``at_most`` so long."""
        seconds = request.at_most(answer)
        if seconds is None:
            return request
        ends = [self._clock() + seconds, request.traits.ends_at]
        earliest = min(end for end in ends if end is not None)
        return replace(request, traits=replace(request.traits, ends_at=earliest))
