"""Counts of requests and savings, published to the store.

Each process has its own hashes: one for its whole life, and one for each span of five
minutes and of an hour. Every number in them is absolute. So a repeated write does no
harm, and an eviction is only a reset. An index lists the processes. A reader adds their
hashes up.

No answer waits for any of this: an event is queued, and ``background`` counts and
publishes every few seconds.
"""

import base64
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Final

from cachecore import recent
from cachecore.background import Background
from cachecore.counters import BARS, Counts, Tally, total
from cachecore.errors import StoreError
from cachecore.events import (
    INTERNAL,
    Ended,
    Event,
    Invalidated,
    Kept,
    Lookup,
    Missed,
)
from cachecore.keys import Keyspace
from cachecore.recent import Recent, Row
from cachecore.stores.base import Page, Store

# The length of a span, and how long it is kept, in seconds.
SPANS: Final[Mapping[int, int]] = {300: 2 * 3600, 3600: 8 * 86400}
_LIFE: Final = 8 * 86400
_ALL_EVERY: Final = 60.0
_MAX_WAITING: Final = 20_000
# Lists take longer to write than counts. A reader in this process gets them at once.
_LISTED_EVERY: Final = 10.0
_SEALED: Final = "sealed"
_MAX_UNPUBLISHED: Final = 24  # spans, while the store can't be written to
# The most processes that are read, the latest first; the hashes that one call reads.
_MAX_INSTANCES: Final = 256
_AT_ONCE: Final = 100


@dataclass(slots=True)
class _CounterHash:
    """The counters of one hash, and the names that are not published yet."""

    name: str
    ttl: float
    counts: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    unpublished: set[str] = field(default_factory=set)
    all_sent_at: float = 0.0

    def add(self, counts: Counts) -> None:
        for name, amount in counts.items():
            self.counts[name] += amount
        self.unpublished |= counts.keys()

    def page(self, now: float) -> Page:
        """The changes since the last page; they count as published from now on.

        Once a minute it has all counters, because an eviction may have deleted the hash.
        """
        names: Iterable[str] = self.unpublished
        if now - self.all_sent_at >= _ALL_EVERY:
            names, self.all_sent_at = self.counts, now
        shown = {name: repr(round(self.counts[name], 6)) for name in names}
        self.unpublished = set()
        return Page(self.name, shown, self.ttl)


class Statistics:
    """A hook that counts for one namespace, and reads the counts of all processes."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        clock: Callable[[], float] = time.time,
        *,
        cipher_key: bytes | None = None,
        background: Background | None = None,
    ) -> None:
        self._store = store
        self._keyspace = keyspace
        self._clock = clock
        self._cipher_key = cipher_key
        self._instance = secrets.token_hex(6)
        self._began = clock()
        self._waiting: deque[Event] = deque()
        self._lost: defaultdict[str, int] = defaultdict(int)
        self._background = background or Background()
        self._lock = threading.Lock()  # held during a flush; guards all below
        self._tally = Tally()
        self._recent = Recent()
        self._listed_at = 0.0
        self._outages = store.outages()
        self._hashes: dict[str, _CounterHash] = {}

    # --- counting ---------------------------------------------------------

    def __call__(self, event: Event) -> None:
        """Queue an event, to count it later.

        It takes no lock: see ``Background.wake``.
        """
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append(event)
        else:
            self._lost["statistics"] += 1
        background = self._background
        if background.at_once:
            background.wake(last=_ends_call(event))
        elif not background.woken:
            background.wake()

    def lost(self, count: int, what: str) -> None:
        """Count events that were lost elsewhere, such as in the event log."""
        self._lost[what] += count

    def job(self) -> None:
        """Flush, unless another thread flushes now. Raises StoreError."""
        if self._lock.acquire(blocking=False):
            try:
                now = self._clock()
                lists = now - self._listed_at >= _LISTED_EVERY
                self._flush(lists=lists or self._background.at_once)
            finally:
                self._lock.release()

    def flush(self) -> None:
        """Count the queued events, and publish the changes. Raises StoreError."""
        # One flush at a time: the last published numbers must be the last counted ones.
        with self._lock:
            self._flush(lists=True)

    def _flush(self, *, lists: bool) -> None:
        self._count()
        now = self._clock()
        pages = [s.page(now) for s in self._hashes.values() if s.unpublished]
        if not pages:
            return
        try:
            pages_of_recent = self._recent_pages() if lists else []
            self._store.publish([self._index(), *pages, *pages_of_recent])
        except Exception:
            for page in pages:
                self._hashes[page.name].unpublished |= page.fields.keys()
            self._prune(forced=True)
            raise
        if pages_of_recent:
            self._recent.changed, self._listed_at = False, now
        self._prune()

    def _index(self) -> Page:
        life = f"{self._began:.0f} {self._clock():.0f}"
        return Page(self._keyspace.statistics(), {self._instance: life}, _LIFE)

    def _recent_pages(self) -> list[Page]:
        if not self._recent.changed:
            return []
        name = self._keyspace.recent(self._instance)
        sealed = self._recent.sealed(name, self._cipher_key, self._tally.clean)
        return [Page(name, {_SEALED: base64.b85encode(sealed).decode()}, _LIFE)]

    def _prune(self, *, forced: bool = False) -> None:
        """Forget published spans of the past; ``forced`` also the oldest unpublished."""
        now = int(self._clock())
        current = {self._keyspace.statistics(self._instance)} | {
            self._keyspace.statistics(self._instance, span, now // span)
            for span in SPANS
        }
        over = [name for name in self._hashes if name not in current]
        lost = over[:-_MAX_UNPUBLISHED] if forced else over
        for name in lost:
            if forced or not self._hashes[name].unpublished:
                del self._hashes[name]

    def _count(self) -> None:
        tally = self._tally
        # Only the events queued now: new ones may arrive as fast as they are counted.
        for _ in range(len(self._waiting)):
            event = self._waiting.popleft()
            tally.add(event)
            if isinstance(event, Lookup | Missed | Invalidated):
                self._recent.add(event)
        for what in tuple(self._lost):
            tally.of_process("lost", self._lost.pop(what), what)
        known, self._outages = self._outages, self._store.outages()
        if known != self._outages:
            tally.of_process("breaker_opened", self._outages[0] - known[0])
            tally.of_process("breaker_open_sum", self._outages[1] - known[1])
        counts = tally.take()
        if not counts:
            return
        now = int(self._clock())
        self._hash(_LIFE).add(counts)
        for span, kept in SPANS.items():
            self._hash(kept, span, now // span).add(counts)

    def _hash(self, ttl: float, span: int = 0, number: int = 0) -> _CounterHash:
        name = self._keyspace.statistics(self._instance, span, number)
        return self._hashes.setdefault(name, _CounterHash(name, ttl))

    # --- reading ----------------------------------------------------------

    def since(self, seconds: float) -> Counts:
        """The counts of all processes in the last ``seconds``, in whole spans.

        Raises StoreError.
        """
        return total(self.spans(seconds)[1].values())

    def spans(self, seconds: float) -> tuple[int, dict[int, Counts]]:
        """The length of a span, and the same counts by the begin of each span.

        A span without events is there, and empty. Raises StoreError.
        """
        span = next((s for s, kept in SPANS.items() if seconds <= kept - s), 3600)
        now = self._clock()
        first, last = int((now - seconds) // span), int(now // span)
        wanted = [
            (number, self._keyspace.statistics(instance, span, number))
            for instance, began, ended in self._instances(first * span)
            for number in range(first, last + 1)
            if began // span <= number <= ended // span
        ]
        found: dict[int, Counts] = {
            number * span: defaultdict(float) for number in range(first, last + 1)
        }
        names = [name for _, name in wanted]
        for (number, _), fields in zip(wanted, self._gathered(names), strict=True):
            for name, amount in fields.items():
                found[number * span][name] += amount
        return span, found

    def by_instance(self) -> dict[str, Counts]:
        """Each process's counts since its start. Raises StoreError."""
        instances = [instance for instance, _, _ in self._instances()]
        names = [self._keyspace.statistics(instance) for instance in instances]
        return dict(zip(instances, self._gathered(names), strict=True))

    def recent(self) -> tuple[list[Row], list[Row]]:
        """The last decisions and invalidations of all processes, the latest first.

        Raises StoreError.
        """
        names = [self._keyspace.recent(which) for which, _, _ in self._instances()]
        found = [fields.get(_SEALED, "") for fields in self._store.gather(names)]
        return recent.unsealed(zip(names, found, strict=True), self._cipher_key)

    def _instances(self, since: float = 0) -> list[tuple[str, float, float]]:
        """Name, begin and end of the processes that were active ``since`` then."""
        with suppress(StoreError):  # A store that refuses writes may still be read.
            self.flush()
        index = self._keyspace.statistics()
        found = []
        for instance, life in self._store.gather([index])[0].items():
            with suppress(ValueError):
                began, ended = map(float, life.split())
                found.append((instance, began, ended))
        found.sort(key=lambda item: item[2], reverse=True)
        for instance, _, ended in found:
            if ended < self._clock() - _LIFE:
                with suppress(StoreError):
                    self._store.forget(index, instance)
        return [one for one in found if one[2] >= since][:_MAX_INSTANCES]

    def _gathered(self, names: Sequence[str]) -> Iterator[Counts]:
        for at in range(0, len(names), _AT_ONCE):
            for fields in self._store.gather(names[at : at + _AT_ONCE]):
                yield {
                    name: _read(text)
                    for name, text in fields.items()
                    if name.count("|") == BARS
                }
            time.sleep(0)  # Let other requests run.


def _ends_call(event: Event) -> bool:
    """Whether this event is the last one of a call, as far as the cache knows."""
    if isinstance(event, Invalidated):
        return True
    if isinstance(event, Ended):
        return event.of.label != INTERNAL
    # A value is looked up in one call and kept in another call.
    return isinstance(event, Lookup | Kept) and event.of.kind == "value"


def _read(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        return 0.0
    return amount if isfinite(amount) else 0.0
