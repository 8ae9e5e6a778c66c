"""Evidence: a subject's comparisons, from which every process computes the same bands.

A log in the store has one record for each comparison: the band, + or -, and the short key
of the kept answer. Users' votes against an answer to another question count as a wrong
comparison. After each comparison the band's state is also written to a hash, for operators.
"""

import base64
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from cachetools import LRUCache

from cachecore import entry as entries
from cachecore.errors import CorruptEntry, StoreError
from cachecore.events import Subject
from cachecore.keys import Keyspace, short_key
from cachecore.meaning.bands import WINDOW, Band, needed
from cachecore.policy import BAND_STARTS
from cachecore.stores.base import Page, Store

_MOST: Final = 8 * WINDOW  # the most comparisons in a log
_EACH: Final = 3  # the most right comparisons of one kept answer that count
_LIFE: Final = 30 * 86400
_MAX_SUBJECTS: Final = 256
_AT_ONCE: Final = 1_000
# Operators see the bands with comparisons in this week or the last one. Older states
# are dropped, because users choose the names in them.
_WEEK: Final = 7 * 86400
_MOST_SHOWN: Final = 100


@dataclass(slots=True)
class Trust:
    """The comparisons of a subject that this process has read.

    ``whole`` says that the process has read all of them; until then no band serves.
    """

    position: str = ""
    whole: bool = False
    bands: Sequence[Band] = field(default_factory=lambda: [Band() for _ in BAND_STARTS])
    # How often each kept answer was right, in the order of their first comparisons.
    seen: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: str) -> None:
        """Count a comparison.

        At most ``_EACH`` right comparisons of one kept answer count, even if more
        questions are compared with it. Every wrong comparison counts.
        """
        number = int(record[0]) if record[:1].isdigit() else len(self.bands)
        sign, kept = record[1:2], record[2:]
        if number >= len(self.bands) or sign not in ("+", "-"):
            return
        if sign == "-":
            self.bands[number].add(right=False)
        elif self.counts(kept):
            self.seen[kept] = self.seen.get(kept, 0) + 1
            self.bands[number].add(right=True)
            if len(self.seen) > _MOST:
                del self.seen[next(iter(self.seen))]

    def counts(self, kept: str) -> bool:
        """Whether another right comparison with this kept answer counts."""
        return self.seen.get(kept, 0) < _EACH


@dataclass(frozen=True, slots=True, order=True)
class BandState:
    """The state of a band for operators: it needs ``missing`` more right comparisons.

    ``rights`` and ``wrongs`` count the last comparisons. ``locked`` says that the cache
    options forbid the band to serve.
    """

    subject: Subject
    band: int
    missing: int
    rights: int
    wrongs: int
    locked: bool


class Evidence:
    """The logs of one namespace. Thread-safe; all methods raise StoreError."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        cipher_key: bytes | None,
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._store = store
        self._keyspace = keyspace
        self._cipher_key = cipher_key
        self._trusts: LRUCache[str, Trust] = LRUCache(_MAX_SUBJECTS)
        self._lock = threading.Lock()  # guards _trusts

    def trust(self, subject_id: str, *, whole: bool) -> Trust:
        """The known comparisons of the subject with this id.

        With ``whole`` all new records are read. Otherwise there is only one read,
        because a caller waits.
        """
        with self._lock:
            trust = self._trusts.get(subject_id)
            if trust is None:
                trust = self._trusts[subject_id] = Trust()
        log = self._keyspace.comparisons(subject_id)
        # If a caller waits, this call does not also wait for another reader.
        if not trust.lock.acquire(blocking=whole):
            return trust
        try:
            while True:
                new = self._store.tail(
                    log, trust.position, _AT_ONCE, in_background=whole
                )
                trust.whole = len(new) < _AT_ONCE
                for position, data in new:
                    trust.position = position
                    trust.add(data.decode("ascii", "replace"))
                if trust.whole or not whole:
                    return trust
        finally:
            trust.lock.release()

    def add(self, subject_id: str, band: int, key: str, *, right: bool) -> Trust:
        """Record a comparison with the answer under ``key``; returns the new evidence."""
        trust, kept = self.trust(subject_id, whole=True), short_key(key)
        # A record that does not count would only displace others in the log.
        if right and not trust.counts(kept):
            return trust
        record = f"{band}{'+' if right else '-'}{kept}"
        try:
            append(self._store, self._keyspace, subject_id, record)
        except StoreError:
            # A wrong comparison closes the band at least in this process. A right one
            # may be in the log in spite of the error, and must count only once.
            if not right:
                with trust.lock:
                    trust.add(record)
            raise
        return self.trust(subject_id, whole=True)

    def show(
        self,
        subject_id: str,
        subject: Subject,
        number: int,
        band: Band,
        max_wrong: float,
        *,
        locked: bool,
    ) -> None:
        """Write the state of a band for operators."""
        missing = max(0, needed(max_wrong, band.wrongs) - band.right_since)
        record = orjson.dumps(
            [*subject, number, missing, band.rights, band.wrongs, locked]
        )
        name = _hashes(self._keyspace, self._clock())[-1]
        sealed = entries.seal(record, name, self._cipher_key)
        fields = {f"{subject_id}.{number}": base64.b85encode(sealed).decode()}
        self._store.publish([Page(name, fields, 2 * _WEEK)])


def append(store: Store, keyspace: Keyspace, subject_id: str, record: str) -> None:
    """Add a record to a subject's log. Raises StoreError."""
    store.append(keyspace.comparisons(subject_id), [record.encode()], _MOST, _LIFE)


def vote(store: Store, keyspace: Keyspace, served: str, key: str, now: float) -> None:
    """Count users' votes against an answer that a band served. Raises StoreError.

    ``served`` names the subject and its band, as ``Near.served`` does.
    """
    subject_id, _, band = served.partition(".")
    append(store, keyspace, subject_id, f"{band}-{short_key(key)}")
    for name in _hashes(keyspace, now):  # The shown state is out of date.
        store.forget(name, served)


def shown(
    store: Store, keyspace: Keyspace, cipher_key: bytes | None, now: float
) -> list[BandState]:
    """The states of the bands of the last week, after their last comparisons.

    Raises StoreError.
    """
    names = _hashes(keyspace, now)
    found: dict[str, BandState] = {}
    for name, fields in zip(names, store.gather(names), strict=True):
        for field_, sealed in fields.items():
            state = _state(name, sealed, cipher_key)
            if state is not None:
                found[field_] = state
    return sorted(found.values())[:_MOST_SHOWN]


def _hashes(keyspace: Keyspace, now: float) -> list[str]:
    """The hashes with the states of bands: of last week and of this week."""
    week = int(now // _WEEK)
    return [keyspace.bands(week - 1), keyspace.bands(week)]


def _state(name: str, sealed: str, cipher_key: bytes | None) -> BandState | None:
    """A band's state; None if another version or another secret wrote it."""
    try:
        data = base64.b85decode(sealed)
        record = orjson.loads(entries.unseal(data, name, cipher_key))
        kind, label, app, *counted, locked = record
        subject = Subject(str(kind), str(label), str(app))
        band, missing, rights, wrongs = map(int, counted)
    except (CorruptEntry, ValueError, TypeError):
        return None
    if not 0 <= band < len(BAND_STARTS):
        return None
    return BandState(subject, band, missing, rights, wrongs, bool(locked))
