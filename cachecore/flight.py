"""Single-flight: one load for many callers, in this process.

The first caller leads: it loads, and publishes each piece as it comes. The others
follow the same buffer and get every piece, from the first. The table never calls the
loader itself; it only knows who leads what. What the leader of a flight publishes may
come from another process: see ``lease``.
"""

import copy
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import orjson

from cachecore.answer import Piece
from cachecore.errors import FlightBroken, LeaderGone, LeaderStalled

# What a flight remembers for those that come later, in characters. A longer
# answer is not kept either; who lags so far behind has lost it.
MAX_BUFFER: Final = 4 * 1024 * 1024
# And what each piece of it weighs besides its text.
_PIECE: Final = 100
# An answer without any progress for so long is no longer waited for by those who
# have shown nothing of it, in seconds.
IDLE_LIMIT: Final = 60.0
# The same for a load that dies with its caller, of which nobody says when it has left.
CALL_IDLE_LIMIT: Final = 10.0
# After so long without progress such a load is doubted by those who come new, in
# seconds; and by those who were shown a part of it after so many limits.
_SUSPECT_AFTER: Final = 1.0
_PATIENCE: Final = 3
# A follower's turn costs this much of the process's one thread, roughly; a crowd
# takes its turns at a pace that leaves most of it to others. In seconds.
_TURN: Final = 0.0005
_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
# A follower looks so often by itself, and counts no more than this for each look:
# while the process was stopped nobody looked, and nobody stood still.
_LOOK: Final = 1.0
_REMEMBERED_COMPLETIONS: Final = 1024


class Flight:
    """A load under way: the leader publishes, followers read along."""

    def __init__(
        self,
        stamps: Mapping[str, str],
        credential: str,
        timer: Callable[[], float] = time.monotonic,
        idle: float = IDLE_LIMIT,
    ) -> None:
        self.stamps = dict(stamps)
        self.idle = idle
        self.token = ""  # of the lease that it waits under, if any
        self.began_at = timer()
        self._credential = credential
        self._timer = timer
        # Reentrant, as in the table: the garbage collector may close a leader's
        # generator, and so call ``fail``, while this very thread holds the lock.
        self._changed = threading.Condition(threading.RLock())  # guards all below
        self._pieces: list[Piece] = []
        self._dropped = 0
        self._size = 0
        self._followers = 0
        self._moved_at = timer()
        self._is_complete = False
        self._error: BaseException | None = None

    def publish(self, piece: Piece) -> None:
        """Give a piece to every follower."""
        with self._changed:
            self._pieces.append(piece)
            self._size += weight(piece)
            while self._size > MAX_BUFFER and len(self._pieces) > 1:
                self._size -= weight(self._pieces.pop(0))
                self._dropped += 1
            self._moved_at = self._timer()
            # One, who wakes the next: a crowd woken at once would hold up
            # everybody else in the process until it is through.
            self._changed.notify()

    def complete(self) -> None:
        """Say that the answer is whole."""
        with self._changed:
            self._is_complete = True
            self._changed.notify()

    def fail(self, error: BaseException) -> None:
        """Say that no more will come. A landed flight can't crash."""
        with self._changed:
            if not self._is_complete:
                self._error = error
                self._changed.notify()

    @property
    def is_joinable(self) -> bool:
        """Whether a follower would still get every piece, from the first."""
        return not self._dropped

    def since(self, seen: int) -> list[Piece] | None:
        """The pieces behind the first ``seen``; None if some of them are gone."""
        with self._changed:
            if seen < self._dropped:
                return None
            return self._pieces[seen - self._dropped :]

    def follow(self, credential: str) -> Iterator[list[Piece]]:
        """Every piece from the first, in batches of all that is new.

        Raises the leader's error for a follower with the same upstream
        credential: it would meet the same. Else LeaderGone if nothing was
        given out yet, FlightBroken if something was. LeaderGone also where
        nothing has moved for ``idle`` seconds.
        """
        seen, shown = 0, False
        with self._changed:
            self._followers += 1
        try:
            self._wait_for_progress()
            while True:
                fresh, error = self._wait(seen, shown=shown)
                if fresh is None:
                    raise FlightBroken("this caller reads slower than it can be kept")
                if fresh:
                    seen += len(fresh)
                    # Those without anything in them only show that the load moves.
                    visible = [piece for piece in fresh if piece != Piece()]
                    if visible:
                        shown = True
                        yield visible
                    self._pause()
                elif error is not None:
                    raise self._share(error, shown=shown, credential=credential)
                else:
                    return
        finally:
            with self._changed:
                self._followers -= 1
                self._changed.notify()

    def begins_within(self, seconds: float) -> bool:
        """Whether the answer has begun, or has failed, when so much time has passed."""
        left = seconds
        with self._changed:
            self._followers += 1
            try:
                while not (self._is_complete or self._error or self._has_begun):
                    if left <= 0:
                        return False
                    began = self._timer()
                    self._changed.wait(min(left, _LOOK))
                    left -= self._timer() - began
                return True
            finally:
                self._followers -= 1
                self._changed.notify()  # the next in turn

    @property
    def _has_begun(self) -> bool:
        return bool(self._dropped) or any(
            piece.text or piece.data is not None or piece.tool_calls
            for piece in self._pieces
        )

    def _wait_for_progress(self) -> None:
        """Return when a load moves whose caller may have left.

        Nobody says when a caller leaves whose load dies with it. Who came only then,
        and were shown what there was, could not ask anew any more.
        """
        with self._changed:
            moved_at, stalled = self._moved_at, self._stalled_for()
            if self.idle >= IDLE_LIMIT or self._timer() - moved_at < _SUSPECT_AFTER:
                return
            while self._moved_at == moved_at and not (self._is_complete or self._error):
                stalled += self._look()
                if stalled >= self.idle:
                    raise LeaderStalled("the load has come to a standstill")
            self._changed.notify()  # the next in turn

    def _wait(
        self, seen: int, *, shown: bool
    ) -> tuple[list[Piece] | None, BaseException | None]:
        """What is new, or nothing and the leader's error; None: it is gone."""
        with self._changed:
            stalled, moved_at = self._stalled_for(), self._moved_at
            while True:
                fresh = self.since(seen)
                if fresh or fresh is None or self._is_complete or self._error:
                    self._changed.notify()  # the next in turn
                    return fresh, self._error
                if not shown and stalled >= self.idle:
                    raise LeaderStalled("the load has come to a standstill")
                if (
                    shown
                    and self.idle < IDLE_LIMIT
                    and stalled >= _PATIENCE * self.idle
                ):
                    raise FlightBroken("the load has come to a standstill")
                looked = self._look()
                # An empty piece moves the load without being one to give out.
                stalled = stalled + looked if self._moved_at == moved_at else 0.0
                moved_at = self._moved_at

    def _stalled_for(self) -> float:
        """How long the load has stood still for one who begins to wait.

        Never all of ``idle``: it may be the process that stood still, so that one look
        of the follower's own has to pass.
        """
        return min(self._timer() - self._moved_at, max(0.0, self.idle - _LOOK))

    def _look(self) -> float:
        """Wait for something new; how long that counts as standing still."""
        began = self._timer()
        # Not for ever: whoever was to wake this one may have been killed.
        woken = self._changed.wait(_LOOK)
        return min(self._timer() - began, _LOOK) if woken else _LOOK

    def _pause(self) -> None:
        pause = self._followers * _TURN
        if pause > _SHORTEST_PAUSE:
            time.sleep(min(pause, _LONGEST_PAUSE))

    def _share(
        self, error: BaseException, *, shown: bool, credential: str
    ) -> Exception:
        if isinstance(error, Exception) and credential == self._credential:
            return _copied(error)
        if shown:
            return FlightBroken("the load that this answer came from ended early")
        return LeaderGone("the load ended without an answer")


def weight(piece: Piece) -> int:
    """What a piece takes in a buffer, in characters, about."""
    size = _PIECE + len(piece.text)
    size += sum(len(call["arguments"]) for call in piece.tool_calls)
    if piece.data is None:
        return size
    if isinstance(piece.data, bytes):
        return size + len(piece.data)
    try:
        return size + len(orjson.dumps(piece.data))
    except TypeError:  # It can't be kept either.
        return MAX_BUFFER


def _copied(error: Exception) -> Exception:
    """A copy: many followers raising one object would share its traceback."""
    try:
        return copy.copy(error).with_traceback(None)
    except Exception:  # noqa: BLE001 - an exception class may refuse to be copied
        return error


class FlightTable:
    """The flights of one cache, by key; so many landings are remembered."""

    def __init__(
        self,
        remembered: int = _REMEMBERED_COMPLETIONS,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remembered = remembered
        self._timer = timer
        # Reentrant: see Flight.
        self._lock = threading.RLock()  # guards all below
        self._flights: dict[str, Flight] = {}
        self._completions: OrderedDict[str, int] = OrderedDict()
        self._count = 0

    def moment(self) -> int:
        """A point in time, to be taken before a look-up. See ``join``."""
        with self._lock:
            return self._count

    def join(
        self,
        key: str,
        stamps: Mapping[str, str] | None,
        credential: str,
        *,
        since: int = 0,
        alone: bool = False,
        idle: float = IDLE_LIMIT,
        most: float = 0,
    ) -> tuple[Flight | None, bool]:
        """A flight and whether the caller leads it. Its leader has to ``leave`` it.

        Joins only a flight under the caller's own stamps: an older one may
        have been invalidated since. ``alone`` joins nothing and leads. None
        means that a flight for this key landed ``since`` that moment: look again,
        for its answer is in the store that the caller asked too early.

        A caller without stamps does not know them, for the store is away. It joins a
        flight that began at most ``most`` seconds ago, whatever its stamps.
        """
        with self._lock:
            current = self._flights.get(key)
            if not alone:
                if (
                    current is not None
                    and current.is_joinable
                    and (
                        current.stamps == stamps
                        if stamps is not None
                        else self._timer() - current.began_at <= most
                    )
                ):
                    return current, False
                if stamps is not None and self._completions.get(key, -1) >= since:
                    return None, False
            flight = Flight(stamps or {}, credential, self._timer, idle)
            self._flights[key] = flight
            return flight, True

    def leave(self, key: str, flight: Flight) -> None:
        """Take a flight off the table. Its leader calls it, whatever happened.

        So does a follower whom it has left waiting for too long.
        """
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
            self._completions[key] = self._count
            self._completions.move_to_end(key)
            self._count += 1
            while len(self._completions) > self._remembered:
                self._completions.popitem(last=False)
