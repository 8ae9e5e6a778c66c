"""Each answer told to a stream in the store, for whoever works behind the answers.

A row is facts: what was asked of which model, how it was answered, how long that
took, sizes and a fingerprint; a record of the stream holds some rows. The question
and the answer are in it only where the operator has said so, and then sealed as
entries are. What can't be told is kept for a while, then dropped and counted; no
answer waits for any of this.
"""

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Final, Literal

import orjson

from cachecore import entry as entries
from cachecore.behind import Behind
from cachecore.entry import Cost
from cachecore.errors import UnkeyableError
from cachecore.keys import Keyspace, mark_of, part_digest
from cachecore.metrics import Ended
from cachecore.request import Request
from cachecore.shelf import Look
from cachecore.stores.base import Store
from cachecore.streams import Piece, Usage

type Mode = Literal["off", "sizes", "texts"]

VERSION: Final = 1
# What a row holds, in this order. Times in seconds, ``at`` since the epoch; ``number``
# is unique with the writer's name. ``question`` is a keyed digest, and empty without a
# cache secret: anybody could try the few questions that there are. ``texts`` is empty,
# or a question and its answer as JSON, sealed as an entry of the stream's name, in hex.
FIELDS: Final = (
    *("number", "at", "kind", "label", "app", "result", "reason", "finish_reason"),
    *("key", "question", "question_characters", "answer_characters"),
    *("prompt_tokens", "completion_tokens", "billed"),
    *("saved_money", "currency", "saved_seconds", "first_seconds", "seconds", "texts"),
)
# A record holds so many rows at most, for each costs time of its own to send. About
# so many records are kept, for so many seconds behind the last of them.
MAX_ROWS: Final = 50
MAX_RECORDS: Final = 4_000
_LIFE: Final = 7 * 86400
_MAX_WAITING: Final = 5_000
_MAX_TEXT: Final = 32_768  # characters of a question, and of an answer
_NOTHING: Final = Cost()
_NO_USAGE: Final = Usage()

type Row = tuple[Any, ...]


@dataclass(slots=True)
class Seen:
    """What passes of one answer. ``texts`` is None where they are not to be told."""

    texts: list[str] | None = None
    size: int = 0
    usage: Usage | None = None
    finish_reason: str | None = None

    def add(self, piece: Piece) -> None:
        """Look at a piece."""
        self.size += len(piece.text)
        self.usage = piece.usage or self.usage
        self.finish_reason = piece.finish_reason or self.finish_reason
        if self.texts is not None and self.size < _MAX_TEXT + len(piece.text):
            self.texts.append(piece.text)


@dataclass(slots=True)
class Journal:
    """The stream of one namespace's answers. Thread-safe.

    ``lost`` hears how many records were dropped.
    """

    store: Store
    keyspace: Keyspace
    behind: Behind
    clock: Callable[[], float]
    lost: Callable[[int, str], None]
    texts: bool = False
    cipher_key: bytes | None = None
    _writer: str = field(default_factory=lambda: secrets.token_hex(6))
    _numbers: Iterator[int] = field(default_factory=count)
    _waiting: deque[bytes] = field(default_factory=deque)
    _dropped: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)  # guards flush

    def __post_init__(self) -> None:
        self.behind.also(self.flush)

    def see(self) -> Seen:
        """Begin to look at an answer."""
        return Seen([] if self.texts else None)

    def add(
        self, request: Request, look: Look | None, ended: Ended, seen: Seen
    ) -> None:
        """Tell of an answer, a little later."""
        if len(self._waiting) >= _MAX_WAITING:
            self._dropped += 1
        else:
            try:
                row = orjson.dumps(self._row(request, look, ended, seen))
                self._waiting.append(row)
            except TypeError:  # half a surrogate pair in a model's name
                self._dropped += 1
        self.behind.wake()

    def flush(self) -> None:
        """Write what waits. Raises StoreError; it then goes on waiting."""
        with self._lock:
            while self._waiting:
                rows = list(islice(self._waiting, MAX_ROWS))
                record = self._record(rows)
                stream = self.keyspace.events
                self.store.append(stream, [record], MAX_RECORDS, _LIFE)
                for _ in rows:
                    self._waiting.popleft()
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self.lost(dropped, "journal")

    def _record(self, rows: list[bytes]) -> bytes:
        head = orjson.dumps(
            {
                "version": VERSION,
                "writer": self._writer,
                "namespace": self.keyspace.namespace,
                "fields": FIELDS,
            }
        )
        return head[:-1] + b',"rows":[' + b",".join(rows) + b"]}"

    def _row(
        self, request: Request, look: Look | None, ended: Ended, seen: Seen
    ) -> Row:
        question = request.asked()
        usage = seen.usage or _NO_USAGE
        saved = look.entry.cost if look and look.entry else _NOTHING
        secret = self.keyspace.secret
        return (
            next(self._numbers),
            self.clock(),
            *ended.of,
            ended.result,
            look.reason if look else "",
            seen.finish_reason,
            mark_of(look.key) if look and look.key else "",
            "" if secret is None else _digest(question, secret),
            len(question),
            seen.size,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.billed,
            saved.price,
            saved.currency,
            saved.seconds,
            ended.first,
            ended.seconds,
            "" if seen.texts is None else self._sealed(question, seen.texts),
        )

    def _sealed(self, question: str, texts: list[str]) -> str:
        told = {
            "question": question[:_MAX_TEXT],
            "answer": "".join(texts)[:_MAX_TEXT],
        }
        try:
            text = orjson.dumps(told)
        except TypeError:  # half a surrogate pair
            return ""
        return entries.seal(text, self.keyspace.events, self.cipher_key).hex()


def _digest(question: str, secret: bytes) -> str:
    try:
        return part_digest(question, secret)
    except UnkeyableError:
        return ""
