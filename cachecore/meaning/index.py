"""The questions of a partition and their vectors: a log in the store that each process follows.

A partition is all that must be equal but the question. Its log has a record for each answer
that was kept: the key, the question and its vector, sealed as entries are. A process reads
what is new before it looks for neighbours. Nothing is ever deleted from a log: whether an
answer may still be served is seen at the entry itself.

Without numpy: the signs of a vector's numbers are one integer, so that the nearest of 10,000
are found by counting bits in a few milliseconds; of the nearest few the cosine is computed.
"""

import base64
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest
from math import sqrt
from typing import Any, Final

import orjson

from cachecore import entry as entries
from cachecore.errors import CorruptEntry
from cachecore.stores.base import Store

logger = logging.getLogger(__name__)

MAX_QUESTIONS: Final = 10_000  # of a partition
_MAX_PARTITIONS: Final = 64  # in a process, with so many questions in all
_MAX_ALL: Final = 30_000
_AT_ONCE: Final = 500  # records of one read; fewer where somebody waits
_AT_ONCE_FOR_ANSWER: Final = 50
_BY_SIGNS: Final = 24  # of which the cosine is computed
_LIFE: Final = 7 * 86400  # seconds since the last answer of the partition


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector in a byte a number, its length, and the signs of its numbers."""

    numbers: bytes
    length: float
    signs: int

    @classmethod
    def of(cls, numbers: Sequence[float]) -> "Vector":
        """From a model's numbers. Raises ValueError for none, or for zeros."""
        most = max(map(abs, numbers), default=0.0)
        if not 0 < most < float("inf"):
            raise ValueError("a vector needs numbers other than zero")
        return cls.from_bytes(bytes(round(x / most * 127) & 0xFF for x in numbers))

    @classmethod
    def from_bytes(cls, numbers: bytes) -> "Vector":
        """From what ``numbers`` was; raises ValueError for zeros."""
        signed = memoryview(numbers).cast("b")
        length = sqrt(sum(x * x for x in signed))
        if not length:
            raise ValueError("a vector needs numbers other than zero")
        signs = int("".join("1" if x > 0 else "0" for x in signed), 2)
        return cls(numbers, length, signs)

    def cosine(self, other: "Vector") -> float:
        """From -1 to 1; 0 for vectors of different models."""
        if len(self.numbers) != len(other.numbers):
            return 0.0
        pairs = zip(
            memoryview(self.numbers).cast("b"),
            memoryview(other.numbers).cast("b"),
            strict=True,
        )
        return sum(x * y for x, y in pairs) / (self.length * other.length)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A question that was answered, and the key of its answer."""

    key: str
    question: str
    vector: Vector


class _Partition:
    """What this process has read of one log. All but ``shown`` is guarded by its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.shown: tuple[list[Neighbour], list[int]] = [], []
        self.position = ""
        self.known: dict[str, Neighbour] = {}  # by key, the oldest first

    def show(self) -> None:
        """Let readers see all questions that are known, and their vectors' signs."""
        found = list(self.known.values())
        self.shown = found, [one.vector.signs for one in found]

    def add(self, neighbour: Neighbour) -> None:
        """Know a question; its answer's key may have had another one before."""
        self.known.pop(neighbour.key, None)
        self.known[neighbour.key] = neighbour
        if len(self.known) > MAX_QUESTIONS:
            del self.known[next(iter(self.known))]


class Index:
    """The logs of one namespace. Thread-safe."""

    def __init__(self, store: Store, cipher_key: bytes | None) -> None:
        self._store = store
        self._cipher_key = cipher_key
        self._partitions: dict[str, _Partition] = {}  # the one used longest ago first
        self._lock = threading.Lock()  # guards _partitions

    def nearest(
        self, log: str, vector: Vector, count: int, *, whole: bool
    ) -> list[tuple[float, Neighbour]]:
        """The nearest questions of a log with their cosines. Raises StoreError.

        ``whole`` reads all that is new; else one read has to do, for somebody waits.
        """
        partition = self._partition(log)
        # Who is in a hurry waits for no other reader: what is known has to do.
        if partition.lock.acquire(blocking=whole):
            try:
                if self._follow(log, partition, whole=whole):
                    partition.show()
            finally:
                partition.lock.release()
        known, theirs = partition.shown
        signs = vector.signs
        apart = [(other ^ signs).bit_count() for other in theirs]
        near = nsmallest(_BY_SIGNS, range(len(known)), key=apart.__getitem__)
        found = [(vector.cosine(known[n].vector), known[n]) for n in near]
        return sorted(found, key=lambda pair: -pair[0])[:count]

    def add(
        self, log: str, key: str, question: str, vector: Vector, life: float = _LIFE
    ) -> None:
        """Index an answer that was kept, for ``life`` seconds. Raises StoreError."""
        partition = self._partition(log)
        with partition.lock:
            known = partition.known.get(key)
        if known is not None and known.vector.numbers == vector.numbers:
            return
        numbers = base64.b85encode(vector.numbers).decode()
        text = orjson.dumps({"key": key, "question": question, "vector": numbers})
        record = entries.seal(text, log, self._cipher_key)
        self._store.append(log, [record], MAX_QUESTIONS, life)

    def _partition(self, log: str) -> _Partition:
        with self._lock:
            found = self._partitions.pop(log, None) or _Partition()
            self._partitions[log] = found  # the one used last
            # Those that were used longest ago are read again when they are asked for.
            known = sum(len(one.known) for one in self._partitions.values())
            while len(self._partitions) > 1 and (
                known > _MAX_ALL or len(self._partitions) > _MAX_PARTITIONS
            ):
                oldest = self._partitions.pop(next(iter(self._partitions)))
                known -= len(oldest.known)
            return found

    def _follow(self, log: str, partition: _Partition, *, whole: bool) -> bool:
        """Read what is new; whether there was any."""
        before = partition.position
        count = _AT_ONCE if whole else _AT_ONCE_FOR_ANSWER
        while True:
            records = self._store.tail(
                log, partition.position, count, in_background=whole
            )
            for position, data in records:
                partition.position = position
                neighbour = self._read(log, data)
                if neighbour is not None:
                    partition.add(neighbour)
            if not whole or len(records) < count:
                return partition.position != before

    def _read(self, log: str, data: bytes) -> Neighbour | None:
        try:
            record: Any = orjson.loads(entries.unseal(data, log, self._cipher_key))
            vector = Vector.from_bytes(base64.b85decode(record["vector"]))
            return Neighbour(str(record["key"]), str(record["question"]), vector)
        except (CorruptEntry, ValueError, KeyError, TypeError):
            logger.warning("a record of a log of questions can't be read")
            return None
