"""The questions of a partition and their vectors: a log in the store that each process reads.

A partition is the part of a request that must be equal: everything except the question. Its
log has a record for each kept answer: the key, the question and its vector, sealed like an
entry. A process reads new records before it searches for neighbours. Nothing is deleted from
a log: the entry itself shows whether an answer may still be served.

The index works without numpy. The signs of a vector's numbers form one integer, so the
nearest of 10,000 vectors are found by counting bits, in a few milliseconds. The cosine
is computed only for the nearest few.
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
_MAX_PARTITIONS: Final = 64  # in a process
_MAX_ALL: Final = 30_000
_AT_ONCE: Final = 500  # records of one read; fewer if a caller waits
_AT_ONCE_FOR_ANSWER: Final = 50
_BY_SIGNS: Final = 24  # vectors for which the cosine is computed
_LIFE: Final = 7 * 86400  # seconds after the last answer of the partition


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector with one byte for each number, its length, and the signs of its numbers."""

    numbers: bytes
    length: float
    signs: int

    @classmethod
    def of(cls, numbers: Sequence[float]) -> "Vector":
        """From a model's numbers. Raises ValueError if there are none, or only zeros."""
        most = max(map(abs, numbers), default=0.0)
        if not 0 < most < float("inf"):
            raise ValueError("a vector needs numbers other than zero")
        return cls.from_bytes(bytes(round(x / most * 127) & 0xFF for x in numbers))

    @classmethod
    def from_bytes(cls, numbers: bytes) -> "Vector":
        """From the bytes of ``numbers``; raises ValueError for zeros."""
        signed = memoryview(numbers).cast("b")
        length = sqrt(sum(x * x for x in signed))
        if not length:
            raise ValueError("a vector needs numbers other than zero")
        signs = int("".join("1" if x > 0 else "0" for x in signed), 2)
        return cls(numbers, length, signs)

    def cosine(self, other: "Vector") -> float:
        """The cosine, from -1 to 1; 0 for vectors of different models."""
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
    """An answered question, and the key of its answer."""

    key: str
    question: str
    vector: Vector


class _Partition:
    """The records of one log that were read. ``lock`` guards all except ``shown``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.shown: tuple[list[Neighbour], list[int]] = [], []
        self.position = ""
        self.known: dict[str, Neighbour] = {}  # by key, the oldest first

    def show(self) -> None:
        """Publish all known questions, and their vectors' signs, to readers."""
        found = list(self.known.values())
        self.shown = found, [one.vector.signs for one in found]

    def add(self, neighbour: Neighbour) -> None:
        """Add a question; it may replace another question of the same key."""
        self.known.pop(neighbour.key, None)
        self.known[neighbour.key] = neighbour
        if len(self.known) > MAX_QUESTIONS:
            del self.known[next(iter(self.known))]


class Index:
    """The logs of one namespace. Thread-safe."""

    def __init__(self, store: Store, cipher_key: bytes | None) -> None:
        self._store = store
        self._cipher_key = cipher_key
        self._partitions: dict[str, _Partition] = {}  # in the order of their last use
        self._lock = threading.Lock()  # guards _partitions

    def nearest(
        self, log: str, vector: Vector, count: int, *, whole: bool
    ) -> list[tuple[float, Neighbour]]:
        """The nearest questions of a log with their cosines. Raises StoreError.

        With ``whole`` all new records are read. Otherwise there is only one read,
        because a caller waits.
        """
        partition = self._partition(log)
        # If a caller waits, this call does not also wait for another reader. It then
        # uses the known records.
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
        """Index a kept answer, for ``life`` seconds. Raises StoreError."""
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
            self._partitions[log] = found  # now the last used
            # Dropped partitions are read again at their next use.
            known = sum(len(one.known) for one in self._partitions.values())
            while len(self._partitions) > 1 and (
                known > _MAX_ALL or len(self._partitions) > _MAX_PARTITIONS
            ):
                oldest = self._partitions.pop(next(iter(self._partitions)))
                known -= len(oldest.known)
            return found

    def _follow(self, log: str, partition: _Partition, *, whole: bool) -> bool:
        """Read new records; return whether there were any."""
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
            logger.warning("a record in a question log can't be read")
            return None
