"""The order of things, and nothing else.

key -> look up -> judge -> join or lead -> load -> keep -> tell. Decisions are
in ``policy``, bytes in ``entry``, storage in ``stores``, company in ``flights``.

Two promises shape every line: what the loader raises reaches the caller
unchanged, and what the store raises never does. After its first store failure
a request does not touch the store again.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import uniform
from typing import Any

from cachecore import entry as entries
from cachecore import policy
from cachecore.entry import Cost, Entry
from cachecore.errors import (
    CorruptEntry,
    LeaderGone,
    NothingCached,
    StoreError,
    UnkeyableError,
)
from cachecore.flights import Flight, FlightTable
from cachecore.keys import SWITCH_FIELD, Keyspace
from cachecore.metrics import (
    Followed,
    Hook,
    Invalidated,
    Kept,
    Loaded,
    Lookup,
    Refused,
    guarded,
    hear_nothing,
)
from cachecore.policy import Control, Reason, Refusal, Switch
from cachecore.request import Request, form_of, tags_of
from cachecore.stores.base import Store
from cachecore.streams import Answer, Piece, Recorder, merge, replay, unbilled

logger = logging.getLogger(__name__)

type Stamps = dict[str, str]


@dataclass(frozen=True, slots=True)
class Look:
    """What a look-up found.

    ``key`` is empty where the cache may not be used. ``stamps`` has those that
    stand, by field (None: absent); it is None where nothing may be kept.
    ``entry`` is there on a hit only.
    """

    reason: Reason
    key: str = ""
    stamps: dict[str, str | None] | None = None
    entry: Entry | None = None
    writable: bool = False
    seconds: float = 0.0


def _payload_as_is(payload: Any) -> Any:
    return payload


class Cache:
    """A cache over one store and one namespace. Thread-safe."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        *,
        cipher_key: bytes | None = None,
        hook: Hook = hear_nothing,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._keyspace = keyspace
        self._cipher_key = cipher_key
        self._tell = guarded(hook)
        self._clock = clock
        self._timer = timer
        self._flights = FlightTable()

    # --- asking -----------------------------------------------------------

    def stream(
        self, request: Request, load: Callable[[], Iterable[Piece]]
    ) -> Iterator[Piece]:
        """The answer in pieces: kept, followed, or loaded and kept.

        Raises what ``load`` raises; NothingCached for a miss under ``only``;
        FlightBroken where a followed answer ended after a part was shown.
        """
        while True:
            mark = self._flights.mark()
            look = self.find(request, Answer.from_payload)
            self._tell_look(request, look)
            if look.entry is not None:
                yield from replay(look.entry.payload)
                return
            if request.control is Control.ONLY:
                msg = f"no cached answer may be served ({look.reason.value})"
                raise NothingCached(msg)
            stamps = self.settle(look)
            if stamps is None:
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
            if leads:
                yield from self._lead(request, look, stamps, flight, load)
                return
            try:
                yield from self._follow(request, flight)
            except LeaderGone:
                continue
            return

    def find(
        self, request: Request, read: Callable[[Any], Any] = _payload_as_is
    ) -> Look:
        """Look a request up and judge what is there. Never raises for the store.

        ``read`` turns the payload into what the caller uses; a ValueError from
        it means that the entry is not one.
        """
        reason = policy.bypass(request.rules, request.control, request.traits)
        if reason is not None:
            return Look(reason)
        started = self._timer()
        try:
            key = self.key(request)
        except UnkeyableError:
            return Look(Reason.UNKEYABLE)
        fields = self._keyspace.stamp_fields(tags_of(request))
        try:
            found = self._store.look_up(
                key, self._keyspace.stamps, [SWITCH_FIELD, *fields]
            )
        except StoreError:
            return Look(Reason.UNAVAILABLE, key, seconds=self._timer() - started)
        switch = Switch.read(found.fields[0])
        if switch is Switch.OFF:
            return Look(Reason.SWITCHED_OFF, seconds=self._timer() - started)
        stamps = dict(zip(fields, found.fields[1:], strict=True))
        reason, entry = self._judge(request, key, found.value, stamps, read)
        # What can't be read is deleted; if that fails, the store has failed once.
        sound = reason is not Reason.CORRUPT or self._drop(key)
        return Look(
            reason,
            key,
            stamps,
            entry,
            writable=switch is Switch.ON and sound,
            seconds=self._timer() - started,
        )

    def _judge(
        self,
        request: Request,
        key: str,
        value: bytes | None,
        stamps: Mapping[str, str | None],
        read: Callable[[Any], Any],
    ) -> tuple[Reason, Entry | None]:
        if request.control is Control.REFRESH:
            return Reason.REFRESH, None
        if value is None:
            return Reason.ABSENT, None
        try:
            entry = entries.decode(value, key, self._cipher_key)
            reason = policy.judge(entry, stamps, self._clock())
            if reason is not Reason.HIT:
                return reason, None
            return reason, replace(entry, payload=read(entry.payload))
        except (CorruptEntry, ValueError):
            return Reason.CORRUPT, None

    def _drop(self, key: str) -> bool:
        try:
            self._store.delete(key)
        except StoreError:
            return False
        return True

    def key(self, request: Request) -> str:
        """The key of a request; raises UnkeyableError if it has none."""
        return self._keyspace.entry(request.kind, form_of(request))

    # --- loading ----------------------------------------------------------

    def settle(self, look: Look) -> Stamps | None:
        """The stamps that an entry for this look-up is to be written under.

        Sets those that are absent. To be taken before the work is done, so that
        an invalidation while it runs wins. None where nothing may be kept.
        """
        if look.stamps is None or not look.writable:
            return None
        absent = [field for field, stamp in look.stamps.items() if stamp is None]
        standing = {f: s for f, s in look.stamps.items() if s is not None}
        if absent:
            try:
                standing |= self._store.settle(
                    self._keyspace.stamps, {field: _new_stamp() for field in absent}
                )
            except StoreError:
                return None
        return standing

    def _lead(
        self,
        request: Request,
        look: Look,
        stamps: Stamps,
        flight: Flight,
        load: Callable[[], Iterable[Piece]],
    ) -> Iterator[Piece]:
        recorder = Recorder(request.rules.max_entry_bytes)
        started, first = self._timer(), None
        try:
            for piece in load():
                if first is None:
                    first = self._timer() - started
                recorder.add(piece)
                flight.publish(piece)
                yield piece
            # Reached by exhaustion only: close() and errors leave the loop above.
            flight.land()
            seconds = self._timer() - started
            self._tell(Loaded(request.kind, request.label, first or seconds, seconds))
            if self._flights.is_current(look.key, flight):
                self._keep_answer(request, look.key, stamps, recorder, seconds)
                if not self._flights.is_current(look.key, flight):
                    # A refresh began while this was being written, and may have
                    # written before it: rather nothing than the older answer.
                    self._drop(look.key)
        except BaseException as error:
            # Off the table before followers wake: they would join it again.
            self._flights.leave(look.key, flight)
            flight.crash(error)
            raise
        # After keeping: who misses the flight must find the entry.
        self._flights.leave(look.key, flight)

    def _follow(self, request: Request, flight: Flight) -> Iterator[Piece]:
        for pieces in flight.follow(request.credential):
            piece = merge(pieces)
            yield replace(piece, usage=unbilled(piece.usage))
        self._tell(Followed(request.kind, request.label))

    def _keep_answer(
        self,
        request: Request,
        key: str,
        stamps: Stamps,
        recorder: Recorder,
        seconds: float,
    ) -> None:
        answer = recorder.answer()
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
            return
        usage = answer.usage
        cost = policy.cost(
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
            seconds,
            request.rules.price,
        )
        self.keep(request, key, stamps, answer.payload(), cost)

    # --- keeping ----------------------------------------------------------

    def keep(
        self,
        request: Request,
        key: str,
        stamps: Stamps,
        payload: object,
        cost: Cost = Cost(),  # noqa: B008 - frozen
    ) -> bool:
        """Put ``payload`` under ``key``; False where the store refused it."""
        now = self._clock()
        life = policy.lifetime(
            request.ttl or request.rules.ttl,
            now,
            uniform(-1, 1),  # noqa: S311 - jitter, not a secret
            request.traits.url_expires_at,
        )
        if life.stale_until <= now:
            return False
        entry = Entry(payload, now, life.fresh_until, life.stale_until, stamps, cost)
        try:
            text = entries.serialise(entry)
            # Before it is deflated: this much comes out again, in one line.
            if len(text) > request.rules.max_entry_bytes:
                return self._refuse(request, Refusal.TOO_LARGE)
            data = entries.seal(text, key, self._cipher_key)
            self._store.keep(key, data, life.stale_until - now)
        except (TypeError, RecursionError):  # a lone surrogate, a NaN, no bottom
            return self._refuse(request, Refusal.INVALID_OUTPUT)
        except StoreError:
            return self._refuse(request, Refusal.UNAVAILABLE)
        self._tell(Kept(request.kind, request.label, len(data)))
        return True

    def _refuse(self, request: Request, refusal: Refusal) -> bool:
        self._tell(Refused(request.kind, request.label, refusal))
        return False

    # --- operating --------------------------------------------------------

    def invalidate(self, tags: Iterable[str]) -> None:
        """Kill every entry written so far under any of ``tags``; ``*`` is all.

        Raises StoreError: an operator must know that it did not happen.
        """
        fields = self._keyspace.stamp_fields(tags)
        self._store.replace(
            self._keyspace.stamps, {field: _new_stamp() for field in fields}
        )
        self._tell(Invalidated(len(fields)))

    def turn(self, switch: Switch) -> None:
        """Set the namespace's switch for everyone, from the next request on.

        Raises StoreError.
        """
        self._store.replace(self._keyspace.stamps, {SWITCH_FIELD: switch.value})

    def check(self) -> None:
        """Try the store as it will be used. Raises StoreError with a remedy."""
        probe = self._keyspace.entry("value", secrets.token_bytes(16))
        self._store.check(probe, self._keyspace.stamps)

    def _tell_look(self, request: Request, look: Look) -> None:
        entry = look.entry
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


def _accepted(request: Request, answer: Answer) -> bool:
    try:
        return request.accept is None or request.accept(answer)
    except Exception as error:  # noqa: BLE001 - the answer was given in full
        # The name alone: the error's text may repeat the answer.
        name = type(error).__name__
        logger.warning("an answer could not be judged and is not kept: %s", name)
        return False


def _new_stamp() -> str:
    return secrets.token_hex(8)
