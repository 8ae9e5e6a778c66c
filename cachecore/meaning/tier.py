"""Serve kept answers to the same question in other words, after right comparisons.

This is opt-in (``match: meaning``), and only for questions that are complete by themselves.
All parts of a request except its question must be equal; they name the partition. A kept
answer to another question of the partition is a candidate if

1. no guard has a veto (``guards``),
2. the score of the two questions is in a band (``score``, ``bands``),
3. its entry may still be served, by the same rules as for any entry,
4. the judge model, if there is one, says that the kept answer answers this question.

Then the band decides. Most candidates are only compared: the model is asked as always, and
its answer shows whether the candidate would have been right. A band serves only after it
was right often enough. A share of its requests is compared even then.

The store has two kinds of logs for this: the questions of a partition (``index``), and the
comparisons of a subject, which is a kind, a model and an app (``evidence``). A failure here
may cost a hit, but never an answer.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import orjson

from cachecore.answer import Piece
from cachecore.audit import RIGHT, Verdict, compared
from cachecore.entry import Entry
from cachecore.errors import StoreError, UnkeyableError
from cachecore.events import Compared, Hook
from cachecore.keys import Keyspace
from cachecore.lookup import Look, Lookup
from cachecore.meaning import guards
from cachecore.meaning.bands import ALONE, band_of
from cachecore.meaning.evidence import Evidence
from cachecore.meaning.index import Index, Vector
from cachecore.meaning.score import score
from cachecore.policy import LENIENT, Reason
from cachecore.request import Judgement, Meaning, Request, form_of
from cachecore.stamps import Stamps, stamps_digest
from cachecore.stores.base import Store

logger = logging.getLogger(__name__)

# The version of guards and score: comparisons of one version are no evidence for another.
_VERSION: Final = 2
_CANDIDATES: Final = 4  # the most candidates for a question, the nearest first
_MOST_COMPARISONS: Final = 4  # concurrent comparisons of one cache
_MAX_MODELS: Final = 256
_REST: Final = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Near:
    """The kept answer to another question, which may be right for this one."""

    key: str
    question: str
    subject: str  # the subject whose comparisons count
    band: int
    entry: Entry

    @property
    def served(self) -> str:
        """The subject and the band, for votes against it."""
        return f"{self.subject}.{self.band}"


class MeaningTier:
    """``match: meaning`` for one cache. Thread-safe."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        lookup: Lookup,
        cipher_key: bytes | None,
        emit: Hook,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timer = timer
        self._rests: dict[str, float] = {}  # failed models are not asked until then
        self._store = store
        self._keyspace = keyspace
        self._lookup = lookup
        self._emit = emit
        self._chance = chance
        self._index = Index(store, cipher_key)
        self._evidence = Evidence(store, keyspace, cipher_key, clock)
        self._comparisons = threading.BoundedSemaphore(_MOST_COMPARISONS)

    def find(self, request: Request, look: Look) -> Near | None:
        """The answer to serve instead of a miss. Raises StoreError.

        None if no band of the subject serves, so that the request waits for no vector.
        """
        meaning = request.meaning
        if meaning is None or not _is_open(request, look):
            return None
        if not guards.stands_alone(meaning.question):
            return None
        subject = _subject(self._keyspace, request, meaning)
        trust = self._evidence.trust(subject, whole=False)
        serving = [
            band.serves(meaning.max_wrong) and number not in meaning.locked
            for number, band in enumerate(trust.bands)
        ]
        # Served answers need comparisons too. So none is served while no comparison can
        # start.
        if not trust.whole or not any(serving) or not self._may_learn():
            return None
        vector = self._vector(meaning)
        if vector is None:
            return None
        for near in self._candidates(request, meaning, vector, whole=False):
            band = trust.bands[near.band]
            share = band.share(meaning.max_wrong, meaning.compare_share)
            if not serving[near.band] or self._chance() < share:
                return None
            return self._judged(request, meaning, near)
        return None

    def begin(self, request: Request) -> None:
        """Start to compute the vector of a question whose answer will be compared."""
        meaning = request.meaning
        if meaning is None or meaning.in_background or not self._asks(meaning.by):
            return
        if guards.stands_alone(meaning.question) and self._may_learn():
            meaning.prepare(meaning.question)

    def _may_learn(self) -> bool:
        if not self._comparisons.acquire(blocking=False):
            return False
        self._comparisons.release()
        return True

    def learn(self, request: Request, key: str, stamps: Stamps, answer: Piece) -> None:
        """Compare a kept answer with the answer to the nearest question, and index it.

        This runs in the background, unless the models can only be asked during the
        call.
        """
        meaning = request.meaning
        if meaning is None or not guards.stands_alone(meaning.question):
            return
        if not self._comparisons.acquire(blocking=False):
            return
        work = request, meaning, key, stamps, answer
        if not meaning.in_background:
            self._learn(*work)
            return
        thread = threading.Thread(
            target=self._learn, args=work, name="cache-meaning", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no thread can be started
            self._comparisons.release()

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
            # Read all new records, unless a caller waits.
            all_ = meaning.in_background
            for near in self._candidates(request, meaning, vector, whole=all_, own=key):
                if self._judged(request, meaning, near) is not None:
                    self._compare(request, meaning, near, answer)
                break
            log = _log(self._keyspace, request, meaning, stamps)
            self._index.add(log, key, meaning.question, vector, request.lifetime)
        except (StoreError, UnkeyableError):
            pass  # The next answer will be compared.
        except Exception as error:  # noqa: BLE001 - its caller was served
            logger.warning("an answer was not compared: %s", type(error).__name__)
        finally:
            self._comparisons.release()

    def _compare(
        self, request: Request, meaning: Meaning, near: Near, answer: Piece
    ) -> None:
        judged = replace(request, judge=self._judge_of_answers(request, meaning))
        verdict, judgement = compared(judged, near.entry.payload, answer)
        if verdict is Verdict.DIFFERENT and request.judge and judgement is None:
            return  # The judge of answers gave no verdict, which proves nothing.
        self._record(request, meaning, near, right=verdict in RIGHT)

    def _judge_of_answers(
        self, request: Request, meaning: Meaning
    ) -> Callable[[Piece, Piece], Judgement | None] | None:
        """The request's judge; after a failure it is not asked for a while."""
        judge, name = request.judge, "answers " + meaning.by
        if judge is None or not self._asks(name):
            return None

        def ask(kept: Piece, fresh: Piece) -> Judgement | None:
            try:
                return judge(kept, fresh)
            except Exception as error:  # noqa: BLE001 - a failed judge gives no verdict
                self._rest(name, error)
                return None

        return ask

    def _candidates(
        self,
        request: Request,
        meaning: Meaning,
        vector: Vector,
        *,
        whole: bool,
        own: str = "",
    ) -> Iterator[Near]:
        """The current kept answers that pass guards and score. Raises StoreError.

        An entry that was invalidated or switched off since the look-up is not a
        candidate, even if the vector took long.
        """
        now = self._look(request, meaning, self._lookup.key(request))
        if now.stamps is None or None in now.stamps.values():
            return  # Nothing may be kept, or there is no entry.
        stamps = {field: stamp for field, stamp in now.stamps.items() if stamp}
        log = _log(self._keyspace, request, meaning, stamps)
        subject = _subject(self._keyspace, request, meaning)
        for cosine, one in self._index.nearest(log, vector, _CANDIDATES, whole=whole):
            if one.key == own or one.question == meaning.question:
                continue
            band = _band(meaning, one.question, cosine)
            if band is None:
                continue
            entry = self._look(request, meaning, one.key).entry
            if entry is not None:
                yield Near(one.key, one.question, subject, band, entry)

    def _look(self, request: Request, meaning: Meaning, key: str) -> Look:
        """The entry under a key of the request's partition. Raises StoreError."""
        look = self._lookup.at(request, key, meaning.read)
        if look.failed:
            raise StoreError("the store failed when a candidate was read")
        return look

    def _judged(self, request: Request, meaning: Meaning, near: Near) -> Near | None:
        """The candidate if the judge says yes, with its entry as it is after that."""
        if meaning.judge is None:
            return near
        if not self._asks("judge " + meaning.by):
            return None
        try:
            yes = meaning.judge(meaning.question, near.question, near.entry.payload)
        except Exception as error:  # noqa: BLE001 - a failed judge does not say yes
            self._rest("judge " + meaning.by, error)
            return None
        entry = self._look(request, meaning, near.key).entry if yes else None
        return None if entry is None else replace(near, entry=entry)

    def _asks(self, model: str) -> bool:
        """Whether a model may be asked: after a failure it is not asked for a while."""
        return self._timer() >= self._rests.get(model, 0.0)

    def _rest(self, model: str, error: Exception) -> None:
        if len(self._rests) > _MAX_MODELS:
            self._rests.clear()
        self._rests[model] = self._timer() + _REST
        logger.warning("a model for match: meaning failed: %s", type(error).__name__)

    def _vector(self, meaning: Meaning) -> Vector | None:
        """The question's vector; None if its model fails, which makes a miss."""
        if not self._asks(meaning.by):
            return None
        try:
            return Vector.of(meaning.embed(meaning.question))
        except Exception as error:  # noqa: BLE001 - any error of its server
            self._rest(meaning.by, error)
            return None

    def _record(
        self, request: Request, meaning: Meaning, near: Near, *, right: bool
    ) -> None:
        self._emit(Compared(request.subject, near.band, right, near.entry.cost))
        trust = self._evidence.add(near.subject, near.band, near.key, right=right)
        with suppress(StoreError):  # The shown state is only for operators.
            self._evidence.show(
                near.subject,
                request.subject,
                near.band,
                trust.bands[near.band],
                meaning.max_wrong,
                locked=near.band in meaning.locked,
            )


def _subject(keyspace: Keyspace, request: Request, meaning: Meaning) -> str:
    """The form that names the log of a request's comparisons."""
    return keyspace.subject(orjson.dumps([_VERSION, meaning.by, *request.subject]))


def _is_open(request: Request, look: Look) -> bool:
    """Whether the answer to another question may be served instead of this miss.

    It may not if the caller requests a new answer.
    """
    missed = look.reason in (Reason.ABSENT, Reason.EXPIRED)
    return missed and look.stamps is not None and request.control in LENIENT


def _log(
    keyspace: Keyspace, request: Request, meaning: Meaning, stamps: Mapping[str, str]
) -> str:
    """The log of a partition; an invalidation starts a new log."""
    around = {"by": meaning.by, "stamps": stamps_digest(stamps)}
    return keyspace.questions(form_of(request, {**meaning.partition, **around}))


def _band(meaning: Meaning, other: str, cosine: float) -> int | None:
    """The band of two questions; None if they are different."""
    judged = meaning.judge is not None
    if guards.veto(meaning.question, other, judged=judged):
        return None
    found = score(meaning.question, other, cosine)
    return band_of(found) if judged or found >= ALONE else None
