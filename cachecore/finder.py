"""Looking up: the key, what is there, and whether it may be served.

What the store raises never leaves ``find``.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from cachecore import entry as entries
from cachecore import policy
from cachecore.entry import Entry
from cachecore.errors import CorruptEntry, NotAsked, StoreError, UnkeyableError
from cachecore.keys import SWITCH_FIELD, Keyspace, mark_of, part_digest
from cachecore.metrics import (
    Ended,
    Hook,
    Lookup,
    Missed,
    Result,
    guarded,
    hear_nothing,
)
from cachecore.policy import Control, Reason, Switch
from cachecore.request import Request, form_of, parts_of, tags_of
from cachecore.stores.base import Bid, Found, Store

logger = logging.getLogger(__name__)

type Stamps = dict[str, str]

_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class Look:
    """What a look-up found.

    ``key`` is empty where the cache may not be used. ``stamps`` has those that
    stand, by field (None: absent); it is None where nothing may be kept.
    ``entry`` is there on a hit only; ``stale`` is one past its time that may
    still be served in need. ``failed`` says that the store failed this request.
    ``key_seconds`` is what making the key took, ``seconds`` what came after it.
    """

    reason: Reason
    key: str = ""
    stamps: dict[str, str | None] | None = None
    entry: Entry | None = None
    stale: Entry | None = None
    writable: bool = False
    failed: bool = False
    seconds: float = 0.0
    key_seconds: float = 0.0
    held: Bid | None = None  # the lease that came with it


class Finder:
    """Looks entries of one namespace up in one store. Thread-safe."""

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
        # Of no use to others: where there is no secret, each process has its own.
        self._parts_secret = keyspace.secret or secrets.token_bytes(16)
        self._tell = guarded(hook)
        self._clock = clock
        self._timer = timer
        # What the fields of a kind of requests held at the last look.
        self._switch: str | None = None
        self._latest: dict[tuple[str, ...], tuple[str | None, ...]] = {}

    def find(
        self,
        request: Request,
        read: Callable[[Any], Any] = entries.as_it_is,
        *,
        bids: bool = False,
    ) -> Look:
        """Look a request up and judge what is there. Never raises for the store.

        ``read`` turns the payload into what the caller uses; a ValueError from
        it means that the entry is not one. ``bids`` asks for the lease as well, where
        nothing is there: who gets it has to lead under it, or to give it back.
        """
        reason = policy.bypass(request.rules, request.control, request.traits)
        if reason is not None:
            return Look(reason)
        began = self._timer()
        try:
            key = self.key(request)
        except UnkeyableError:
            return Look(Reason.UNKEYABLE)
        started = self._timer()
        fields = self._keyspace.stamp_fields(tags_of(request))
        asked = [SWITCH_FIELD, self._keyspace.quarantine_field(key), *fields]
        bid = self._bid(request, key, fields) if bids else None
        try:
            found = self._store.look_up(key, self._keyspace.stamps, asked, bid)
        except StoreError as error:
            self._outbid(bid, failed=not isinstance(error, NotAsked))
            seconds = self._timer() - started
            return Look(Reason.UNAVAILABLE, key, failed=True, seconds=seconds)
        except BaseException:
            self._outbid(bid, failed=True)
            raise
        self._switch = found.fields[0]
        self._remember(fields, found.fields[2:])
        look = self._weigh(request, key, fields, found, read, (began, started))
        if found.held:
            return replace(look, held=bid)
        self._outbid(bid)
        return look

    def _bid(self, request: Request, key: str, fields: Sequence[str]) -> Bid | None:
        """A bid for the lease on an entry that is probably absent: none, here."""
        del request, key, fields
        return None

    def _outbid(self, bid: Bid | None, *, failed: bool = False) -> None:
        """Say that a bid has got no lease, or that nobody knows whether it has."""

    def _remember(self, fields: Sequence[str], held: Sequence[str | None]) -> None:
        if len(self._latest) >= _REMEMBERED:
            self._latest.clear()
        self._latest[tuple(fields)] = tuple(held)

    def _weigh(
        self,
        request: Request,
        key: str,
        fields: Sequence[str],
        found: Found,
        read: Callable[[Any], Any],
        times: tuple[float, float],
    ) -> Look:
        """What a look-up for ``key`` means, by what was found there.

        ``found.fields`` are the switch, the quarantine and the stamps, as ``fields``
        names them; ``times`` is when the key was begun, and was made.
        """
        began, started = times
        switch = Switch.read(found.fields[0])
        if switch is Switch.OFF:
            return Look(Reason.SWITCHED_OFF, seconds=self._timer() - started)
        if policy.is_quarantined(found.fields[1], self._clock()):
            return Look(Reason.QUARANTINED, key, seconds=self._timer() - started)
        stamps = dict(zip(fields, found.fields[2:], strict=True))
        reason, entry = self.judge(request, key, found.value, stamps, read)
        sound = True
        if found.fields[1] is not None:
            # A quarantine is over. What was on its way when it began may have been
            # kept since: it is as little wanted.
            reason = Reason.ABSENT if found.value is None else Reason.INVALIDATED
            entry = None
            sound = self._drop(key) and self._forget(
                self._keyspace.quarantine_field(key)
            )
        elif reason is Reason.CORRUPT:
            sound = self._drop(key)
        return Look(
            reason,
            key,
            stamps,
            entry if reason is Reason.HIT else None,
            entry if reason is Reason.EXPIRED else None,
            writable=switch is Switch.ON and sound,
            failed=not sound,
            seconds=self._timer() - started,
            key_seconds=started - began,
        )

    def judge(
        self,
        request: Request,
        key: str,
        value: bytes | None,
        stamps: Mapping[str, str | None],
        read: Callable[[Any], Any] = entries.as_it_is,
    ) -> tuple[Reason, Entry | None]:
        """Why ``value`` may be served or not. The entry on a HIT, and an EXPIRED one."""
        if request.control is Control.REFRESH:
            return Reason.REFRESH, None
        if value is None:
            return Reason.ABSENT, None
        try:
            entry = entries.decode(value, key, self._cipher_key, read)
        except CorruptEntry:
            return Reason.CORRUPT, None
        reason = policy.judge(entry, stamps, self._clock())
        return reason, entry if reason in (Reason.HIT, Reason.EXPIRED) else None

    def _drop(self, key: str) -> bool:
        try:
            self._store.delete(key)
        except StoreError:
            return False
        return True

    def drop(self, request: Request) -> bool:
        """Delete what is kept for a request; False where that could not be."""
        try:
            return self._drop(self.key(request))
        except UnkeyableError:
            return True

    def _forget(self, field: str) -> bool:
        try:
            self._store.forget(self._keyspace.stamps, field)
        except StoreError:
            return False
        return True

    def tell_look(self, look: Look, request: Request) -> None:
        """Say what came of a look-up."""
        entry, now = look.entry, self._clock()
        self._tell(
            Lookup(
                request.subject,
                look.reason,
                now,
                look.seconds,
                look.key_seconds,
                entry.cost if entry else None,
                now - entry.created_at if entry else None,
                mark_of(look.key) if look.key else "",
            )
        )

    def tell_miss(self, look: Look | None, request: Request) -> None:
        """Say what a request that was not kept consisted of, if it can be said."""
        if look is not None and look.reason is Reason.ABSENT:
            parts = self._digests(request)
            if parts:
                self._tell(Missed(request.subject, mark_of(look.key), parts))

    def tell_end(self, look: Look, request: Request) -> None:
        """Say that a request which only looks up has ended."""
        self.tell_miss(look, request)
        if look.entry is not None:
            took = look.key_seconds + look.seconds
            self._tell(Ended(request.subject, Result.HIT, took, took))

    def _digests(self, request: Request) -> dict[str, str]:
        try:
            return {
                name: part_digest(part, self._parts_secret)
                for name, part in parts_of(request).items()
                if part is not None
            }
        except Exception as error:  # noqa: BLE001 - it is told without, and answered
            logger.warning("a request has no parts: %s", type(error).__name__)
            return {}

    def key(self, request: Request) -> str:
        """The key of a request; raises UnkeyableError if it has none."""
        return self._keyspace.entry(request.kind, form_of(request))
