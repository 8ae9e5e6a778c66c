"""One load for many callers, in this process.

The first caller leads: it loads, and publishes each piece as it comes. The
others follow the same buffer and get every piece, from the first. The table
never calls the loader itself; it only knows who flies.

This is the first of the three steps of docs/adr/0005: across processes a lease
and a stream come in here, without a change for the callers.
"""

import copy
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final

from cachecore.errors import FlightBroken, LeaderGone
from cachecore.streams import Piece

_REMEMBERED_LANDINGS: Final = 1024


class Flight:
    """A load under way: the leader publishes, followers read along."""

    def __init__(self, stamps: Mapping[str, str], credential: str) -> None:
        self.stamps = dict(stamps)
        self._credential = credential
        # Reentrant, as in the table: the garbage collector may close a leader's
        # generator, and so call ``crash``, while this very thread holds the lock.
        self._changed = threading.Condition(threading.RLock())  # guards all below
        self._pieces: list[Piece] = []
        self._landed = False
        self._error: BaseException | None = None

    def publish(self, piece: Piece) -> None:
        """Give a piece to every follower."""
        with self._changed:
            self._pieces.append(piece)
            self._changed.notify_all()

    def land(self) -> None:
        """Say that the answer is whole."""
        with self._changed:
            self._landed = True
            self._changed.notify_all()

    def crash(self, error: BaseException) -> None:
        """Say that no more will come. A landed flight can't crash."""
        with self._changed:
            if not self._landed:
                self._error = error
                self._changed.notify_all()

    def follow(self, credential: str) -> Iterator[list[Piece]]:
        """Every piece from the first, in batches of all that is new.

        Raises the leader's error for a follower with the same upstream
        credential: it would meet the same. Else LeaderGone if nothing was
        given out yet, FlightBroken if something was.
        """
        seen = 0
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda seen=seen: (  # type: ignore[misc]
                        len(self._pieces) > seen or self._landed or self._error
                    )
                )
                fresh = self._pieces[seen:]
                error, landed = self._error, self._landed
            if fresh:
                seen += len(fresh)
                yield fresh
            elif error is not None:
                raise self._share(error, shown=seen > 0, credential=credential)
            elif landed:
                return

    def _share(
        self, error: BaseException, *, shown: bool, credential: str
    ) -> Exception:
        if isinstance(error, Exception) and credential == self._credential:
            return _copied(error)
        if shown:
            return FlightBroken("the load that this answer came from ended early")
        return LeaderGone("the load ended without an answer")


class FlightTable:
    """The flights of one cache, by key."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # guards all below
        self._flights: dict[str, Flight] = {}
        self._landings: OrderedDict[str, int] = OrderedDict()
        self._count = 0

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
    ) -> tuple[Flight | None, bool]:
        """A flight and whether the caller leads it.

        Joins only a flight under the caller's own stamps: an older one may
        have been invalidated since. ``alone`` joins nothing and leads. None
        means that a flight for this key landed since ``mark``: look again,
        for its answer is in the store that the caller asked too early.
        """
        with self._lock:
            current = self._flights.get(key)
            if not alone:
                if current is not None and current.stamps == stamps:
                    return current, False
                if self._landings.get(key, -1) >= mark:
                    return None, False
            flight = Flight(stamps, credential)
            self._flights[key] = flight
            return flight, True

    def is_current(self, key: str, flight: Flight) -> bool:
        """Whether no newer flight has taken this one's place.

        An answer asked for earlier must not replace one asked for later.
        """
        with self._lock:
            return self._flights.get(key) is flight

    def leave(self, key: str, flight: Flight) -> None:
        """Take a flight off the table. The leader calls it, whatever happened."""
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
            self._landings[key] = self._count
            self._landings.move_to_end(key)
            self._count += 1
            while len(self._landings) > _REMEMBERED_LANDINGS:
                self._landings.popitem(last=False)

    def __len__(self) -> int:
        with self._lock:
            return len(self._flights)


def _copied(error: Exception) -> Exception:
    """A copy: many followers raising one object would share its traceback."""
    try:
        return copy.copy(error).with_traceback(None)
    except Exception:  # noqa: BLE001 - an exception class may refuse to be copied
        return error
