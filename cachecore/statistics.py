"""What was answered and what that saved, counted here and published to the store.

Each process keeps hashes of its own in which every number is absolute, so that
writing one twice does no harm, and an eviction is a reset and nothing worse: one for
all its life, and one for each span of five minutes and of an hour. An index says
which processes there were. Who reads adds them up.

A counter's name is ``name|kind|label|verdict``. Nothing here is on an answer's path:
an event is put aside, and a thread counts and publishes every few seconds.
"""

import logging
import re
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cachecore.entry import Cost
from cachecore.errors import StoreError
from cachecore.keys import Keyspace
from cachecore.metrics import (
    Event,
    Followed,
    Invalidated,
    Kept,
    Loaded,
    Lookup,
    Refused,
    Stale,
)
from cachecore.stores.base import Page, Store

logger = logging.getLogger(__name__)

# How long a span is, and how long it is kept, in seconds.
SPANS: Final[Mapping[int, int]] = {300: 2 * 3600, 3600: 8 * 86400}
# Upper bounds of the latencies' buckets, in seconds; the last has none.
BOUNDS: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 60.0),
)
_BARS: Final = 3  # in a counter's name
PUBLISH_EVERY: Final = 2.0
_LIFE: Final = 8 * 86400
_IDLE: Final = 60.0
_MAX_WAITING: Final = 20_000
_MAX_UNPUBLISHED: Final = 24  # spans, while the store can't be written to
_MAX_LABELS: Final = 64
_MAX_LABEL: Final = 80
# Processes that are read at most, the latest first; hashes read at a time.
_MAX_INSTANCES: Final = 64
_AT_ONCE: Final = 100

_CURRENCY: Final = re.compile(r"[A-Z]{3}")

type Counts = dict[str, float]


@dataclass(slots=True)
class _Sheet:
    """Counters of one hash, and which of them are not published yet."""

    name: str
    ttl: float
    counts: defaultdict[str, float]
    unsaid: set[str]

    def add(self, name: str, amount: float) -> None:
        self.counts[name] += amount
        self.unsaid.add(name)

    def page(self) -> Page:
        """All of it, as said from now on: an eviction has left nothing of the rest."""
        self.unsaid = set()
        shown = {name: _shown(amount) for name, amount in self.counts.items()}
        return Page(self.name, shown, self.ttl)


class Statistics:
    """A hook that counts for one namespace, and the reader of all who do."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        clock: Callable[[], float] = time.time,
        *,
        publish_every: float = PUBLISH_EVERY,
    ) -> None:
        self._store = store
        self._keyspace = keyspace
        self._clock = clock
        self._publish_every = publish_every
        self._instance = secrets.token_hex(6)
        self._began = clock()
        self._waiting: deque[Event] = deque(maxlen=_MAX_WAITING)
        self._flushing = threading.Lock()
        self._lock = threading.Lock()  # guards all below
        self._sheets: dict[str, _Sheet] = {}
        self._labels: set[str] = set()
        self._thread: threading.Thread | None = None

    # --- counting ---------------------------------------------------------

    def __call__(self, event: Event) -> None:
        """Count an event, a little later."""
        self._waiting.append(event)
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(
                target=self._run, name="cache-statistics", daemon=True
            )
            with suppress(RuntimeError):  # no more threads; the next event tries again
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        idle = 0.0
        while idle < _IDLE:
            time.sleep(self._publish_every)
            idle = 0.0 if self._waiting else idle + self._publish_every
            try:
                self.flush()
            except StoreError:
                pass  # It is told with the next round, or after the next event.
            except Exception as error:  # noqa: BLE001 - counting must go on
                logger.warning("statistics failed: %s", type(error).__name__)
        with self._lock:
            self._thread = None
        if self._waiting:  # One came while this one ended.
            self._start()

    def flush(self) -> None:
        """Count what waits, and publish what has changed. Raises StoreError."""
        # One at a time: what was published last must be what was counted last.
        with self._flushing:
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            self._count()
            pages = [s.page() for s in self._sheets.values() if s.unsaid]
        if not pages:
            return
        try:
            self._store.publish([self._index(), *pages])
        except StoreError:
            with self._lock:
                for page in pages:
                    self._sheets[page.name].unsaid |= page.fields.keys()
                self._prune(forced=True)
            raise
        with self._lock:
            self._prune()

    def _index(self) -> Page:
        life = f"{self._began:.0f} {self._clock():.0f}"
        return Page(self._keyspace.statistics(), {self._instance: life}, _LIFE)

    def _prune(self, *, forced: bool = False) -> None:
        """Forget the spans that are over and published; ``forced``, or too many."""
        now = int(self._clock())
        current = {self._keyspace.statistics(self._instance)} | {
            self._keyspace.statistics(self._instance, span, now // span)
            for span in SPANS
        }
        over = [name for name in self._sheets if name not in current]
        lost = over[:-_MAX_UNPUBLISHED] if forced else over
        for name in lost:
            if forced or not self._sheets[name].unsaid:
                del self._sheets[name]

    def _count(self) -> None:
        now = int(self._clock())
        sheets = [self._sheet(_LIFE)] + [
            self._sheet(kept, span, now // span) for span, kept in SPANS.items()
        ]
        while self._waiting:
            event = self._waiting.popleft()
            for name, amount in _counts(event, self._label(event)):
                for sheet in sheets:
                    sheet.add(name, amount)

    def _sheet(self, ttl: float, span: int = 0, number: int = 0) -> _Sheet:
        name = self._keyspace.statistics(self._instance, span, number)
        sheet = self._sheets.get(name)
        if sheet is None:
            sheet = self._sheets[name] = _Sheet(name, ttl, defaultdict(float), set())
        return sheet

    def _label(self, event: Event) -> str:
        label = "" if isinstance(event, Invalidated) else event.label
        # Half a surrogate pair would fail every publication of its hash.
        label = label.encode("utf-8", "replace").decode()
        label = label.replace("|", "/")[:_MAX_LABEL]
        if label not in self._labels and len(self._labels) >= _MAX_LABELS:
            return "other"
        self._labels.add(label)
        return label

    # --- reading ----------------------------------------------------------

    def since(self, seconds: float) -> Counts:
        """All processes' counts of the last ``seconds``, in whole spans.

        Raises StoreError.
        """
        span = next((s for s, kept in SPANS.items() if seconds <= kept - s), 3600)
        now = self._clock()
        first, last = int((now - seconds) // span), int(now // span)
        names = [
            self._keyspace.statistics(instance, span, number)
            for instance, began, ended in self._instances()
            for number in range(first, last + 1)
            if began // span <= number <= ended // span
        ]
        total: Counts = defaultdict(float)
        for fields in self._gathered(names):
            for name, amount in fields.items():
                total[name] += amount
        return dict(total)

    def by_instance(self) -> dict[str, Counts]:
        """Each process's counts since its start. Raises StoreError."""
        instances = [instance for instance, _, _ in self._instances()]
        names = [self._keyspace.statistics(instance) for instance in instances]
        return dict(zip(instances, self._gathered(names), strict=True))

    def _instances(self) -> list[tuple[str, float, float]]:
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
                self._store.forget(index, instance)
        return found[:_MAX_INSTANCES]

    def _gathered(self, names: list[str]) -> Iterator[Counts]:
        for at in range(0, len(names), _AT_ONCE):
            for fields in self._store.gather(names[at : at + _AT_ONCE]):
                yield {
                    name: _read(text)
                    for name, text in fields.items()
                    if name.count("|") == _BARS
                }


def _shown(amount: float) -> str:
    return repr(round(amount, 6))


def _read(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _counts(event: Event, label: str) -> Iterator[tuple[str, float]]:
    """The counters that an event adds to, and how much."""
    if isinstance(event, Invalidated):
        yield "invalidations|||", 1
        return
    of = f"{event.kind}|{label}"
    match event:
        case Lookup():
            yield f"requests|{of}|{event.reason.value}", 1
            if event.saved is not None:
                yield f"time|{of}|hit {bucket(event.seconds)}", 1
                yield f"time_sum|{of}|hit", event.seconds
                yield from _saved(event.saved, of)
        case Loaded():
            yield f"loads|{of}|", 1
            yield f"load_seconds|{of}|", event.seconds
            yield f"time|{of}|miss {bucket(event.seconds)}", 1
            yield f"time_sum|{of}|miss", event.seconds
            yield f"first|{of}|miss {bucket(event.first)}", 1
            yield f"first_sum|{of}|miss", event.first
        case Kept():
            yield f"kept|{of}|", 1
            yield f"kept_bytes|{of}|", event.size
        case Refused():
            yield f"refused|{of}|{event.refusal.value}", 1
        case Followed():
            yield f"followed|{of}|", 1
        case Stale():
            yield f"stood_in|{of}|", 1


def _saved(cost: Cost, of: str) -> Iterator[tuple[str, float]]:
    yield f"saved_tokens|{of}|", cost.prompt_tokens + cost.completion_tokens
    yield f"saved_seconds|{of}|", cost.seconds
    if cost.price:
        code = cost.currency if _CURRENCY.fullmatch(cost.currency) else "other"
        yield f"saved_money|{of}|{code}", cost.price


def bucket(seconds: float) -> int:
    """The number of the latency's bucket."""
    return next((n for n, end in enumerate(BOUNDS) if seconds <= end), len(BOUNDS))


def percentile(buckets: Mapping[int, float], share: float) -> float | None:
    """The latency in seconds below which ``share`` of them lie, about; None of none."""
    wanted = share * sum(buckets.values())
    if not wanted:
        return None
    passed = 0.0
    for number in sorted(buckets):
        count = buckets[number]
        if count and passed + count >= wanted:
            low = BOUNDS[number - 1] if number else 0.0
            high = BOUNDS[number] if number < len(BOUNDS) else BOUNDS[-1]
            return low + (high - low) * (wanted - passed) / count
        passed += count
    return BOUNDS[-1]
