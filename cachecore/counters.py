"""Events -> counters.

A counter's name is ``name|kind|label|app|verdict``. What a user or a model can name
is bounded: so many labels, so many apps with them, the rest together.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from cachecore.differences import Differences
from cachecore.events import (
    Audited,
    BreakerMoved,
    Compared,
    Ended,
    Event,
    Followed,
    Invalidated,
    Kept,
    Loaded,
    Lookup,
    Missed,
    Refused,
    Result,
    Stale,
    Subject,
)

# Upper bounds of the latencies' buckets, in seconds; the last has none.
BOUNDS: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 60.0),
)
# Upper bounds of the ages at which entries were audited, in seconds; the last has none.
AGES: Final = (300.0, 3600.0, 6 * 3600.0, 86400.0, 7 * 86400.0)
BARS: Final = 4  # in a counter's name
_PLACES: Final = 4  # digits of a bucket's place, and more
OTHER: Final = "other"
# How a provider counted the tokens of a prompt: at the full price, from its own cache,
# written to it.
PROMPT_TOKENS: Final = ("fresh", "cached", "written")
_MAX_LABELS: Final = 64
_MAX_SUBJECTS: Final = 128
_MAX_TEXT: Final = 80
_MAX_RAW: Final = 4096
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_NOBODY: Final = Subject("", "")
_TIMED: Final = (Result.HIT, Result.SHARED, Result.MISS, Result.UNCACHED)
_SAVED: Final = ("key_sum", "saved_tokens", "saved_seconds")

type Counts = dict[str, float]


class _Histogram:
    """Times, by bucket, and their sum."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def items(self, name: str, verdict: str) -> Iterator[tuple[str, str, float]]:
        yield f"{name}_sum", verdict, self.total
        for number, count in enumerate(self.buckets):
            if count:
                yield name, f"{verdict} {number}".strip(), count


class _Row:
    """What was counted of one subject. What each hit adds to has a place of its own."""

    __slots__ = ("first", "look_up", "rare", "requests", "saved", "time")

    def __init__(self) -> None:
        self.requests: defaultdict[str, int] = defaultdict(int)
        self.look_up = _Histogram()
        self.first: defaultdict[str, _Histogram] = defaultdict(_Histogram)
        self.time: defaultdict[str, _Histogram] = defaultdict(_Histogram)
        self.saved = [0.0] * len(_SAVED)
        self.rare: defaultdict[tuple[str, str], float] = defaultdict(float)

    def items(self) -> Iterator[tuple[str, str, float]]:
        for verdict, count in self.requests.items():
            yield "requests", verdict, count
        if self.look_up.total:
            yield from self.look_up.items("look_up", "")
        for name, table in (("first", self.first), ("time", self.time)):
            for result, times in table.items():
                yield from times.items(name, result)
        for name, amount in zip(_SAVED, self.saved, strict=True):
            if amount:
                yield name, "", amount
        for (name, verdict), amount in self.rare.items():
            yield name, verdict, amount


class Tally:
    """Counts events, until what it has counted is taken. Not thread-safe."""

    def __init__(self) -> None:
        self._counts: dict[Subject, _Row] = {}
        self._clean: dict[Subject, Subject] = {}  # by how they came
        self._subjects: set[Subject] = set()
        self._labels: set[str] = set()
        self._differences = Differences()
        self._open_since: float | None = None
        self._how: Mapping[type, Callable[[Any], None]] = {
            Lookup: self._looked_up,
            Missed: self._missed,
            Ended: self._ended,
            Followed: self._followed,
            Loaded: self._loaded,
            Audited: self._audited,
            Compared: self._compared,
            Kept: self._kept,
            Refused: self._refused,
            Stale: self._stood_in,
            Invalidated: self._invalidated,
            BreakerMoved: self._breaker,
        }

    def add(self, event: Event) -> None:
        """Count an event."""
        self._how[type(event)](event)

    def lost(self, count: int, what: str) -> None:
        """Count events that could not be counted or told."""
        self._row(_NOBODY).rare["lost", what] += count

    def take(self) -> Counts:
        """What was counted since the last time."""
        counts = {
            f"{name}|{of.kind}|{of.label}|{of.app}|{verdict}": amount
            for of, row in self._counts.items()
            for name, verdict, amount in row.items()
        }
        self._counts.clear()
        return counts

    def _row(self, raw: Subject) -> "_Row":
        of = self.clean(raw)
        row = self._counts.get(of)
        if row is None:
            row = self._counts[of] = _Row()
        return row

    # --- one for each kind of event ---------------------------------------

    def _looked_up(self, event: Lookup) -> None:
        row = self._row(event.of)
        row.requests[event.reason] += 1
        totals = row.saved
        if event.mark:
            totals[0] += event.key_seconds
            row.look_up.add(event.seconds)
        saved = event.saved
        if saved is None:
            return
        totals[1] += saved.prompt_tokens + saved.completion_tokens
        totals[2] += saved.seconds
        if saved.price:
            code = saved.currency if _CURRENCY.fullmatch(saved.currency) else OTHER
            row.rare["saved_money", code] += saved.price

    def _missed(self, event: Missed) -> None:
        row = self._row(event.of)
        found = self._differences.compare(self.clean(event.of), event.parts)
        if found is None:
            return
        row.rare["compared", ""] += 1
        row.rare["asked_before", ""] += found.asked_before
        if found.breaks_prefix:
            row.rare["prefix_broken", found.breaks_prefix] += 1
        for part in found.changed:
            row.rare["changed", part] += 1
            row.rare["kept_apart", part] += found.asked_before

    def _ended(self, event: Ended) -> None:
        row, result = self._row(event.of), event.result
        if result not in _TIMED:
            row.rare["unanswered", result] += 1
            return
        first = event.seconds if event.first is None else event.first
        row.first[result].add(first)
        row.time[result].add(event.seconds)

    def _followed(self, event: Followed) -> None:
        where = "other_process" if event.afar else "this_process"
        self._row(event.of).rare["followed", where] += 1

    def _loaded(self, event: Loaded) -> None:
        row = self._row(event.of)
        row.rare["loads", ""] += 1
        row.rare["load_first_sum", ""] += event.first
        row.rare["load_sum", ""] += event.seconds
        if event.prompt_tokens is None:
            return
        cached, written = event.cached_tokens, event.written_tokens
        fresh = max(0, event.prompt_tokens - cached - written)
        for how, tokens in zip(PROMPT_TOKENS, (fresh, cached, written), strict=True):
            if tokens:
                row.rare["prompt_tokens", how] += tokens
        if event.provider_saved:
            code = event.currency if _CURRENCY.fullmatch(event.currency) else OTHER
            row.rare["provider_saved", code] += event.provider_saved

    def _audited(self, event: Audited) -> None:
        row = self._row(event.of)
        row.rare["audits", event.verdict] += 1
        row.rare["audit_age", f"{event.verdict} {bisect_left(AGES, event.age)}"] += 1
        if event.price:
            code = event.currency if _CURRENCY.fullmatch(event.currency) else OTHER
            row.rare["audit_money", code] += event.price

    def _compared(self, event: Compared) -> None:
        verdict = "right" if event.right else "wrong"
        row = self._row(event.of)
        row.rare["compared_meaning", f"{event.band} {verdict}"] += 1
        if event.right:
            row.rare["meaning_would_save", ""] += event.saved.seconds

    def _kept(self, event: Kept) -> None:
        row = self._row(event.of)
        row.rare["kept", ""] += 1
        row.rare["kept_bytes", ""] += event.size

    def _refused(self, event: Refused) -> None:
        self._row(event.of).rare["refused", event.refusal] += 1

    def _stood_in(self, event: Stale) -> None:
        self._row(event.of).rare["stood_in", ""] += 1

    def _invalidated(self, event: Invalidated) -> None:
        del event
        self._row(_NOBODY).rare["invalidations", ""] += 1

    def _breaker(self, event: BreakerMoved) -> None:
        if event.opens:
            self._row(_NOBODY).rare["breaker_opened", ""] += 1
            self._open_since = event.at
        elif self._open_since is not None:
            self._row(_NOBODY).rare["breaker_open_sum", ""] += max(
                0.0, event.at - self._open_since
            )
            self._open_since = None

    # --- names that others chose ------------------------------------------

    def clean(self, raw: Subject) -> Subject:
        """The subject as it may stand in a counter's name."""
        known = self._clean.get(raw)
        if known is None:
            if len(self._clean) >= _MAX_RAW:
                self._clean.clear()
            known = self._clean[raw] = self._cleaned(raw)
        return known

    def _cleaned(self, raw: Subject) -> Subject:
        label, app = _text(raw.label), _text(raw.app)
        if label not in self._labels and len(self._labels) >= _MAX_LABELS:
            label = OTHER
        self._labels.add(label)
        subject = Subject(raw.kind, label, app)
        if subject not in self._subjects and len(self._subjects) >= _MAX_SUBJECTS:
            return subject._replace(app=OTHER if app else "")
        self._subjects.add(subject)
        return subject


def _text(text: str) -> str:
    # Half a surrogate pair would fail every publication of its hash.
    return text.encode("utf-8", "replace").decode().replace("|", "/")[:_MAX_TEXT]


def total(many: Iterable[Counts]) -> Counts:
    """Several counts as one."""
    summed: Counts = defaultdict(float)
    for counts in many:
        for name, amount in counts.items():
            summed[name] += amount
    return dict(summed)


def bucket(seconds: float) -> int:
    """The number of the latency's bucket."""
    return bisect_left(BOUNDS, seconds)


def place_of(text: str) -> int | None:
    """The place of a bucket, as it stands in a counter's name; None for none of ours."""
    sound = text.isascii() and text.isdigit() and len(text) < _PLACES
    place = int(text) if sound else len(BOUNDS) + 1
    return place if place <= len(BOUNDS) else None


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
