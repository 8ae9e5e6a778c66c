"""Look-ups: the key, the entry, and whether it may be served.

Errors of the store never leave this module.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from cachecore import entry as entries
from cachecore import policy
from cachecore.entry import Entry
from cachecore.errors import CorruptEntry, StoreError, UnkeyableError
from cachecore.keys import SWITCH_FIELD, Keyspace
from cachecore.policy import Control, Reason, Switch
from cachecore.request import Request, form_of, tags_of
from cachecore.stamps import are_current, fields_of
from cachecore.stores.base import Store

# The most entries that one round trip reads or writes: more would take longer than a
# store's time limit.
PER_ROUND_TRIP: Final = 32

type Read = Callable[[Any], Any]


class Look(NamedTuple):
    """The result of a look-up.

    ``key`` is empty if the request must not use the cache. ``stamps`` has the current
    stamps by field (None: absent); it is None if nothing may be kept. ``entry`` is the
    entry of a hit; ``stale`` is an expired entry that may still be served. ``failed``: the
    store failed this request. ``key_seconds`` is the time for the key, ``seconds`` the
    time after it. If the answer to another question is served, ``key`` is that question's,
    ``own`` is the request's, and ``served`` names the subject and the band.
    """

    reason: Reason
    key: str = ""
    stamps: dict[str, str | None] | None = None
    entry: Entry | None = None
    stale: Entry | None = None
    failed: bool = False
    seconds: float = 0.0
    key_seconds: float = 0.0
    own: str = ""
    served: str = ""


@dataclass(eq=False, slots=True)
class Lookup:
    """Looks entries of one namespace up in one store. Thread-safe."""

    _store: Store
    _keyspace: Keyspace
    _cipher_key: bytes | None
    _clock: Callable[[], float]
    _timer: Callable[[], float] = time.perf_counter

    def key(self, request: Request) -> str:
        """The key of a request; raises UnkeyableError if it has none."""
        return self._keyspace.entry(request.kind, form_of(request))

    def find(self, request: Request, read: Read = entries.as_it_is) -> Look:
        """Look a request up and judge what is there.

        ``read`` turns the payload into what the caller uses; a ValueError from
        it means that the entry is not one.
        """
        reason = policy.bypass(request.rules, request.control, request.traits)
        if reason is not None:
            return Look(reason)
        began = self._timer()
        try:
            key = self.key(request)
        except UnkeyableError:
            return Look(Reason.UNKEYABLE)
        return self.at(request, key, read, key_seconds=self._timer() - began)

    def at(
        self,
        request: Request,
        key: str,
        read: Read = entries.as_it_is,
        *,
        key_seconds: float = 0.0,
    ) -> Look:
        """The entry under ``key``, and whether this request may get it now.

        The key is the request's own, or that of another request with the same tags.
        """
        started = self._timer()
        fields = fields_of(tags_of(request), self._keyspace.secret)
        try:
            found = self._store.look_up(
                key, self._keyspace.stamps, [SWITCH_FIELD, *fields]
            )
        except StoreError:
            seconds = self._timer() - started
            return Look(
                Reason.UNAVAILABLE,
                key,
                failed=True,
                seconds=seconds,
                key_seconds=key_seconds,
            )
        switch, *stamps = found.fields
        current = dict(zip(fields, stamps, strict=True))
        return self._evaluate(
            request, key, found.value, switch, current, read, started, key_seconds
        )

    def find_many(
        self, request: Request, forms: Sequence[Mapping[str, object]], read: Read
    ) -> list[Look]:
        """A look-up for each of ``forms``; ``request`` has all their other properties."""
        reason = policy.bypass(request.rules, request.control, request.traits)
        if reason is not None:
            return [Look(reason)] * len(forms)
        requests = [replace(request, form=form) for form in forms]
        looks: list[Look] = []
        for start in range(0, len(requests), PER_ROUND_TRIP):
            some = requests[start : start + PER_ROUND_TRIP]
            if any(look.failed for look in looks[-PER_ROUND_TRIP:]):
                looks += [Look(Reason.UNAVAILABLE, failed=True)] * len(some)
            else:
                looks += self._find_some(some, read)
        return looks

    def _find_some(self, requests: Sequence[Request], read: Read) -> list[Look]:
        began = self._timer()
        keys = [self._key_or_none(request) for request in requests]
        started = self._timer()
        known = [key for key in keys if key is not None]
        fields = fields_of(tags_of(requests[0]), self._keyspace.secret)
        try:
            values, (switch, *stamps) = self._store.look_up_many(
                known, self._keyspace.stamps, [SWITCH_FIELD, *fields]
            )
        except StoreError:
            return [Look(Reason.UNAVAILABLE, failed=True)] * len(requests)
        found = dict(zip(known, values, strict=True))
        current = dict(zip(fields, stamps, strict=True))
        looks: list[Look] = []
        failed = False
        for request, key in zip(requests, keys, strict=True):
            if key is None:
                look = Look(Reason.UNKEYABLE)
            elif failed:
                # The evaluation may have to delete an entry, and the store fails.
                look = Look(Reason.UNAVAILABLE, failed=True)
            else:
                look = self._evaluate(
                    request, key, found[key], switch, current, read, started
                )
            failed = failed or look.failed
            looks.append(look)
        # Each look-up gets an equal share of the round trip's time.
        seconds = (self._timer() - started) / len(looks)
        key_seconds = (started - began) / len(looks)
        return [
            look._replace(seconds=seconds, key_seconds=key_seconds) for look in looks
        ]

    def _key_or_none(self, request: Request) -> str | None:
        try:
            return self.key(request)
        except UnkeyableError:
            return None

    def _evaluate(
        self,
        request: Request,
        key: str,
        value: bytes | None,
        switch: str | None,
        current: dict[str, str | None],
        read: Read,
        started: float,
        key_seconds: float = 0.0,
    ) -> Look:
        """The result of a look-up for ``key``, from the found value and stamps.

        ``started`` is the time at which the store was asked.
        """
        turned = Switch.read(switch)
        if turned is Switch.OFF:
            return Look(Reason.SWITCHED_OFF)
        reason, entry = self.judge(request, key, value, current, read)
        valid = reason is not Reason.CORRUPT or self.drop(key)
        return Look(
            reason,
            key,
            current if turned is Switch.ON and valid else None,
            entry if reason is Reason.HIT else None,
            entry if reason is Reason.EXPIRED else None,
            failed=not valid,
            seconds=self._timer() - started,
            key_seconds=key_seconds,
        )

    def judge(
        self,
        request: Request,
        key: str,
        value: bytes | None,
        current: Mapping[str, str | None],
        read: Read = entries.as_it_is,
    ) -> tuple[Reason, Entry | None]:
        """Why ``value`` may be served or not; the entry if it is a HIT or EXPIRED."""
        if request.control is Control.REFRESH:
            return Reason.REFRESH, None
        if value is None:
            return Reason.ABSENT, None
        try:
            entry = entries.decode(value, key, self._cipher_key, read)
        except CorruptEntry:
            return Reason.CORRUPT, None
        if not are_current(entry.stamps, current):
            return Reason.INVALIDATED, None
        return policy.judge(entry, self._clock(), request.lifetime), entry

    def may_serve_stale(
        self, request: Request, entry: Entry | None, window: float
    ) -> bool:
        """Whether an expired entry may be served, ``window`` seconds past its time."""
        return entry is not None and policy.may_serve_stale(
            entry, window, self._clock(), request.lifetime
        )

    def drop(self, key: str) -> bool:
        """Delete an entry; False if the store fails."""
        try:
            self._store.delete(key)
        except StoreError:
            return False
        return True
