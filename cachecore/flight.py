"""Single-flight: one load for many callers, in this process.

The first caller leads: it loads, and publishes each piece when it arrives. The others
follow the same buffer and get every piece, from the first. The table never calls the
loader itself; it only records who leads which load. The pieces that a leader publishes
may come from another process: see ``lease``.
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

# The characters that a flight keeps for later followers. A longer answer is not kept
# in the store either; a follower that is further behind has lost it.
MAX_BUFFER: Final = 4 * 1024 * 1024
# The size that each piece adds besides its text.
_PIECE: Final = 100
# Followers that have shown nothing leave a load without progress after this time, in
# seconds.
IDLE_LIMIT: Final = 60.0
# The same for a load that ends with its caller: nothing reports that the caller left.
CALL_IDLE_LIMIT: Final = 10.0
# After this many seconds without progress, new followers wait before they show pieces
# of such a load. Followers that have shown a part leave after this many limits.
_SUSPECT_AFTER: Final = 1.0
_PATIENCE: Final = 3
# The rough cost of a follower's turn in the process's one thread. A crowd pauses
# between its turns, so that most of the time is left to other requests. In seconds.
_TURN: Final = 0.0005
_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
# A follower looks this often by itself, and counts at most this much time for a look:
# while the process was stopped, no time counts.
_LOOK: Final = 1.0
_REMEMBERED_COMPLETIONS: Final = 1024


class Flight:
    """A load in progress: the leader publishes, the followers read the same pieces."""

    def __init__(
        self,
        stamps: Mapping[str, str],
        credential: str,
        timer: Callable[[], float] = time.monotonic,
        idle: float = IDLE_LIMIT,
    ) -> None:
        self.stamps = dict(stamps)
        self.idle = idle
        self.token = ""  # of the lease that its load has, if any
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
            # Wake one follower, which wakes the next: a crowd woken at once would
            # delay all other requests of the process.
            self._changed.notify()

    def complete(self) -> None:
        """Report that the answer is complete."""
        with self._changed:
            self._is_complete = True
            self._changed.notify()

    def fail(self, error: BaseException) -> None:
        """Report that no more pieces will come; without effect on a complete answer."""
        with self._changed:
            if not self._is_complete:
                self._error = error
                self._changed.notify()

    @property
    def is_joinable(self) -> bool:
        """Whether a follower would still get every piece, from the first."""
        return not self._dropped

    def since(self, seen: int) -> list[Piece] | None:
        """The pieces after the first ``seen``; None if some were dropped."""
        with self._changed:
            if seen < self._dropped:
                return None
            return self._pieces[seen - self._dropped :]

    def follow(self, credential: str) -> Iterator[list[Piece]]:
        """Every piece from the first, in batches of all new pieces.

        Raises the leader's error for a follower with the same upstream credential,
        because it would get the same error. Otherwise raises LeaderGone if nothing was
        shown yet, and FlightBroken if something was. LeaderGone also after ``idle``
        seconds without progress.
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
                    # Empty pieces only show that the load makes progress.
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
        """Whether the answer begins, or fails, within this time."""
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
        """Return when a load whose caller may have left makes progress.

        Nothing reports that such a caller left. A new follower that was shown the old
        pieces could not ask the upstream again.
        """
        with self._changed:
            moved_at, stalled = self._moved_at, self._stalled_for()
            if self.idle >= IDLE_LIMIT or self._timer() - moved_at < _SUSPECT_AFTER:
                return
            while self._moved_at == moved_at and not (self._is_complete or self._error):
                stalled += self._look()
                if stalled >= self.idle:
                    raise LeaderStalled("the load made no progress for too long")
            self._changed.notify()  # the next in turn

    def _wait(
        self, seen: int, *, shown: bool
    ) -> tuple[list[Piece] | None, BaseException | None]:
        """New pieces, or none and the leader's error; None if pieces were dropped."""
        with self._changed:
            stalled, moved_at = self._stalled_for(), self._moved_at
            while True:
                fresh = self.since(seen)
                if fresh or fresh is None or self._is_complete or self._error:
                    self._changed.notify()  # the next in turn
                    return fresh, self._error
                if not shown and stalled >= self.idle:
                    raise LeaderStalled("the load made no progress for too long")
                if (
                    shown
                    and self.idle < IDLE_LIMIT
                    and stalled >= _PATIENCE * self.idle
                ):
                    raise FlightBroken("the load made no progress for too long")
                looked = self._look()
                # An empty piece is progress, but there is nothing to show.
                stalled = stalled + looked if self._moved_at == moved_at else 0.0
                moved_at = self._moved_at

    def _stalled_for(self) -> float:
        """How long the load has been without progress when a follower begins to wait.

        Never all of ``idle``: the process itself may have been stopped, so the follower
        must look once by itself.
        """
        return min(self._timer() - self._moved_at, max(0.0, self.idle - _LOOK))

    def _look(self) -> float:
        """Wait for something new; returns the time that counts as without progress."""
        began = self._timer()
        # With a limit: the follower that should wake this one may have been killed.
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
    """The approximate size of a piece in a buffer, in characters."""
    size = _PIECE + len(piece.text)
    size += sum(len(call["arguments"]) for call in piece.tool_calls)
    if piece.data is None:
        return size
    if isinstance(piece.data, bytes):
        return size + len(piece.data)
    try:
        return size + len(orjson.dumps(piece.data))
    except TypeError:  # Such a piece can't be kept either.
        return MAX_BUFFER


def _copied(error: Exception) -> Exception:
    """A copy: followers that raise the same object would share its traceback."""
    try:
        return copy.copy(error).with_traceback(None)
    except Exception:  # noqa: BLE001 - an exception class may refuse to be copied
        return error


class FlightTable:
    """The flights of one cache, by key; it remembers the last completions."""

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
        """A point in time, to take before a look-up. See ``join``."""
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
        """A flight and whether the caller leads it. The leader must ``leave`` it.

        Joins only a flight under the caller's own stamps: an older flight may have been
        invalidated since. With ``alone`` the caller joins nothing and leads. None means
        that a flight for this key completed after the moment ``since``: the caller must
        look up again, because its look-up was too early to find the answer.

        A caller without stamps could not read them from the store. It joins a flight
        that began at most ``most`` seconds ago, whatever its stamps.
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
        """Remove a flight from the table. Its leader calls this in any case.

        A follower that waited too long calls it too.
        """
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
            self._completions[key] = self._count
            self._completions.move_to_end(key)
            self._count += 1
            while len(self._completions) > self._remembered:
                self._completions.popitem(last=False)
