"""The same question in other words: answered with a kept answer, where that has proved right.

Opt-in (``match: meaning``), and for questions that stand alone. All of a request but its
question is as exact as ever: it names the partition. A kept answer to another question of the
partition is a candidate if

1. no guard tells the two questions apart (``guards``),
2. their score lies in a band (``score``, ``bands``),
3. its entry may still be served: the same judgement as of any entry,
4. the judge model, where one is named, says that it answers this question.

Then the band decides. Most candidates are only compared: the model is asked as always, and
its answer shows whether the candidate would have been right. A band that was right
often enough serves, and goes on being compared at a share. Nothing is served before that.

The store has two kinds of logs for it: the questions of a partition (``index``), and the
comparisons of a subject (kind, model, app), from which every process makes the same bands.
What fails here costs a hit and never an answer.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from cachetools import LRUCache

from cachecore.answer import Piece
from cachecore.audit import RIGHT, compared
from cachecore.entry import Entry
from cachecore.errors import StoreError, UnkeyableError
from cachecore.events import Compared, Hook
from cachecore.keys import SWITCH_FIELD, Keyspace, mark_of
from cachecore.lookup import Look, Lookup
from cachecore.meaning import guards
from cachecore.meaning.bands import ALONE, WINDOW, Band, band_of, bands_of
from cachecore.meaning.index import Index, Vector
from cachecore.meaning.score import score
from cachecore.policy import LENIENT, Reason
from cachecore.request import Meaning, Request, form_of
from cachecore.stamps import Stamps
from cachecore.stores.base import Store

logger = logging.getLogger(__name__)

# Of guards and score together: what one found is no evidence for another.
_VERSION: Final = 1
_CANDIDATES: Final = 4  # that are looked at, the nearest first
_MOST_BEHIND: Final = 4  # answers that are learned from at a time, by one cache
_MOST_COMPARISONS: Final = 4 * WINDOW  # in a log
_LIFE: Final = 30 * 86400
_MAX_SUBJECTS: Final = 256
_AT_ONCE: Final = 1_000
_REST: Final = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Near:
    """The kept answer to another question, that may be right for this one.

    ``serves`` says whether its band lets it be served, this time.
    """

    key: str
    band: int
    entry: Entry
    serves: bool


@dataclass(slots=True)
class _Trust:
    """The comparisons of a subject, as far as this process has read them."""

    position: str = ""
    bands: Sequence[Band] = field(default_factory=lambda: bands_of([]))
    seen: dict[str, None] = field(default_factory=dict)  # pairs, the oldest first
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: str) -> None:
        """Count a comparison: its band, + or -, and a mark of the two questions.

        Two questions that are right for one another are evidence once, however often
        they are compared; and what is wrong counts each time.
        """
        number = int(record[0]) if record[:1].isdigit() else len(self.bands)
        sign, pair = record[1:2], record[2:]
        if number >= len(self.bands) or sign not in ("+", "-"):
            return
        if sign == "-":
            self.bands[number].add(right=False)
        elif pair not in self.seen:
            self.seen[pair] = None
            self.bands[number].add(right=True)
            if len(self.seen) > _MOST_COMPARISONS:
                del self.seen[next(iter(self.seen))]


class MeaningTier:
    """For one cache. Thread-safe."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        lookup: Lookup,
        cipher_key: bytes | None,
        emit: Hook,
        chance: Callable[[], float] = random.random,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timer = timer
        self._rests_until = 0.0  # the embedding server, which has failed
        self._store = store
        self._keyspace = keyspace
        self._lookup = lookup
        self._emit = emit
        self._chance = chance
        self._index = Index(store, cipher_key)
        self._trusts: LRUCache[str, _Trust] = LRUCache(_MAX_SUBJECTS)
        self._lock = threading.Lock()  # guards _trusts
        self._behind = threading.BoundedSemaphore(_MOST_BEHIND)

    def find(self, request: Request, look: Look) -> Near | None:
        """What may be served in place of a miss. Raises StoreError.

        None where no band of the subject serves: then nothing is in the answer's way.
        """
        meaning = request.meaning
        if meaning is None or not _is_open(request, look):
            return None
        bands = self._bands(request, whole=False)
        if not any(band.serves(meaning.max_wrong) for band in bands):
            return None
        vector = self._vector(meaning)
        if vector is None:
            return None
        return self._nearest(request, meaning, look.stamps or {}, vector, whole=False)

    def learn(self, request: Request, key: str, stamps: Stamps, answer: Piece) -> None:
        """Compare an answer that was kept with its neighbour's, behind; and tell of it."""
        if request.meaning is None or not self._behind.acquire(blocking=False):
            return
        thread = threading.Thread(
            target=self._learn,
            args=(request, request.meaning, key, stamps, answer),
            name="cache-meaning",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # no thread can be started
            self._behind.release()

    def _learn(
        self,
        request: Request,
        meaning: Meaning,
        key: str,
        stamps: Stamps,
        answer: Piece,
    ) -> None:
        try:
            vector = self._vector(meaning)
            if vector is None:
                return
            near = self._nearest(request, meaning, stamps, vector, whole=True, own=key)
            if near is not None:
                verdict, _ = compared(request, near.entry.payload, answer)
                self._tell(request, key, near, right=verdict in RIGHT)
            log = _log(self._keyspace, request, meaning)
            self._index.add(log, key, meaning.question, vector)
        except (StoreError, UnkeyableError):
            pass  # The next one will do.
        except Exception as error:  # noqa: BLE001 - its caller has been served
            logger.warning("an answer was not learned from: %s", type(error).__name__)
        finally:
            self._behind.release()

    def _nearest(
        self,
        request: Request,
        meaning: Meaning,
        stamps: Mapping[str, str | None],
        vector: Vector,
        *,
        whole: bool,
        own: str = "",
    ) -> Near | None:
        log = _log(self._keyspace, request, meaning)
        for cosine, one in self._index.nearest(log, vector, _CANDIDATES, whole=whole):
            if one.key == own or one.question == meaning.question:
                continue
            band = _band(meaning, one.question, cosine)
            if band is None:
                continue
            hash_key = self._keyspace.stamps
            value = self._store.look_up(one.key, hash_key, [SWITCH_FIELD]).value
            reason, entry = self._lookup.judge(
                request, one.key, value, stamps, Piece.from_payload
            )
            if entry is None or reason is not Reason.HIT:
                continue
            if not _answers(meaning, one.question, entry.payload):
                continue
            state = self._bands(request, whole=whole)[band]
            share = state.share(meaning.max_wrong, meaning.compare_share)
            return Near(one.key, band, entry, serves=self._chance() >= share)
        return None

    def _vector(self, meaning: Meaning) -> Vector | None:
        """The question's vector. A server that has failed is left alone for a while."""
        if self._timer() < self._rests_until:
            return None
        try:
            return Vector.of(meaning.embed(meaning.question))
        except Exception as error:  # noqa: BLE001 - whatever it did, this is a miss
            self._rests_until = self._timer() + _REST
            logger.warning("a question could not be embedded: %s", type(error).__name__)
            return None

    # --- bands ------------------------------------------------------------

    def _bands(self, request: Request, *, whole: bool) -> Sequence[Band]:
        """The bands of a request's subject. Raises StoreError."""
        log = self._comparisons(request)
        with self._lock:
            trust = self._trusts.get(log)
            if trust is None:
                trust = self._trusts[log] = _Trust()
        # Who is in a hurry waits for no other reader: what is known has to do.
        if not trust.lock.acquire(blocking=whole):
            return trust.bands
        try:
            new = self._store.tail(log, trust.position, _AT_ONCE, behind=whole)
            for position, data in new:
                trust.position = position
                trust.add(data.decode("ascii", "replace"))
        finally:
            trust.lock.release()
        return trust.bands

    def _comparisons(self, request: Request) -> str:
        by = request.meaning.by if request.meaning else ""
        return self._keyspace.comparisons(
            orjson.dumps([_VERSION, by, *request.subject])
        )

    def _tell(self, request: Request, own: str, near: Near, *, right: bool) -> None:
        log = self._comparisons(request)
        pair = mark_of(own), mark_of(near.key)
        record = f"{near.band}{'+' if right else '-'}{min(pair)}{max(pair)}".encode()
        self._store.append(log, [record], _MOST_COMPARISONS, _LIFE)
        cost = near.entry.cost
        self._emit(Compared(request.subject, near.band, right=right, saved=cost))


def _is_open(request: Request, look: Look) -> bool:
    """Whether a miss may be answered otherwise: not one that asks for a new answer."""
    missed = look.reason in (Reason.ABSENT, Reason.EXPIRED)
    return missed and look.stamps is not None and request.control in LENIENT


def _log(keyspace: Keyspace, request: Request, meaning: Meaning) -> str:
    return keyspace.questions(form_of(request, {**meaning.partition, "by": meaning.by}))


def _band(meaning: Meaning, other: str, cosine: float) -> int | None:
    """The band of two questions; None where they are not the same."""
    judged = meaning.judge is not None
    if guards.veto(meaning.question, other, judged=judged):
        return None
    found = score(meaning.question, other, cosine)
    return band_of(found) if judged or found >= ALONE else None


def _answers(meaning: Meaning, other: str, answer: Piece) -> bool:
    """What the judge says, where there is one; its silence and its error are a no."""
    if meaning.judge is None:
        return True
    try:
        return meaning.judge(meaning.question, other, answer)
    except Exception as error:  # noqa: BLE001 - whatever its server did, it is no yes
        logger.warning("the judge of a question failed: %s", type(error).__name__)
        return False
