"""The cache: what happens to one request, from its key to its answer.

``Cache.stream`` reads from top to bottom: key -> look up -> judge -> join or lead ->
load -> keep. What each step means stands elsewhere: ``keys``, ``lookup``, ``policy``,
``flight`` (one process), ``lease`` (all processes), ``keep``, ``stamps`` (invalidation).

Two promises shape every line: what the loader raises reaches the caller unchanged, and
what the store raises never does. After its first store failure a request leaves the
store alone.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from cachecore import entry as entries
from cachecore.admin import Admin
from cachecore.answer import Piece, Recorder, Usage, merge, split, unbilled
from cachecore.audit import Auditor
from cachecore.batch import Batches, Item, LoadMany
from cachecore.entry import Cost, Entry
from cachecore.errors import (
    FlightBroken,
    LeaderFailed,
    LeaderGone,
    LeaderStalled,
    NothingCached,
    StoreError,
    UnkeyableError,
)
from cachecore.event_log import EventLog
from cachecore.events import Ended, Followed, Hook, Loaded, Result, Stale, guarded
from cachecore.events import ignore as ignore_events
from cachecore.flight import CALL_IDLE_LIMIT, IDLE_LIMIT, Flight, FlightTable
from cachecore.keep import Keeper
from cachecore.keys import Keyspace
from cachecore.lease import Lead, Leases, Pace
from cachecore.lookup import Look, Lookup, Read
from cachecore.policy import LENIENT, Control, Reason, Refusal
from cachecore.reports import Reports
from cachecore.request import Request
from cachecore.stamps import Stamps, StampTable
from cachecore.stores.base import Store

if TYPE_CHECKING:
    from cachecore.meaning.evidence import BandState
    from cachecore.meaning.tier import MeaningTier

logger = logging.getLogger(__name__)

type Load = Callable[[], Iterable[Piece]]

# So many leaders may fail a caller one after another before it waits for no more.
MAX_LEADERS: Final = 3
# Refreshes behind a stale answer at a time, by one cache.
MAX_REFRESHES: Final = 16


@dataclass(slots=True)
class RequestState:
    """How a request is being answered.

    ``look`` is its last look-up, None before the first; ``failed`` says that the store
    failed it, ``shared`` that the answer comes from a load that another caller began,
    ``waited`` that one was waited for in vain. ``load`` is the lease's token of the load
    that gave the answer, the same for all whom it answered.
    """

    look: Look | None = None
    failed: bool = False
    shared: bool = False
    waited: bool = False
    load: str = ""


@dataclass(slots=True)
class Shown:
    """What a caller was shown of an answer whose leader died.

    Another answer may stand in only if it begins with the same text: then the caller has
    that answer from its first word to its last, and nothing is spliced.
    """

    text: str = ""
    tool_calls: bool = False
    finished: bool = False
    remaining: str = field(default="", init=False)

    def add(self, piece: Piece) -> None:
        """The caller was shown this."""
        self.text += piece.text
        self.tool_calls = self.tool_calls or bool(piece.tool_calls)
        self.finished = self.finished or piece.finish_reason is not None

    def begin(self) -> None:
        """Another answer begins."""
        self.remaining = self.text

    def take(self, piece: Piece) -> Piece | None:
        """What of the other answer's next piece is new; raises FlightBroken."""
        if not self.text:
            return piece
        remaining = self.remaining
        common = min(len(remaining), len(piece.text))
        self.remaining = remaining[common:]
        ends = piece.tool_calls or piece.finish_reason
        differs = remaining[:common] != piece.text[:common] or self.tool_calls
        if differs or (self.remaining and ends):
            raise FlightBroken("the load that this answer came from ended early")
        rest = replace(piece, text=piece.text[common:])
        return None if rest == Piece() else rest

    def end(self) -> None:
        """The other answer has ended; raises FlightBroken if it was the shorter one."""
        if self.remaining:
            raise FlightBroken("the load that this answer came from ended early")


@dataclass(slots=True)
class _Job:
    """A load that this caller leads in this process. ``stamps`` is None without a store."""

    request: Request
    key: str
    stamps: Stamps | None
    flight: Flight
    load: Load
    state: RequestState
    take_over: str = ""  # the token of a leader that was given up


class Cache:
    """A cache over one store and one namespace. Thread-safe."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        *,
        cipher_key: bytes | None = None,
        hook: Hook = ignore_events,
        event_log: EventLog | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        pace: Pace | None = None,
    ) -> None:
        emit = guarded(hook)
        self.store = store
        self._clock = clock
        self._emit = emit
        self._timer = timer
        self._event_log = event_log
        self._keyspace, self._cipher_key = keyspace, cipher_key
        self._lookup = Lookup(store, keyspace, cipher_key, clock, timer)
        self._stamps = StampTable(store, keyspace)
        self._keeper = Keeper(cipher_key, clock, emit)
        self._flights = FlightTable(timer=monotonic)
        self._leases = Leases(store, cipher_key, monotonic, sleep, pace)
        self._auditor = Auditor(self._leases, self._keeper, clock, timer, emit)
        self._reports = Reports(keyspace, clock, emit)
        self._batches = Batches(
            store, self._lookup, self._stamps, self._keeper, self._reports, emit, timer
        )
        self._refreshes = threading.BoundedSemaphore(MAX_REFRESHES)
        self.admin = Admin(store, keyspace, self._stamps, clock, emit)

    # --- asking -----------------------------------------------------------

    def stream(
        self,
        request: Request,
        load: Load,
        *,
        outlives_call: bool = True,
        state: RequestState | None = None,
    ) -> Iterator[Piece]:
        """The answer in pieces: kept, followed, or loaded and kept.

        ``outlives_call`` says that ``load`` can go on when the call has ended; only
        then is a stale answer refreshed behind, and a load waited for that is long
        silent. ``state`` says, when the pieces have ended, how the answer came about.
        Raises what ``load`` raises; NothingCached for a miss under ``only``;
        FlightBroken where a followed answer ended after a part was shown.
        """
        state = state or RequestState()
        pieces = self._answer(request, load, state, outlives_call=outlives_call)
        if request.rules.stale_if_error and request.control in LENIENT:
            pieces = self._stale_on_error(request, state, pieces)
        return self._measured(request, state, pieces)

    def _answer(
        self, request: Request, load: Load, state: RequestState, *, outlives_call: bool
    ) -> Iterator[Piece]:
        """Key -> look up -> judge -> join or lead; again where a leader ended in vain."""
        idle = IDLE_LIMIT if outlives_call else CALL_IDLE_LIMIT
        leaders, take_over, reported, began = 0, "", False, self._timer()
        while True:
            since = self._flights.moment()
            look = self._looked_up(request, state)
            job, leads, own = None, False, False
            if outlives_call and leaders < MAX_LEADERS:
                look, job, own = self._stale_instead(
                    request, look, load, state, since, began
                )
            state.look, state.shared = look, False
            state.failed = state.failed or look.failed
            wanted = look.entry is None and request.control is not Control.ONLY
            if job is None and wanted and look.key and leaders < MAX_LEADERS:
                job, leads = self._join(request, look, load, state, since, idle)
                if job is None and not state.failed and look.stamps is not None:
                    continue  # It landed since: its entry is there by now.
            if not reported:  # However often it has to look, it is one request.
                reported = True
                self._reports.look(request, look)
            if look.entry is not None:
                yield from split(look.entry.payload)
                self._auditor.begin(request, look, load, outlives_call=outlives_call)
                return
            if not wanted:
                msg = f"no cached answer may be served ({look.reason.value})"
                raise NothingCached(msg)
            if job is None:
                yield from load()
                return
            job.take_over = take_over
            try:
                yield from self._lead(job) if leads else self._follow(job, own=own)
            except LeaderGone as gone:
                self._flights.leave(job.key, job.flight)
                state.waited, take_over = True, job.flight.token
                # Who only is slow is not given up for good: all would ask at once.
                leaders += not isinstance(gone, LeaderStalled)
                continue
            return

    def _looked_up(self, request: Request, state: RequestState) -> Look:
        """A look-up; where it misses, one in other words if the request opts in."""
        if state.failed and state.look:
            return state.look
        look = self.look_up(request)
        found = self._in_other_words(request, look)
        if request.meaning is not None and found is look and look.stale is not None:
            # It may have taken seconds, and an invalidation may have come: a stale answer
            # is to stand in by what stands now.
            return self.look_up(request)
        return found

    def _join(
        self,
        request: Request,
        look: Look,
        load: Load,
        state: RequestState,
        since: int,
        idle: float,
    ) -> tuple[_Job | None, bool]:
        """A flight and whether this caller leads it; None if nothing may be joined."""
        stamps, most = self.settle(look), 0.0
        if stamps is None:
            if not look.failed and look.stamps is None:
                return None, False
            # The store is away: one load in this process is still enough.
            state.failed, most = True, request.rules.join_without_store
            if most <= 0 or request.control is Control.REFRESH:
                return None, False
        flight, leads = self._flights.join(
            look.key,
            stamps,
            request.credential,
            since=since,
            alone=request.control is Control.REFRESH,
            idle=idle,
            most=most,
        )
        if flight is None:
            return None, False
        return _Job(request, look.key, stamps, flight, load, state), leads

    # --- following and leading --------------------------------------------

    def _follow(self, job: _Job, *, own: bool = False) -> Iterator[Piece]:
        """What another caller of this process loads, or this one's ``own`` load behind."""
        job.state.shared = not own
        for pieces in job.flight.follow(job.request.credential):
            yield merge(pieces) if own else unbilled(merge(pieces))
        job.state.load = job.flight.token
        if not own:
            self._emit(Followed(job.request.subject))

    def _lead(self, job: _Job, *, only_if_free: bool = False) -> Iterator[Piece]:
        """Lead this process, whichever process loads.

        ``only_if_free`` loads only where nobody else does.
        """
        try:
            yield from self._led(job, only_if_free=only_if_free)
        except BaseException as error:
            # Off the table before followers wake: they would join it again.
            self._flights.leave(job.key, job.flight)
            job.flight.fail(error)
            raise
        # After keeping: who misses the flight must find the entry.
        self._flights.leave(job.key, job.flight)

    def _led(self, job: _Job, *, only_if_free: bool) -> Iterator[Piece]:
        """Claim the lease. Load under it, or follow its holder, and claim again."""
        shown = Shown()
        take_over = "*" if job.request.control is Control.REFRESH else job.take_over
        for _ in range(MAX_LEADERS):
            claimed = self._claim(job, take_over)
            if claimed is None:
                break
            lead, value = claimed
            kept = self._kept_since(job, value)
            if kept is not None:
                if isinstance(lead, Lead):
                    lead.release()
                yield from self._replay(job, kept, shown)
                return
            if isinstance(lead, Lead):
                job.flight.token = job.state.load = lead.token
                job.state.shared = False
                yield from self._load(job, lead, shown)
                return
            if only_if_free:
                raise LeaderGone("another process is loading it")
            take_over = job.flight.token = lead
            if (yield from self._follow_other_process(job, lead, shown)):
                return
            if job.stamps is not None and not shown.text and not shown.tool_calls:
                # To be looked up anew: an invalidation may have overtaken the stamps.
                raise LeaderGone("the leader ended without an answer")
        if only_if_free:
            raise LeaderGone("nothing could be kept")
        job.state.shared = False
        yield from self._load(job, None, shown)

    def _claim(
        self, job: _Job, take_over: str
    ) -> tuple[Lead | str, bytes | None] | None:
        """The lease or its holder's token, and the entry now kept; None without a store."""
        if job.stamps is None:
            return None
        try:
            return self._leases.claim(job.key, job.stamps, take_over=take_over)
        except StoreError:
            job.state.failed = True
            return None

    def _kept_since(self, job: _Job, value: bytes | None) -> Entry | None:
        """The entry that a claim found, if it may be served: kept since the look-up."""
        reason, entry = self._lookup.judge(
            job.request, job.key, value, job.stamps or {}, Piece.from_payload
        )
        return entry if reason is Reason.HIT else None

    def _replay(self, job: _Job, entry: Entry, shown: Shown) -> Iterator[Piece]:
        shown.begin()
        for piece in split(entry.payload):
            rest = shown.take(piece)
            if rest is not None:
                job.flight.publish(rest)
                yield rest
        shown.end()
        job.flight.complete()

    def _load(self, job: _Job, lead: Lead | None, shown: Shown) -> Iterator[Piece]:
        """Ask the upstream; keep the answer where a lease gave the right to."""
        request, flight = job.request, job.flight
        recorder = Recorder(request.rules.max_entry_bytes)
        if lead is not None and request.meaning is not None:
            self._meaning.begin(request)
        started, first = self._timer(), None
        shown.begin()
        try:
            if lead is not None and self.store.shared:
                lead.publishes = not shown.text
                lead.attach(flight)
            for piece in job.load():
                if first is None and (piece.text or piece.data is not None):
                    first = self._timer() - started
                recorder.add(piece)
                rest = shown.take(piece)
                if rest is None:
                    continue
                flight.publish(rest)
                if lead is not None:
                    # It begins as what was shown did: now others may have it too.
                    lead.publishes = not shown.remaining
                    lead.moved()
                yield rest
            shown.end()
        except BaseException as error:
            if lead is not None:
                lead.fail(error, request.credential)
            raise
        # Reached by exhaustion only: close() and errors leave the loop above.
        flight.complete()
        seconds = self._timer() - started
        self._emit(_loaded(request, recorder.usage, first or seconds, seconds))
        self._keep(job, lead, recorder, seconds)

    def _keep(
        self, job: _Job, lead: Lead | None, recorder: Recorder, seconds: float
    ) -> None:
        request, keeper = job.request, self._keeper
        order = lead.order if lead is not None else 0
        sealed = keeper.seal_answer(
            request, job.key, job.stamps or {}, recorder, seconds, order
        )
        refusal: Refusal | None = Refusal.UNAVAILABLE
        if lead is not None:
            try:
                if sealed is None:
                    lead.commit(None, 1)
                elif lead.commit(sealed.data, sealed.ttl):
                    refusal = None
                else:
                    refusal = Refusal.SUPERSEDED
            except StoreError:
                job.state.failed = True
        if sealed is None:
            return
        if refusal is None:
            keeper.kept(request, sealed)
            if request.meaning is not None:
                answer = recorder.answer()
                self._meaning.learn(request, job.key, job.stamps or {}, answer)
        else:
            keeper.refuse(request, refusal)

    def _follow_other_process(
        self, job: _Job, token: str, shown: Shown
    ) -> Generator[Piece, None, bool]:
        """What another process loads; returns whether that came to its end.

        A store that is away says nothing of the leader. A follower that has shown
        nothing then loads by itself; one that has shown a part tries whether the
        upstream's answer begins so, and else waits for the store.
        """
        for patience in (self._leases.pace.outage, job.flight.idle):
            try:
                return (yield from self._followed(job, token, shown, patience))
            except StoreError:
                if not shown.text and not shown.tool_calls:
                    break
            try:
                yield from self._load(job, None, shown)
            except Exception:  # noqa: BLE001, S112 - the leader may still have the rest
                continue
            return True
        job.state.failed, job.stamps = True, None
        return False

    def _followed(
        self, job: _Job, token: str, shown: Shown, patience: float
    ) -> Generator[Piece, None, bool]:
        request, job.state.shared = job.request, True
        shown.begin()
        pieces = self._leases.follow(
            job.key, token, request.credential, patience=patience
        )
        try:
            for piece in pieces:
                rest = shown.take(piece)
                if rest is not None:
                    shown.add(rest)
                    job.flight.publish(rest)
                    yield rest
            shown.end()
        except LeaderFailed as error:
            rebuilt = request.rebuild_error(error.name, error.text)
            if rebuilt is not None:
                raise rebuilt from None
            return False
        except LeaderGone:
            if not shown.finished:  # Else only the word that it landed is missing.
                return False
        job.flight.complete()
        job.state.load = token
        self._emit(Followed(request.subject, other_process=True))
        return True

    # --- answers to other questions ---------------------------------------

    @cached_property
    def _meaning(self) -> "MeaningTier":
        # Who does not opt in does not even load it.
        from cachecore.meaning.tier import MeaningTier  # noqa: PLC0415

        parts = self.store, self._keyspace, self._lookup, self._cipher_key, self._emit
        return MeaningTier(*parts, clock=self._clock)

    def _in_other_words(self, request: Request, look: Look) -> Look:
        """The look-up, with the answer to the same question in other words, if any.

        Only for a request that opts in.
        """
        if request.meaning is None or look.entry is not None:
            return look
        began = self._timer()
        try:
            near = self._meaning.find(request, look)
            served = self.admin.signed(near.key, near.served) if near else ""
        except (StoreError, UnkeyableError):
            return look
        except Exception as error:  # noqa: BLE001 - it may cost a hit, never an answer
            logger.warning("a question was not compared: %s", type(error).__name__)
            return look
        if near is None:
            return look
        return look._replace(
            reason=Reason.MEANING,
            key=near.key,
            own=look.key,
            entry=near.entry,
            served=served,
            seconds=look.seconds + self._timer() - began,
        )

    def bands(self) -> "list[BandState]":
        """How each band stood after its last comparison. Raises StoreError."""
        from cachecore.meaning import evidence  # noqa: PLC0415 - as above

        of = self.store, self._keyspace, self._cipher_key
        return evidence.shown(*of, self._clock())

    # --- stale answers ----------------------------------------------------

    def _stale_instead(
        self,
        request: Request,
        look: Look,
        load: Load,
        state: RequestState,
        since: int,
        began: float,
    ) -> tuple[Look, _Job | None, bool]:
        """The look-up, with its stale answer where that may be served now.

        Also a load behind that has begun in time, and whether it is this caller's own.
        """
        rules, stale = request.rules, look.stale
        if look.entry is not None or request.control not in LENIENT:
            return look, None, False
        may = self._lookup.may_serve_stale
        refreshing = may(request, stale, rules.stale_while_revalidate)
        budget = rules.first_token_budget
        if not refreshing and not (
            budget and may(request, stale, rules.stale_if_error)
        ):
            return look, None, False
        reason = Reason.STALE if refreshing else Reason.LATE
        served = look._replace(reason=reason, entry=stale)
        if not self._refreshes.acquire(blocking=False):
            return served, None, False  # Enough is asked of the upstream already.
        job, own = self._load_in_background(
            request, look, load, since, only_if_free=refreshing
        )
        if refreshing:
            return served, None, False
        if job is not None and not own:
            job.state = state  # This caller follows another's load.
        left = budget - (self._timer() - began)
        late = job is not None and not job.flight.begins_within(left)
        return served if late else look, job, own

    def _load_in_background(
        self,
        request: Request,
        look: Look,
        load: Load,
        since: int,
        *,
        only_if_free: bool,
    ) -> tuple[_Job | None, bool]:
        """A load in a thread of its own, or the one under way; whether it is the former.

        ``only_if_free`` loads only where no other process does. None where it has just landed.
        Gives ``_refreshes`` back when it ends.
        """
        job, leads = self._join(request, look, load, RequestState(), since, IDLE_LIMIT)
        if job is None or not leads:
            self._refreshes.release()
            return job, False
        thread = threading.Thread(
            target=self._refresh,
            args=(job, only_if_free),
            name="cache-refresh",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:  # no thread can be started
            self._flights.leave(job.key, job.flight)
            job.flight.fail(LeaderGone(str(error)))
            self._refreshes.release()
        return job, True

    def _refresh(self, job: _Job, only_if_free: bool) -> None:
        try:
            for _ in self._lead(job, only_if_free=only_if_free):
                pass
        except LeaderGone:
            pass  # Another process refreshes it.
        except Exception as error:  # noqa: BLE001 - its caller has been served
            # The name alone: the error's text is for a caller, and there is none.
            name = type(error).__name__
            logger.warning("a stale answer could not be refreshed: %s", name)
        finally:
            self._refreshes.release()

    def _stale_on_error(
        self, request: Request, state: RequestState, pieces: Iterator[Piece]
    ) -> Iterator[Piece]:
        """The pieces, or a stale answer where they fail before the first of them."""
        shown = False
        try:
            for piece in pieces:
                shown = True
                yield piece
        except Exception as error:
            spare = None if shown or state.failed else self._stale_for(request, error)
            if spare is None:
                raise
            self._emit(Stale(request.subject))
            key = state.look.key if state.look else ""
            state.look = Look(Reason.STALE, key, entry=spare)
            yield from split(spare.payload)

    def _stale_for(self, request: Request, error: Exception) -> Entry | None:
        """What may be served in place of ``error``; looked up anew.

        The load may have taken minutes: what was invalidated meanwhile is dead.
        """
        if isinstance(error, NothingCached) or not request.stale_may_replace(error):
            return None
        look = self.look_up(request)
        if look.entry is not None:
            return look.entry
        window = request.rules.stale_if_error
        spare = self._lookup.may_serve_stale(request, look.stale, window)
        return look.stale if spare else None

    # --- what is reported of a request -------------------------------------

    def _measured(
        self, request: Request, state: RequestState, pieces: Iterator[Piece]
    ) -> Iterator[Piece]:
        """The pieces; how it went is reported when they end, however they do."""
        began, first, log = self._timer(), None, self._event_log
        seen = log.watch(request) if log else None
        result = Result.FAILED
        try:
            for piece in pieces:
                if first is None and (piece.text or piece.data is not None):
                    first = self._timer() - began
                if seen is not None:
                    seen.add(piece)
                yield piece
            reason = state.look.reason if state.look else Reason.MODE_OFF
            result = Result.of(reason, shared=state.shared)
            if result is Result.HIT and state.waited:
                result = Result.SHARED
        except NothingCached:
            result = Result.NOTHING
            raise
        except GeneratorExit:
            result = Result.LEFT
            raise
        finally:
            ended = Ended(request.subject, result, first, self._timer() - began)
            if log is not None and seen is not None:
                log.add(request, state.look, ended, seen, state.load)
            self._reports.miss(request, state.look)
            self._emit(ended)

    # --- many small answers -----------------------------------------------

    def batch(
        self,
        request: Request,
        forms: Sequence[Mapping[str, object]],
        load: LoadMany,
        *,
        outlives_call: bool = True,
        alone: bool = False,
    ) -> list[Item]:
        """The answer to each of ``forms``, in order; see ``batch.Batches.batch``."""
        return self._batches.batch(
            request, forms, load, outlives_call=outlives_call, alone=alone
        )

    # --- values that are made by other means than a load ------------------

    def look_up(self, request: Request) -> Look:
        """Look an answer up, and report nothing."""
        return self._lookup.find(request, Piece.from_payload)

    def find(self, request: Request, read: Read = entries.as_it_is) -> Look:
        """Look a value up, and report nothing.

        ``read`` is the request's own (``Meaning.read``) where it opts in to ``meaning``.
        """
        return self._in_other_words(request, self._lookup.find(request, read))

    def report(self, request: Request, look: Look) -> None:
        """Report a look-up that is a request of its own."""
        self._reports.look(request, look)
        self._reports.miss(request, look)
        self._reports.hit(request, look)

    def settle(self, look: Look) -> Stamps | None:
        """The stamps to keep a value under; to be called before it is made.

        None where nothing may be kept.
        """
        return None if look.stamps is None else self._stamps.settle(look.stamps)

    def keep(
        self,
        request: Request,
        key: str,
        stamps: Stamps,
        payload: object,
        cost: Cost = Cost(),  # noqa: B008 - frozen
        *,
        order: int | None = None,
    ) -> Refusal | None:
        """Keep a value; why it was not kept, or None.

        With ``order`` it replaces nothing that was asked for later.
        """
        sealed = self._keeper.seal(request, key, stamps, payload, cost, order or 0)
        if sealed is None:
            return Refusal.INVALID_OUTPUT
        refusal: Refusal | None = None
        try:
            if order is None:
                self.store.keep(key, sealed.data, sealed.ttl)
            elif not self._leases.commit_alone(key, sealed.data, sealed.ttl):
                refusal = Refusal.SUPERSEDED
        except StoreError:
            refusal = Refusal.UNAVAILABLE
        if refusal is None:
            self._keeper.kept(request, sealed)
            if request.meaning is not None:
                answer = request.meaning.read(payload)
                self._meaning.learn(request, key, stamps, answer)
        else:
            self._keeper.refuse(request, refusal)
        return refusal

    def drop(self, request: Request) -> bool:
        """Delete what is kept for a request; False where that could not be."""
        try:
            return self._lookup.drop(self.key(request))
        except UnkeyableError:
            return True

    def key(self, request: Request) -> str:
        """The key of a request; raises UnkeyableError if it has none."""
        return self._lookup.key(request)


def _loaded(
    request: Request, usage: Usage | None, first: float, seconds: float
) -> Loaded:
    if usage is None:
        return Loaded(request.subject, first, seconds)
    prompt, _, cached, written = usage.tokens
    price = request.rules.price
    saved = price.saved_by_provider(cached, written)
    counted = prompt, cached, written, saved, price.currency
    return Loaded(request.subject, first, seconds, *counted)
