"""The leader's side of a load that other processes follow: its lease, and what it told."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from cachecore import records
from cachecore.errors import StoreError
from cachecore.flights import MAX_BUFFER, Flight, weight
from cachecore.keys import flight_key, lease_key
from cachecore.records import Pace
from cachecore.stores.base import Landing, Store
from cachecore.streams import merge, split

_LONGEST_ERROR: Final = 2000


class Teller(Protocol):
    """What tells a lead's pieces and keeps its lease: ``relay.Relay``."""

    store: Store
    pace: Pace
    timer: Callable[[], float]

    def add(self, lead: "Lead") -> None: ...

    def drop(self, lead: "Lead") -> None: ...

    def abandon(self, lead: "Lead") -> None: ...

    def wake(self) -> None: ...

    def seal(self, record: Any, stream: str) -> bytes: ...


class Lead:
    """The leader's side of one load: its lease, and what it has told so far."""

    def __init__(self, relay: Teller, key: str, token: str, now: float) -> None:
        self._relay = relay
        self.key = key
        self.token = token
        self.lease = lease_key(key)
        self.stream = flight_key(key, token)
        self.flight: Flight | None = None
        self.busy = threading.Lock()  # held by who speaks to the store for it
        self.joined = False
        self.failed = False
        self.seen_entry = ""
        self.ends_at = 0.0  # when an abandoned lease is over in any case
        self.silent = False  # more would come than can be told
        self.begun = False
        self.moved_at = self.told_at = self.due = now
        self.seen = 0  # pieces of the flight that were told
        self.count = 0  # records that they were told in
        self.end: Mapping[str, Any] | None = None

    def attach(self, flight: Flight) -> None:
        """Begin to tell what ``flight`` publishes, off this caller's path."""
        self.flight = flight
        self.due = self.moved_at + self._relay.pace.glance
        self._relay.add(self)

    def moved(self) -> None:
        """The flight has published a piece."""
        now = self.moved_at = self._relay.timer()
        first, self.begun = not self.begun, True
        due = now if first else self.told_at + self._relay.pace.batch
        if (first or self.joined) and due < self.due:
            self.due = due
            self._relay.wake()

    def land(self, value: bytes | None, ttl: float) -> bool:
        """Keep the entry if the lease is still ours, and end the stream.

        Raises StoreError. Returns whether the entry was kept.
        """
        self._relay.drop(self)
        with self.busy:
            if self.failed:
                self._relay.abandon(self)
                msg = "Redis failed while this answer was loaded."
                raise StoreError(msg)
            landing = self.landing(records.LANDED, value, ttl)
            try:
                return self._relay.store.land(landing)
            except StoreError:
                self._relay.abandon(self)
                raise

    def landing(
        self, end: Mapping[str, Any], value: bytes | None, ttl: float
    ) -> Landing:
        """The landing that says all that is unsaid, and then ``end``."""
        names = self.key, self.lease, self.stream, self.token
        said = self.unsaid(end)
        linger = self._relay.pace.linger
        return Landing(*names, value, ttl, said, linger, self.seen_entry)

    def crash(self, error: BaseException, credential: str) -> None:
        """End the stream with an error, off this caller's path."""
        end = records.GONE
        # An exception's own __str__ may raise; it must not take this one's place.
        with suppress(Exception):
            if isinstance(error, Exception):
                said = [type(error).__name__, str(error)[:_LONGEST_ERROR]]
                end = {"end": "error", "who": records.who(credential), "error": said}
        self._finish(end)

    def leave(self) -> None:
        """Give the lease back without a load, off this caller's path."""
        self._finish(records.GONE)

    def _finish(self, end: Mapping[str, Any]) -> None:
        self.end, self.due = end, 0.0
        self._relay.add(self)

    def unsaid(
        self,
        end: Mapping[str, Any] | None = None,
        *,
        sign: Mapping[str, Any] | None = None,
    ) -> tuple[bytes, ...]:
        """The records that are still to be told; only the end if nobody listens.

        One who begins to listen after it finds the entry. ``sign`` is told where
        there is nothing else to say.
        """
        if self.silent:
            return ()
        said: list[Mapping[str, Any]] = []
        if self.joined and self.flight is not None:
            fresh = self.flight.since(self.seen)
            if fresh:
                self.seen += len(fresh)
                said += [{"pieces": [piece]} for piece in split(merge(fresh))]
            elif sign is not None:
                said.append(sign)
            self.silent = fresh is None or sum(map(weight, fresh)) > MAX_BUFFER
            if self.silent:
                said = []
        if self.silent:
            said.append(records.GONE)
        elif end is not None:
            said.append(end)
        try:
            sealed = [
                self._relay.seal({"n": self.count + n, **record}, self.stream)
                for n, record in enumerate(said)
            ]
        except TypeError:  # text that JSON can't carry: a lone surrogate
            self.silent = True
            sealed = [self._relay.seal({"n": self.count, **records.GONE}, self.stream)]
        self.count += len(sealed)
        return tuple(sealed)
