"""Events -> counters.

A counter's name is ``name|kind|label|app|verdict``. Names that a user or a model chooses
are bounded: there is a limit of labels and apps, and the rest is counted together.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cachecore.differences import Differences
from cachecore.events import (
    Audited,
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
_PLACES: Final = 4  # more than the digits of a bucket's place
OTHER: Final = "other"
# The provider's kinds of prompt tokens: at the full price, from its own cache, written to
# its cache.
PROMPT_TOKENS: Final = ("fresh", "cached", "written")
_MAX_LABELS: Final = 64
_MAX_SUBJECTS: Final = 128
_MAX_TEXT: Final = 80
_MAX_RAW: Final = 4096
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_NOBODY: Final = Subject("", "")
_TIMED: Final = (Result.HIT, Result.SHARED, Result.MISS, Result.UNCACHED)

type Counts = dict[str, float]


type Row = defaultdict[tuple[str, str], float]  # of one subject, by name and verdict


class Tally:
    """Counts events until ``take``. Not thread-safe."""

    def __init__(self) -> None:
        self._counts: dict[Subject, Row] = {}
        self._clean: dict[Subject, Subject] = {}  # by their unbounded names
        self._subjects: set[Subject] = set()
        self._labels: set[str] = set()
        self._differences = Differences()
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
        }

    def add(self, event: Event) -> None:
        """Count an event."""
        self._how[type(event)](event)

    def of_process(self, name: str, amount: float, verdict: str = "") -> None:
        """Count something that belongs to no request."""
        self._row(_NOBODY)[name, verdict] += amount

    def take(self) -> Counts:
        """The counts since the last call."""
        counts = {
            f"{name}|{of.kind}|{of.label}|{of.app}|{verdict}": amount
            for of, row in self._counts.items()
            for (name, verdict), amount in row.items()
        }
        self._counts.clear()
        return counts

    def _row(self, raw: Subject) -> Row:
        of = self.clean(raw)
        row = self._counts.get(of)
        if row is None:
            row = self._counts[of] = defaultdict(float)
        return row

    # --- the kinds of events ----------------------------------------------

    def _looked_up(self, event: Lookup) -> None:
        row = self._row(event.of)
        row["requests", event.reason.value] += 1
        if event.short_key:
            row["key_sum", ""] += event.key_seconds
            _time(row, "look_up", "", event.seconds)
        saved = event.saved
        if saved is None:
            return
        row["saved_tokens", ""] += saved.prompt_tokens + saved.completion_tokens
        row["saved_seconds", ""] += saved.seconds
        _money(row, "saved_money", saved.price, saved.currency)

    def _missed(self, event: Missed) -> None:
        row = self._row(event.of)
        found = self._differences.compare(self.clean(event.of), event.parts)
        if found is None:
            return
        row["compared", ""] += 1
        row["asked_before", ""] += found.asked_before
        if found.breaks_prefix:
            row["prefix_broken", found.breaks_prefix] += 1
        for part in found.changed:
            row["changed", part] += 1
            row["kept_apart", part] += found.asked_before

    def _ended(self, event: Ended) -> None:
        row, result = self._row(event.of), event.result
        if result not in _TIMED:
            row["unanswered", result.value] += 1
            return
        first = event.seconds if event.first is None else event.first
        _time(row, "first", result.value, first)
        _time(row, "time", result.value, event.seconds)

    def _followed(self, event: Followed) -> None:
        where = "other_process" if event.other_process else "this_process"
        self._row(event.of)["followed", where] += 1

    def _loaded(self, event: Loaded) -> None:
        row = self._row(event.of)
        row["loads", ""] += 1
        row["load_first_sum", ""] += event.first
        row["load_sum", ""] += event.seconds
        if event.prompt_tokens is None:
            return
        cached, written = event.cached_tokens, event.written_tokens
        fresh = max(0, event.prompt_tokens - cached - written)
        for how, tokens in zip(PROMPT_TOKENS, (fresh, cached, written), strict=True):
            if tokens:
                row["prompt_tokens", how] += tokens
        _money(row, "provider_saved", event.provider_saved, event.currency)

    def _audited(self, event: Audited) -> None:
        row = self._row(event.of)
        row["audits", event.verdict] += 1
        row["audit_age", f"{event.verdict} {bisect_left(AGES, event.age)}"] += 1
        _money(row, "audit_money", event.price, event.currency)

    def _compared(self, event: Compared) -> None:
        verdict = "right" if event.right else "wrong"
        row = self._row(event.of)
        row["compared_meaning", f"{event.band} {verdict}"] += 1
        if event.right:
            row["meaning_would_save", ""] += event.saved.seconds

    def _kept(self, event: Kept) -> None:
        row = self._row(event.of)
        row["kept", ""] += 1
        row["kept_bytes", ""] += event.size

    def _refused(self, event: Refused) -> None:
        self._row(event.of)["refused", event.refusal.value] += 1

    def _stood_in(self, event: Stale) -> None:
        self._row(event.of)["stood_in", ""] += 1

    def _invalidated(self, _: Invalidated) -> None:
        self.of_process("invalidations", 1)

    # --- names from users and models --------------------------------------

    def clean(self, raw: Subject) -> Subject:
        """The subject with names that a counter's name may contain."""
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
    # A lone surrogate would make every publication of its hash fail.
    return text.encode("utf-8", "replace").decode().replace("|", "/")[:_MAX_TEXT]


def total(many: Iterable[Counts]) -> Counts:
    """Several counts as one."""
    summed: Counts = defaultdict(float)
    for counts in many:
        for name, amount in counts.items():
            summed[name] += amount
    return dict(summed)


def _time(row: Row, name: str, verdict: str, seconds: float) -> None:
    """Count a time, by its bucket, and in the sum."""
    row[f"{name}_sum", verdict] += seconds
    row[name, f"{verdict} {bisect_left(BOUNDS, seconds)}".strip()] += 1


def _money(row: Row, name: str, amount: float, currency: str) -> None:
    if amount:
        row[name, currency if _CURRENCY.fullmatch(currency) else OTHER] += amount


def place_of(text: str) -> int | None:
    """The place of a bucket from a counter's name; None if the text is not a place."""
    valid = text.isascii() and text.isdigit() and len(text) < _PLACES
    place = int(text) if valid else len(BOUNDS) + 1
    return place if place <= len(BOUNDS) else None


def percentile(buckets: Mapping[int, float], share: float) -> float | None:
    """The approximate percentile of latencies, in seconds; None if there are none."""
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
