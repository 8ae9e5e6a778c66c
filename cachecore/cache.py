"""The cache: the way of one request, from its key to its answer.

``Cache.stream`` reads from top to bottom: key -> look up -> judge -> join or lead ->
load -> keep -> emit. Each step has its own module: ``keys``, ``lookup``, ``policy``,
``flight`` (one process), ``lease`` (all processes), ``keep``, ``reports``. ``stamps`` has
the rule of invalidation, which every step obeys. A miss may also be answered with a stale
entry, or with the answer to the same question in other words (``meaning``).

Two promises hold in every line: an error of the loader reaches the caller unchanged, and
an error of the store never does. After its first store failure a request does not use
the store again. There is one exception: a caller that has shown a part of another
process's answer waits for the store, because only the store has the rest.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from cachecore import entry as entries
from cachecore.admin import Admin
from cachecore.answer import Piece, Recorder, Usage, merge, unbilled
from cachecore.audit import Auditor
from cachecore.batch import Batches
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
from cachecore.keep import Keeper, Sealed
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

# After this many leaders have failed one after another, a caller stops waiting.
MAX_LEADERS: Final = 3
# The most refreshes of stale answers at a time, in one cache.
MAX_REFRESHES: Final = 16


@dataclass(slots=True)
class RequestState:
    """How a request is being answered.

    ``look`` is its last look-up, None before the first. ``failed``: the store failed it.
    ``shared``: its answer comes from a load that another caller began. ``waited``: it
    waited for a load that gave no answer. ``load`` is the lease's token of the load that
    gave the answer; all requests that this load answered have the same.
    """

    look: Look | None = None
    failed: bool = False
    shared: bool = False
    waited: bool = False
    load: str = ""


@dataclass(slots=True)
class Shown:
    """The part of an answer that a caller was shown before the leader died.

    Another answer may follow only if it begins with the same text. The caller then has
    that answer from its first word to its last, and two answers are never mixed.
    """

    text: str = ""
    tool_calls: bool = False
    finished: bool = False
    remaining: str = field(default="", init=False)

    def add(self, piece: Piece) -> None:
        """Add a piece that the caller was shown."""
        self.text += piece.text
        self.tool_calls = self.tool_calls or bool(piece.tool_calls)
        self.finished = self.finished or piece.finish_reason is not None

    def begin(self) -> None:
        """Another answer begins."""
        self.remaining = self.text

    def take(self, piece: Piece) -> Piece | None:
        """The new part of the other answer's next piece; raises FlightBroken."""
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
    """A load that this caller leads or follows. ``stamps`` is None without a store."""

    request: Request
    key: str
    stamps: Stamps | None
    flight: Flight
    load: Load
    state: RequestState
    take_over: str = ""  # the token of the leader that this caller gave up


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
        chance: Callable[[], float] = random.random,
    ) -> None:
        emit = guarded(hook)
        self.store = store
        self._clock = clock
        self._emit = emit
        self._timer = timer
        self._chance = chance
        self._event_log = event_log
        self._keyspace, self._cipher_key = keyspace, cipher_key
        self._lookup = Lookup(store, keyspace, cipher_key, clock, timer)
        self._stamps = StampTable(store, keyspace)
        self._keeper = Keeper(cipher_key, clock, emit)
        self._flights = FlightTable(timer=monotonic)
        self._leases = Leases(store, cipher_key, monotonic, sleep, pace)
        self._auditor = Auditor(self._leases, self._keeper, clock, timer, emit, chance)
        self._reports = Reports(keyspace, clock, emit)
        self.batches = Batches(
            store, self._lookup, self._stamps, self._keeper, self._reports, emit, timer
        )
        self._refreshes = threading.BoundedSemaphore(MAX_REFRESHES)
        self.admin = Admin(store, keyspace, self._stamps, clock, emit)

    # --- asking -----------------------------------------------------------------

    def stream(
        self,
        request: Request,
        load: Load,
        *,
        outlives_call: bool = True,
        state: RequestState | None = None,
    ) -> Iterator[Piece]:
        """The answer in pieces: kept, followed, or loaded and kept.

        ``outlives_call`` says that ``load`` can go on after the call has ended. Only then
        are stale answers refreshed in the background, and do followers wait for a load
        that sends nothing for long. When the pieces have ended, ``state`` shows how the
        request was answered. Raises the errors of ``load``; NothingCached for a miss
        under ``only``; FlightBroken if a followed load ended after a part was shown.
        """
        state = state or RequestState()
        pieces = self._answer(request, load, state, outlives_call=outlives_call)
        if request.rules.stale_if_error and request.control in LENIENT:
            pieces = self._stale_on_error(request, state, pieces)
        return self._measured(request, state, pieces)

    def _answer(
        self, request: Request, load: Load, state: RequestState, *, outlives_call: bool
    ) -> Iterator[Piece]:
        """Key -> look up -> judge -> join or lead; again if a leader gave no answer."""
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
                    continue  # The load is complete by now: its entry is there.
            if not reported:  # It is one request, however often it looks up.
                reported = True
                self._reports.look(request, look)
            if look.entry is not None:
                yield look.entry.payload
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
                # A slow leader does not count: else all followers would load at once.
                leaders += not isinstance(gone, LeaderStalled)
                continue
            return

    # --- look up and judge ------------------------------------------------------

    def look_up(self, request: Request) -> Look:
        """Look up an answer without a report."""
        return self._lookup.find(request, Piece.from_payload)

    def _looked_up(self, request: Request, state: RequestState) -> Look:
        """A look-up; on a miss also one in other words, if the request opts in."""
        if state.failed and state.look:
            return state.look
        look = self.look_up(request)
        found = self._in_other_words(request, look)
        if request.meaning is not None and found is look and look.stale is not None:
            # The comparison may have taken seconds. A stale answer needs stamps that are
            # current now: an invalidation may have come meanwhile.
            return self.look_up(request)
        return found

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
        except StoreError:
            seconds = look.seconds + self._timer() - began
            return Look(Reason.UNAVAILABLE, look.key, failed=True, seconds=seconds)
        except UnkeyableError:
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

    def _stale_instead(
        self,
        request: Request,
        look: Look,
        load: Load,
        state: RequestState,
        since: int,
        began: float,
    ) -> tuple[Look, _Job | None, bool]:
        """The look-up, with its stale answer if that may be served now.

        Also the background load, if its first token came in time, and whether it is this
        caller's own.
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
            return served, None, False  # There are enough refreshes already.
        job, own = self._load_in_background(
            request, look, load, since, only_if_free=refreshing
        )
        if refreshing:
            return served, None, False
        if job is not None and not own:
            job.state = state  # This caller follows the load of another caller.
        left = budget - (self._timer() - began)
        late = job is not None and not job.flight.begins_within(left)
        return served if late else look, job, own

    # --- join or lead -----------------------------------------------------------

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
            # Without the store, one load in this process is still enough.
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

    def _follow(self, job: _Job, *, own: bool = False) -> Iterator[Piece]:
        """The load of another caller of this process, or its ``own`` background load."""
        job.state.shared = not own
        for pieces in job.flight.follow(job.request.credential):
            yield merge(pieces) if own else unbilled(merge(pieces))
        job.state.load = job.flight.token
        if not own:
            self._emit(Followed(job.request.subject))

    def _lead(self, job: _Job, *, only_if_free: bool = False) -> Iterator[Piece]:
        """Lead the flight of this process, whichever process loads.

        With ``only_if_free`` it loads only if no other process does.
        """
        try:
            yield from self._led(job, only_if_free=only_if_free)
        except BaseException as error:
            # Remove the flight before its followers wake, or they would join it again.
            self._flights.leave(job.key, job.flight)
            job.flight.fail(error)
            raise
        # Only now, after keeping: a caller that misses the flight must find the entry.
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
                # The caller looks up again: the stamps may have been replaced meanwhile.
                raise LeaderGone("the leader ended without an answer")
        if only_if_free:
            raise LeaderGone("nothing could be kept")
        job.state.shared = False
        yield from self._load(job, None, shown)

    def _claim(
        self, job: _Job, take_over: str
    ) -> tuple[Lead | str, bytes | None] | None:
        """The lease or its holder's token, and the current entry; None without a store."""
        if job.stamps is None:
            return None
        try:
            return self._leases.claim(job.key, job.stamps, take_over=take_over)
        except StoreError:
            job.state.failed = True
            return None

    def _kept_since(self, job: _Job, value: bytes | None) -> Entry | None:
        """The entry that another process kept since the look-up, if it may be served."""
        reason, entry = self._lookup.judge(
            job.request, job.key, value, job.stamps or {}, Piece.from_payload
        )
        return entry if reason is Reason.HIT else None

    def _replay(self, job: _Job, entry: Entry, shown: Shown) -> Iterator[Piece]:
        shown.begin()
        rest = shown.take(entry.payload)
        if rest is not None:
            job.flight.publish(rest)
            yield rest
        shown.end()
        job.flight.complete()

    # --- load and keep ----------------------------------------------------------

    def _load(self, job: _Job, lead: Lead | None, shown: Shown) -> Iterator[Piece]:
        """Ask the upstream; keep the answer if this caller has the lease."""
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
                    # The answer begins like the shown part: other callers may get it.
                    lead.publishes = not shown.remaining
                    lead.moved()
                yield rest
            shown.end()
        except BaseException as error:
            if lead is not None:
                lead.fail(error, request.credential)
            raise
        # Only a complete answer gets here: close() and errors leave the loop above.
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
        result: Sealed | Refusal = Refusal.UNAVAILABLE
        if isinstance(sealed, Refusal):
            result = sealed
        if lead is not None:
            try:
                if isinstance(sealed, Refusal):
                    lead.commit(None, 1)
                else:
                    kept = lead.commit(sealed.data, sealed.ttl)
                    result = sealed if kept else Refusal.SUPERSEDED
            except StoreError:
                job.state.failed = True
        keeper.report(request, result)
        if request.meaning is not None and isinstance(result, Sealed):
            answer = recorder.answer()
            self._meaning.learn(request, job.key, job.stamps or {}, answer)

    # --- the load of another process --------------------------------------------

    def _follow_other_process(
        self, job: _Job, token: str, shown: Shown
    ) -> Generator[Piece, None, bool]:
        """The load of another process; returns whether it was complete.

        A store that does not answer is no evidence about the leader. A follower that has
        shown nothing then loads by itself. A follower that has shown a part asks the
        upstream whether its answer begins with that part, and else waits for the store.
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
            if not shown.finished:  # Else only the record of its completion is missing.
                return False
        job.flight.complete()
        job.state.load = token
        self._emit(Followed(request.subject, other_process=True))
        return True

    # --- stale answers ----------------------------------------------------------

    def _load_in_background(
        self,
        request: Request,
        look: Look,
        load: Load,
        since: int,
        *,
        only_if_free: bool,
    ) -> tuple[_Job | None, bool]:
        """A new load in a thread of its own, or the one in progress; whether it is new.

        With ``only_if_free`` it loads only if no other process does. None if a load has
        just completed. Releases ``_refreshes`` when the load ends.
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
            # Only the error's name: its text is for a caller, and there is none.
            name = type(error).__name__
            logger.warning("a stale answer could not be refreshed: %s", name)
        finally:
            self._refreshes.release()

    def _stale_on_error(
        self, request: Request, state: RequestState, pieces: Iterator[Piece]
    ) -> Iterator[Piece]:
        """The pieces, or a stale answer if the load fails before its first piece."""
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
            yield spare.payload

    def _stale_for(self, request: Request, error: Exception) -> Entry | None:
        """The entry to serve instead of ``error``, from a new look-up.

        The load may have taken minutes, and the entry may be invalidated by now.
        """
        if isinstance(error, NothingCached) or not request.stale_may_replace(error):
            return None
        look = self.look_up(request)
        if look.entry is not None:
            return look.entry
        window = request.rules.stale_if_error
        spare = self._lookup.may_serve_stale(request, look.stale, window)
        return look.stale if spare else None

    # --- emit -------------------------------------------------------------------

    def _measured(
        self, request: Request, state: RequestState, pieces: Iterator[Piece]
    ) -> Iterator[Piece]:
        """The pieces; reports the result when they end, in whatever way."""
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

    # --- answers to other questions ---------------------------------------------

    @cached_property
    def _meaning(self) -> "MeaningTier":
        # A request that does not opt in does not load these modules.
        from cachecore.meaning.tier import MeaningTier  # noqa: PLC0415

        parts = self.store, self._keyspace, self._lookup, self._cipher_key, self._emit
        return MeaningTier(*parts, clock=self._clock, chance=self._chance)

    def bands(self) -> "list[BandState]":
        """The state of each band after its last comparison. Raises StoreError."""
        from cachecore.meaning import evidence  # noqa: PLC0415 - as above

        of = self.store, self._keyspace, self._cipher_key
        return evidence.shown(*of, self._clock())

    # --- values that callers make themselves ------------------------------------

    def find(self, request: Request, read: Read = entries.as_it_is) -> Look:
        """Look up a value without a report.

        ``read`` is the request's own (``Meaning.read``) where it opts in to ``meaning``.
        """
        return self._in_other_words(request, self._lookup.find(request, read))

    def report(self, request: Request, look: Look) -> None:
        """Report a look-up that is a request of its own."""
        self._reports.look(request, look)
        self._reports.miss(request, look)
        self._reports.hit(request, look)

    def settle(self, look: Look) -> Stamps | None:
        """The stamps for a value, to be called before the value is made.

        None if nothing may be kept.
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
        """Keep a value; returns the reason if it was not kept.

        With ``order`` it does not replace a value that was asked for later.
        """
        result = self._keeper.seal(request, key, stamps, payload, cost, order or 0)
        if isinstance(result, Sealed):
            try:
                if order is None:
                    self.store.keep(key, result.data, result.ttl)
                elif not self._leases.commit_alone(key, result.data, result.ttl):
                    result = Refusal.SUPERSEDED
            except StoreError:
                result = Refusal.UNAVAILABLE
        self._keeper.report(request, result)
        if isinstance(result, Refusal):
            return result
        if request.meaning is not None:
            answer = request.meaning.read(payload)
            self._meaning.learn(request, key, stamps, answer)
        return None

    def drop(self, request: Request) -> bool:
        """Delete the entry of a request; False if the store failed."""
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
