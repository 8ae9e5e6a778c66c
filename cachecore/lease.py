"""One load for many processes: a lease, and a stream in which its leader publishes.

The process that takes the lease of an entry loads it. A process that finds the lease
taken follows: it reads the stream that has the lease's token in its name. The leader
publishes nothing until it has a follower. Then it publishes every piece, from the first,
in numbered records, in the background. One thread of each cache sends the heartbeats of
all its loads. A heartbeat renews the lease and the stream for ``Pace.lease`` seconds on
the store's clock.

This clock alone decides whether a leader is alive. A leader is dead when its lease and its
stream have both expired. A long wait of a reader proves nothing, because either of the
two processes may have been stopped.

A follower's states, and the events that change them:

    claim ---------------> lead          the lease was free
    claim ---------------> unproven      another process has it; the follower subscribes
    unproven ------------> following     the leader wrote a record after the subscription
    unproven, following -> done          the leader's record reports a complete answer
    unproven, following -> claim         the leader is dead, or reports that it gave up

An unproven follower shows nothing, because the stream's records may be from a dead
leader. A follower that has shown a part claims again like the others. It goes on only
with an answer that begins with that part (``cache.Shown``). The lease decides who loads.
The stream decides what a follower shows. The order of the request decides whose answer is
kept (``policy.may_replace``). A stream has one writer, so it never mixes two answers.
"""

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson

from cachecore import entry as entries
from cachecore import stamps as stamp_table
from cachecore.answer import Piece, merge, split
from cachecore.errors import CorruptEntry, LeaderFailed, LeaderGone, StoreError
from cachecore.flight import MAX_BUFFER, Flight, weight
from cachecore.keys import flight_key, lease_key
from cachecore.policy import Token
from cachecore.stores.base import Commit, Heartbeat, Store, StreamReply

logger = logging.getLogger(__name__)

_LONGEST_ERROR: Final = 2000
# The most ended loads whose last record is sent between two rounds of heartbeats.
_ENDS_A_ROUND: Final = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """The intervals of leaders and followers, in seconds.

    ``lease``: the life of a lease and its stream without a heartbeat. ``heartbeat``: the
    time between two renewals, which also look for followers. ``batch``: the least time
    between two batches of pieces. ``linger``: how long an ended stream is kept for slow
    followers. ``read``: how long one read of a follower waits. ``outage``: how long a
    follower waits for a failing store before it asks the upstream itself.
    """

    lease: float = 3.0
    heartbeat: float = 0.25
    batch: float = 0.02
    linger: float = 30.0
    read: float = 0.1
    outage: float = 1.0


# --- the records of a stream --------------------------------------------------------
#
# A record is numbered and sealed like an entry: bound to its stream, and encrypted if
# entries are. ``{"n": 3, "pieces": […]}`` is a part of the answer; without pieces it is a
# heartbeat. ``{"n": 4, "end": …}`` is the end: ``landed`` (complete), ``gone`` or ``error``.

_COMPLETE: Final[Mapping[str, Any]] = {"end": "landed"}
_GONE: Final[Mapping[str, Any]] = {"end": "gone"}
_ALIVE: Final[Mapping[str, Any]] = {"pieces": ()}


def seal_record(
    record: Mapping[str, Any], stream: str, cipher_key: bytes | None
) -> bytes:
    """The bytes of a record whose ``pieces`` are Pieces; raises TypeError for no text."""
    pieces = [piece.payload() for piece in record.get("pieces", ())]
    text = orjson.dumps({**record, "pieces": pieces})
    return entries.seal(text, stream, cipher_key)


def unseal_record(
    data: bytes, stream: str, cipher_key: bytes | None
) -> Mapping[str, Any]:
    """The record; raises ValueError for anything else."""
    try:
        record = orjson.loads(entries.unseal(data, stream, cipher_key))
        pieces = [Piece.from_payload(piece) for piece in record["pieces"]]
        if "error" in record:
            name, text = record["error"]
            record["error"] = [str(name), str(text)]
        return {**record, "n": int(record["n"]), "pieces": pieces}
    except (CorruptEntry, TypeError, KeyError, AttributeError) as error:
        msg = "not a record of this stream"
        raise ValueError(msg) from error


def credential_digest(credential: str) -> str:
    """A part of a credential's digest: enough to compare, too short to test guesses."""
    return hashlib.sha256(credential.encode()).hexdigest()[:8]


# --- leading -----------------------------------------------------------------------


class Lead:
    """A load of this process that others may follow: its lease and its stream."""

    def __init__(
        self, leases: "Leases", key: str, token: str, order: int, now: float
    ) -> None:
        self._leases = leases
        self.key = key
        self.token = token
        self.order = order
        self.lease = lease_key(key)
        self.stream = flight_key(key, token)
        self.busy = threading.Lock()  # held while a thread sends records of this load
        self.due = self.sent_at = self.beat_at = now
        self.followed = False
        # False while the answer may still differ from the part shown of another answer.
        self.publishes = True
        self.end: Mapping[str, Any] | None = None
        self.ended_at = 0.0
        self._flight: Flight | None = None
        self._moved = False
        self._stalled = 0.0
        self._taken = 0  # pieces of the flight that are in records
        self._count = 0  # records that were made
        self._unsent: list[bytes] = []  # records that the store has not confirmed
        self._too_large = False  # the answer is too long to publish
        self._has_end = False  # whether the last record was made

    def attach(self, flight: Flight) -> None:
        """Begin to publish the pieces of ``flight`` in the background."""
        self._flight = flight
        self.due = self._leases.timer() + self._leases.pace.heartbeat
        self._leases.add(self)

    def moved(self) -> None:
        """Note that the flight has published a piece."""
        first, self._moved = not self._moved, True
        if first or self.followed:
            due = self.sent_at + self._leases.pace.batch
            if due < self.due:
                self.due = due
                self._leases.wake()

    def commit(self, value: bytes | None, ttl: float) -> bool:
        """Keep the entry, publish the rest, release the lease; whether it was kept.

        Raises StoreError. Followers then get the rest as soon as the store works again.
        """
        self._leases.remove(self)
        with self.busy:
            try:
                return self._leases.store.commit(self.commitment(_COMPLETE, value, ttl))
            except StoreError:
                self._finish(_COMPLETE)
                raise

    def commitment(
        self, end: Mapping[str, Any], value: bytes | None = None, ttl: float = 1
    ) -> Commit:
        """The commit that publishes all unsent pieces, and then ``end``."""
        names = self.key, self.lease, self.stream, self.token
        return Commit(*names, value, ttl, self.records(end), self._leases.pace.linger)

    def fail(self, error: BaseException, credential: str) -> None:
        """End the stream with an error, in the background."""
        end = _GONE
        # An exception's own __str__ may raise; it must not take this one's place.
        with suppress(Exception):
            if isinstance(error, Exception):
                described = [type(error).__name__, str(error)[:_LONGEST_ERROR]]
                whose = credential_digest(credential)
                end = {"end": "error", "who": whose, "error": described}
        self._finish(end)

    def release(self) -> None:
        """Release the lease without a load, in the background."""
        self._finish(_GONE)

    def _finish(self, end: Mapping[str, Any]) -> None:
        self.end, self.due = end, 0.0
        self.ended_at = self._leases.timer()
        self._leases.add(self)

    def heartbeat(self, now: float) -> Heartbeat:
        """A heartbeat, with the new records.

        The lease of a load without progress is not renewed. At most the time of two
        heartbeats counts: while the process was stopped, no time counts.
        """
        pace = self._leases.pace
        passed = min(now - self.beat_at, 2 * pace.heartbeat)
        self._stalled = 0.0 if self._moved else self._stalled + passed
        self._moved, self.beat_at = False, now
        renews = self._flight is None or self._stalled < self._flight.idle
        names = self.lease, self.stream, self.token
        return Heartbeat(*names, pace.lease, renews, self.records())

    def confirmed(self, length: int) -> None:
        """Note that the store has taken the records, and the stream's length."""
        self._unsent.clear()
        # More records than this leader made: a subscription, or one sent twice.
        self.followed = self.followed or length > self._count

    def records(self, end: Mapping[str, Any] | None = None) -> tuple[bytes, ...]:
        """The records to send; only the end if there is no follower.

        A process that follows after the end finds the entry. Records that the store did
        not confirm are sent again with the same numbers.
        """
        new: list[Mapping[str, Any]] = []
        if self.followed and self.publishes and not self._too_large:
            new = self._fresh()
            if not (new or end or self._unsent):
                new = [_ALIVE]
        if self._too_large:
            end = _GONE
        if end is not None:
            new.append(end)
        for record in new:
            if not self._has_end:
                self._unsent.append(self._sealed(record))
                self._count += 1
        return tuple(self._unsent)

    def _fresh(self) -> list[Mapping[str, Any]]:
        fresh = self._flight.since(self._taken) if self._flight else []
        self._too_large = fresh is None or sum(map(weight, fresh)) > MAX_BUFFER
        if not fresh or self._too_large:
            return []
        self._taken += len(fresh)
        return [{"pieces": [piece]} for piece in split(merge(fresh))]

    def _sealed(self, record: Mapping[str, Any]) -> bytes:
        self._has_end = "end" in record
        try:
            return self._leases.seal({"n": self._count, **record}, self.stream)
        except TypeError:  # text that JSON can't carry: a lone surrogate
            self._too_large = self._has_end = True
            return self._leases.seal({"n": self._count, **_GONE}, self.stream)


class Leases:
    """The leases of one cache, and the thread that keeps those of this process."""

    def __init__(
        self,
        store: Store,
        cipher_key: bytes | None,
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        pace: Pace | None = None,
    ) -> None:
        self.store = store
        self.timer = timer
        self.sleep = sleep
        self.pace = pace or Pace()
        self.cipher_key = cipher_key
        # Reentrant: the collector may close a leader while its thread holds it.
        self._changed = threading.Condition(threading.RLock())  # guards all below
        self._leads: set[Lead] = set()
        self._ended: set[str] = set()  # tokens whose leases are not released yet
        self._thread: threading.Thread | None = None

    def claim(
        self, key: str, stamps: Mapping[str, str], *, take_over: str = ""
    ) -> tuple[Lead | str, bytes | None]:
        """A lease to lead with, or the leader's token; and the current entry's bytes.

        Takes over from the leader with the token ``take_over``, from any if it is ``*``.
        Raises StoreError.
        """
        token = str(Token(secrets.token_hex(8), stamp_table.stamps_digest(stamps)))
        names = key, lease_key(key), token, self.pace.lease
        claim = self.store.claim(*names, take_over=take_over)
        if claim.holder in self._ended:
            # The holder is a load of this process that has just failed or was closed.
            claim = self.store.claim(*names, take_over=claim.holder)
        if claim.holder != token:
            return claim.holder, claim.value
        return Lead(self, key, token, claim.order, self.timer()), claim.value

    def follow(
        self, key: str, token: str, credential: str, *, patience: float
    ) -> Iterator[Piece]:
        """The pieces that the leader with ``token`` publishes, from the first.

        It waits ``patience`` seconds for a failing store. Raises LeaderGone if the leader
        is dead or has given up; LeaderFailed with the leader's own error, if the
        credential is the same; StoreError if the store fails for too long.
        """
        return _Following(self, key, token).pieces(credential, patience)

    def commit_alone(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep a value that was made without a lease; whether it was kept."""
        names = key, lease_key(key), flight_key(key, "-"), "-"
        return self.store.commit(Commit(*names, value, ttl))

    def seal(self, record: Mapping[str, Any], stream: str) -> bytes:
        """The bytes of a record."""
        return seal_record(record, stream, self.cipher_key)

    # --- the thread -------------------------------------------------------

    def add(self, lead: Lead) -> None:
        """Send heartbeats for this load, or its end, from now on."""
        with self._changed:
            self._leads.add(lead)
            if lead.end is not None:
                self._ended.add(lead.token)
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(
                    target=self._run, name="cache-heartbeat", daemon=True
                )
                # No thread can be started: the next load tries again, and this one
                # is not followed meanwhile.
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread
            elif lead.end is not None:
                self._changed.notify()

    def remove(self, lead: Lead) -> None:
        """Send no more heartbeats for this load."""
        with self._changed:
            self._leads.discard(lead)

    def wake(self) -> None:
        """A load is due earlier than it was."""
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            due = self._await_due()
            if due is None:
                return
            try:
                self._send([lead for lead in due if lead.end is None])
                ended = [lead for lead in due if lead.end is not None]
                # A few at a time: many failed loads must not delay the heartbeats.
                for lead in ended[:_ENDS_A_ROUND]:
                    self._send_end(lead)
            except Exception as error:  # noqa: BLE001 - the thread serves all loads
                logger.warning("a heartbeat failed: %s", type(error).__name__)
                for lead in due:
                    lead.due = self.timer() + self.pace.heartbeat

    def _await_due(self) -> list[Lead] | None:
        """The loads that must send something; None when there are no loads any more."""
        looks = 0
        with self._changed:
            while True:
                now = self.timer()
                # A copy: the collector may close a leader, and add it, during the loop.
                leads = list(self._leads)
                due = [lead for lead in leads if lead.due <= now]
                if due:
                    return due
                wait = min((lead.due - now for lead in leads), default=1)
                self._changed.wait(min(wait, self.pace.heartbeat))
                looks = 0 if leads else looks + 1
                if not self._leads and looks * self.pace.heartbeat > self.pace.lease:
                    self._thread = None
                    return None

    def _send(self, leads: Sequence[Lead]) -> None:
        """Heartbeats for these loads, in one round trip."""
        # A load that commits at this moment sends its own records.
        held = [lead for lead in leads if lead.busy.acquire(blocking=False)]
        try:
            with self._changed:
                living = [lead for lead in held if lead in self._leads]
            unfollowed = [lead for lead in living if not lead.followed]
            self._beat(living)
            # New followers are served now, not at the next heartbeat.
            self._beat([lead for lead in unfollowed if lead.followed])
        finally:
            for lead in held:
                lead.busy.release()

    def _beat(self, leads: Sequence[Lead]) -> None:
        if not leads:
            return
        now = self.timer()
        lengths: Sequence[int | None] = [None] * len(leads)
        # If this heartbeat fails, the next one is still sent.
        with suppress(StoreError):
            lengths = self.store.heartbeat([lead.heartbeat(now) for lead in leads])
        for lead, length in zip(leads, lengths, strict=True):
            lead.sent_at, lead.due = now, now + self.pace.heartbeat
            if length is not None:
                lead.confirmed(length)

    def _send_end(self, lead: Lead) -> None:
        self.remove(lead)
        with lead.busy:
            try:
                end = lead.end or _GONE
                self.store.commit(lead.commitment(end))
            except StoreError:
                # Followers wait for this record, and other callers for the lease.
                if self.timer() - lead.ended_at < self.pace.linger:
                    lead.due = self.timer() + self.pace.heartbeat
                    self.add(lead)
                    return
            self._ended.discard(lead.token)


# --- following ---------------------------------------------------------------------


class _Following:
    """A follower of the load that ``token`` leads in another process."""

    def __init__(self, leases: Leases, key: str, token: str) -> None:
        self._leases = leases
        self._stream, self._lease = flight_key(key, token), lease_key(key)
        self._token = token
        self._after, self._number = "0", 0
        # The position of this follower's own subscription, and whether the leader wrote
        # a record after it.
        self._subscription: tuple[int, ...] | None = None
        self._proven = False
        self._shown = False
        self._unshown: list[Piece] = []

    def pieces(self, credential: str, patience: float) -> Iterator[Piece]:
        whose = credential_digest(credential)
        failing, silent = 0.0, 0
        while True:
            began = self._leases.timer()
            try:
                reply = self._read(at_once=silent > 0)
            except StoreError:
                # A slow or failing store is no evidence about the leader.
                if failing >= patience:
                    raise
                self._leases.sleep(self._leases.pace.read)
                passed = self._leases.timer() - began
                failing += min(passed, 2 * self._leases.pace.read)
                continue
            failing = 0.0
            end = self._take(reply)
            if end is not None and end["end"] == "landed":
                self._proven = True  # A complete answer may be shown in any case.
            if self._proven and self._unshown:
                pieces, self._unshown = self._unshown, []
                self._shown = True
                yield merge(pieces)
            if end is not None:
                self._finish(end, whose)
                return
            # Twice: the load may have completed between the three replies.
            silent = 0 if reply.alive or reply.records else silent + 1
            if silent > 1:
                raise LeaderGone("the leader's lease has run out")

    def _read(self, *, at_once: bool) -> StreamReply:
        pace = self._leases.pace
        first = self._subscription is None
        reply = self._leases.store.read(
            self._stream,
            self._lease,
            self._token,
            self._after,
            0 if first or at_once else pace.read,
            subscribe=pace.lease if first else 0,
        )
        # The store made no subscription if the leader is dead already.
        if first and reply.subscription:
            self._subscription = _place(reply.subscription)
        return reply

    def _take(self, reply: StreamReply) -> Mapping[str, Any] | None:
        """Take new records; returns the last record of the stream, if it is there."""
        for position, data in reply.records:
            self._after = position
            if data is None:
                continue  # a subscription
            try:
                record = unseal_record(data, self._stream, self._leases.cipher_key)
            except ValueError:
                raise LeaderGone("the leader's stream can't be read") from None
            if record["n"] < self._number:
                continue  # It was sent twice.
            if record["n"] > self._number:
                raise LeaderGone("the leader's stream has a gap")
            self._number += 1
            self._proven = self._proven or _place(position) > (self._subscription or ())
            if "end" in record:
                return record
            self._unshown += record["pieces"]
        return None

    def _finish(self, end: Mapping[str, Any], whose: str) -> None:
        if end["end"] == "landed" and self._shown:
            return
        if end["end"] == "error" and end.get("who") == whose and "error" in end:
            raise LeaderFailed(*end["error"])
        raise LeaderGone("the load ended before it was published")


def _place(position: str) -> tuple[int, ...]:
    """A position in a stream, in a form that can be compared."""
    return tuple(int(number) for number in position.split("-") if number)
