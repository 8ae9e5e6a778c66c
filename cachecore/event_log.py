"""The event log: a stream in the store with a row for each answer.

A row has facts: the model, the result, times, sizes and a short key. A record of the
stream has several rows. A row has the question and the answer only if the operator chose
so, and then sealed like an entry. Rows that can't be written wait for a while; then they
are dropped and counted. No answer waits for any of this.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Final, Literal, NamedTuple

import orjson

from cachecore import entry as entries
from cachecore.answer import Piece, Usage
from cachecore.background import Background
from cachecore.entry import Cost
from cachecore.errors import NotAsked, StoreError, UnkeyableError
from cachecore.events import INTERNAL, Ended
from cachecore.keys import Keyspace, part_digest, short_key
from cachecore.lookup import Look
from cachecore.policy import Token
from cachecore.request import Request
from cachecore.stores.base import Store

logger = logging.getLogger(__name__)

type Mode = Literal["off", "sizes", "texts"]

VERSION: Final = 1
# The fields of a row, in this order. Times are in seconds, ``at`` since the epoch.
# ``number`` is unique together with the writer's name. ``load`` is the same for all
# requests that one load answered, and empty for an answer from the store. ``question`` is
# a keyed digest. It is empty without a cache secret, because anybody could test guesses.
# ``texts`` is empty, or a question and its answer as JSON, sealed as an entry of the
# stream's name, in hex.
FIELDS: Final = (
    *("number", "at", "kind", "label", "app", "result", "reason", "finish_reason"),
    *("key", "load", "question", "question_characters", "answer_characters"),
    *("prompt_tokens", "completion_tokens", "billed"),
    *("saved_money", "currency", "saved_seconds", "first_seconds", "seconds", "texts"),
)
# The most rows of a record; the most rows, and about the most bytes, of one write: more
# would delay all users of the Redis. The approximate number of records that are kept, and
# a smaller one for records with texts; how many seconds they are kept after the last one.
MAX_ROWS: Final = 50
_MAX_ROWS_AT_ONCE: Final = 1_000
_MAX_BYTES_AT_ONCE: Final = 256 * 1024
MAX_RECORDS: Final = 2_000
MAX_TEXT_RECORDS: Final = 500
_LIFE: Final = 7 * 86400
# The most rows, and about the most bytes, that may wait for the next write, which comes
# every two seconds. Only a process that does little else answers more hits, and logging
# each of them would take a twentieth of its time.
_MAX_ROWS_WAITING: Final = 500
_MAX_WAITING: Final = 4 * 1024 * 1024
_ROW: Final = 400  # the approximate bytes of a row without texts
_MAX_TEXT: Final = 8_192  # the most characters of a question, and of an answer
_TRIES: Final = 3
_NAME: Final = "event_log"
_NOTHING: Final = Cost()
_NO_USAGE: Final = Usage()


@dataclass(slots=True)
class Seen:
    """The seen part of an answer. ``texts`` is None if the log must not have them."""

    texts: list[str] | None = None
    size: int = 0
    usage: Usage | None = None
    finish_reason: str | None = None

    def add(self, piece: Piece) -> None:
        """Add a piece."""
        self.size += len(piece.text)
        self.usage = piece.usage or self.usage
        self.finish_reason = piece.finish_reason or self.finish_reason
        if self.texts is not None and self.size < _MAX_TEXT + len(piece.text):
            self.texts.append(piece.text)


class _Logged(NamedTuple):
    """The data of a row that will be made in the background; ``size`` is approximate.

    An answer only queues this. Many rows are made at a time, which takes a third of the
    time that single rows would take.
    """

    number: int
    at: float
    ended: Ended
    reason: str
    key: str
    load: str
    saved: Cost
    seen: Seen
    asked: int
    question: str
    size: int


@dataclass(slots=True)
class EventLog:
    """The stream of one namespace's answers. Thread-safe.

    ``lost`` receives the number of dropped rows.
    """

    store: Store
    keyspace: Keyspace
    background: Background
    clock: Callable[[], float]
    lost: Callable[[int, str], None]
    texts: bool = False
    cipher_key: bytes | None = None
    _writer: str = field(default_factory=lambda: secrets.token_hex(6))
    _numbers: Iterator[int] = field(default_factory=count)
    _waiting: deque[_Logged] = field(default_factory=deque)
    _room: int = _MAX_WAITING
    _failures: int = 0  # of the current record
    _lock: threading.Lock = field(default_factory=threading.Lock)  # held during a flush

    def watch(self, request: Request) -> Seen | None:
        """Begin to watch an answer; None if it will not be logged."""
        if request.label == INTERNAL:
            return None
        if len(self._waiting) >= _MAX_ROWS_WAITING:
            self.lost(1, _NAME)
            return None
        return Seen([] if self.texts else None)

    def add(
        self,
        request: Request,
        look: Look | None,
        ended: Ended,
        seen: Seen,
        load: str = "",
    ) -> None:
        """Queue an answer, to log it later. Never fails, and waits for no lock."""
        try:
            question = request.asked()
        except Exception as error:  # noqa: BLE001 - the answer was served
            logger.warning("an answer can't be logged: %s", type(error).__name__)
            self.lost(1, _NAME)
            return
        asked, size = len(question), _ROW
        if seen.texts is not None:
            question = question[:_MAX_TEXT]
            size += 4 * (len(question) + min(seen.size, _MAX_TEXT))
        elif self.keyspace.secret is None:
            question = ""  # The row needs neither its text nor its digest.
        if self._room < size:
            self.lost(1, _NAME)
            return
        self._room -= size
        reason, key, saved = "", "", _NOTHING
        if look is not None:
            reason, key = look.reason, look.key
            saved = look.entry.cost if look.entry else saved
        self._waiting.append(
            _Logged(
                next(self._numbers),
                self.clock(),
                ended,
                reason,
                key,
                load,
                saved,
                seen,
                asked,
                question,
                size,
            )
        )
        if not self.background.woken:
            self.background.wake()

    def flush(self) -> None:
        """Write the queued rows. Raises StoreError; the rows then wait for a while."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            while self._waiting:
                self._write(self._next())
            self._room = _MAX_WAITING  # Concurrent calls of add may have miscounted.
        finally:
            self._lock.release()

    def _next(self) -> list[_Logged]:
        """The rows of one write."""
        some: list[_Logged] = []
        size = 0
        for logged in islice(self._waiting, _MAX_ROWS_AT_ONCE):
            size += logged.size
            if some and size > _MAX_BYTES_AT_ONCE:
                break
            some.append(logged)
        return some

    def _write(self, some: list[_Logged]) -> None:
        rows = [self._row(logged) for logged in some]
        records = [
            self._record(rows[start : start + MAX_ROWS])
            for start in range(0, len(rows), MAX_ROWS)
        ]
        most = MAX_TEXT_RECORDS if self.texts else MAX_RECORDS
        try:
            self.store.append(self.keyspace.events, records, most, _LIFE)
        except NotAsked:
            raise
        except StoreError:
            self._failures += 1
            # Rows that the store always refuses, or never takes in time, are dropped.
            if self._failures >= _TRIES:
                self._drop(some)
                self.lost(len(rows), _NAME)
            raise
        self._drop(some)

    def _drop(self, some: list[_Logged]) -> None:
        self._failures = 0
        for logged in some:
            self._waiting.popleft()
            self._room += logged.size

    def _record(self, rows: list[tuple[Any, ...]]) -> bytes:
        record = {
            "version": VERSION,
            "writer": self._writer,
            "namespace": self.keyspace.namespace,
            "fields": FIELDS,
        }
        try:
            return orjson.dumps(record | {"rows": rows})
        except TypeError:  # a lone surrogate in a model's name
            valid = [row for row in rows if _is_valid(row)]
            self.lost(len(rows) - len(valid), _NAME)
            return orjson.dumps(record | {"rows": valid})

    def _sealed(self, logged: _Logged) -> str:
        if logged.seen.texts is None:
            return ""
        answer = "".join(logged.seen.texts)[:_MAX_TEXT]
        try:
            text = orjson.dumps({"question": logged.question, "answer": answer})
        except TypeError:  # a lone surrogate
            return ""
        return entries.seal(text, self.keyspace.events, self.cipher_key).hex()

    def _row(self, logged: _Logged) -> tuple[Any, ...]:
        ended, seen, saved = logged.ended, logged.seen, logged.saved
        usage = seen.usage or _NO_USAGE
        secret = self.keyspace.secret
        return (
            logged.number,
            logged.at,
            *ended.of,
            ended.result,
            logged.reason,
            seen.finish_reason,
            short_key(logged.key) if logged.key else "",
            Token.read(logged.load).id,
            "" if secret is None else _digest(logged.question, secret),
            logged.asked,
            seen.size,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.billed,
            saved.price,
            saved.currency,
            saved.seconds,
            ended.first,
            ended.seconds,
            self._sealed(logged),
        )


def _digest(question: str, secret: bytes) -> str:
    try:
        return part_digest(question, secret)
    except UnkeyableError:
        return ""


def _is_valid(row: tuple[Any, ...]) -> bool:
    try:
        orjson.dumps(row)
    except TypeError:
        return False
    return True
