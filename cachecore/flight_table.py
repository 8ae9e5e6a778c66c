"""Who flies in this process: which loads are under way, by key."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from cachecore.flights import IDLE_LIMIT, Flight

_REMEMBERED_LANDINGS: Final = 1024


class FlightTable:
    """The flights of one cache, by key; so many landings are remembered."""

    def __init__(self, remembered: int = _REMEMBERED_LANDINGS) -> None:
        self._remembered = remembered
        self._lock = threading.RLock()  # guards all below
        self._flights: dict[str, Flight] = {}
        self._landings: OrderedDict[str, int] = OrderedDict()
        # The number of the last flight whose answer must not be replaced by an earlier
        # one's: it was a refresh, or its answer was kept.
        self._firm: OrderedDict[str, int] = OrderedDict()
        self._floor = 0  # of those that were forgotten
        self._count = 0
        self._born = 0

    def mark(self) -> int:
        """A point in time, to be taken before a look-up. See ``join``."""
        with self._lock:
            return self._count

    def join(
        self,
        key: str,
        stamps: Mapping[str, str],
        credential: str,
        *,
        mark: int,
        alone: bool,
        idle: float = IDLE_LIMIT,
    ) -> tuple[Flight | None, bool]:
        """A flight and whether the caller leads it. Leading, it moves or is left.

        Joins only a flight under the caller's own stamps: an older one may
        have been invalidated since. ``alone`` joins nothing and leads. None
        means that a flight for this key landed since ``mark``: look again,
        for its answer is in the store that the caller asked too early.
        """
        with self._lock:
            current = self._flights.get(key)
            if not alone:
                if (
                    current is not None
                    and current.stamps == stamps
                    and current.is_joinable
                ):
                    return current, False
                if self._landings.get(key, -1) >= mark:
                    return None, False
            flight = Flight(stamps, credential, idle=idle)
            self._born += 1
            flight.born = self._born
            self._flights[key] = flight
            if alone:
                self._firmly(key, flight)
            return flight, True

    def has(self, key: str) -> bool:
        """Whether a flight for this key is under way."""
        return key in self._flights

    def is_current(self, key: str, flight: Flight) -> bool:
        """Whether its answer may be kept.

        An answer asked for earlier must not replace one asked for later: one that was
        kept, or a refresh. That others gave up waiting for it is no reason.
        """
        with self._lock:
            return flight.born >= self._firm.get(key, self._floor)

    def kept(self, key: str, flight: Flight) -> None:
        """Say that a flight's answer was kept."""
        with self._lock:
            self._firmly(key, flight)

    def _firmly(self, key: str, flight: Flight) -> None:
        self._firm[key] = max(flight.born, self._firm.pop(key, 0))
        while len(self._firm) > self._remembered:
            # Rather an answer too few than an older one for a newer.
            self._floor = max(self._floor, self._firm.popitem(last=False)[1])

    def leave(self, key: str, flight: Flight) -> None:
        """Take a flight off the table. Its leader calls it, whatever happened.

        So does a follower whom it has left waiting for too long.
        """
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
            self._landings[key] = self._count
            self._landings.move_to_end(key)
            self._count += 1
            while len(self._landings) > self._remembered:
                self._landings.popitem(last=False)

    def __len__(self) -> int:
        with self._lock:
            return len(self._flights)
