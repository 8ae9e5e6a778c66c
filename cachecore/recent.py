"""The last decisions and invalidations of a process, without any text."""

import base64
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson

from cachecore import entry as entries
from cachecore.errors import CorruptEntry
from cachecore.events import INTERNAL, Invalidated, Lookup, Missed, Subject
from cachecore.policy import Reason

DECISIONS: Final = 200
INVALIDATIONS: Final = 50
_LATEST: Final = 2**33  # the latest time that a calendar can show, in seconds

type Row = dict[str, Any]


class Recent:
    """The last decisions and invalidations, oldest first. Not thread-safe."""

    def __init__(self) -> None:
        self._decisions: deque[Lookup] = deque(maxlen=DECISIONS)
        self._parts: dict[str, Mapping[str, str]] = {}  # of misses, by their short key
        self._invalidations: deque[Invalidated] = deque(maxlen=INVALIDATIONS)
        self.changed = False

    def add(self, event: Lookup | Missed | Invalidated) -> None:
        """Remember an event, if it belongs to a user's request."""
        if isinstance(event, Missed):
            self._parts[event.short_key] = event.parts
            if len(self._parts) > DECISIONS:
                del self._parts[next(iter(self._parts))]
        elif isinstance(event, Invalidated):
            self._invalidations.append(event)
        elif event.of.label != INTERNAL:
            self._decisions.append(event)
        self.changed = True

    def sealed(
        self, name: str, cipher_key: bytes | None, clean: Callable[[Subject], Subject]
    ) -> bytes:
        """Both lists as bytes for the key ``name``; ``clean`` bounds the names."""
        rows = {
            "decisions": [
                self._decision(clean(event.of), event) for event in self._decisions
            ],
            "invalidations": [
                {"at": event.at, "tags": event.tags} for event in self._invalidations
            ],
        }
        return entries.seal(orjson.dumps(rows), name, cipher_key)

    def _decision(self, of: Subject, event: Lookup) -> Row:
        row: Row = {
            "at": round(event.at, 3),
            "kind": of.kind,
            "label": of.label,
            "app": of.app,
            "reason": event.reason.value,
            "ms": round((event.seconds + event.key_seconds) * 1000, 2),
            "key": event.short_key,
        }
        parts = self._parts.get(event.short_key)
        if parts and event.reason is Reason.ABSENT:
            row["parts"] = dict(parts)
        return row


def unsealed(
    found: Iterable[tuple[str, str]], cipher_key: bytes | None
) -> tuple[list[Row], list[Row]]:
    """The decisions and invalidations of all processes, the latest first.

    ``found`` are keys and their values. Values that can't be read, or that this version
    would not write, are left out.
    """
    decisions: list[Row] = []
    invalidations: list[Row] = []
    for name, text in found:
        try:
            data = base64.b85decode(text)
            rows = orjson.loads(entries.unseal(data, name, cipher_key))
            # Latest first: rows with the same time keep their order.
            decisions += filter(_is_decision, reversed(rows["decisions"]))
            invalidations += filter(_is_invalidation, reversed(rows["invalidations"]))
        except (CorruptEntry, ValueError, TypeError, KeyError):
            continue
    decisions.sort(key=_when, reverse=True)
    invalidations.sort(key=_when, reverse=True)
    return decisions[:DECISIONS], invalidations[:INVALIDATIONS]


def _is_decision(row: Any) -> bool:
    texts = ("kind", "label", "app", "reason", "key")
    return _is_row(row) and all(isinstance(row.get(name), str) for name in texts)


def _is_invalidation(row: Any) -> bool:
    if not _is_row(row) or not isinstance(row.get("tags"), list):
        return False
    return all(isinstance(tag, str) for tag in row["tags"])


def _is_row(row: Any) -> bool:
    at = row.get("at") if isinstance(row, dict) else None
    return isinstance(at, int | float) and 0 <= at < _LATEST


def _when(row: Row) -> float:
    return float(row["at"])
