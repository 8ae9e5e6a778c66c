"""What a process did lately: its last decisions and invalidations, without any text."""

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
_LATEST: Final = 2**33  # seconds since the epoch that a calendar has

type Row = dict[str, Any]


class Recent:
    """The last of both, oldest first. Not thread-safe."""

    def __init__(self) -> None:
        self._decisions: deque[Lookup] = deque(maxlen=DECISIONS)
        self._parts: dict[str, Mapping[str, str]] = {}  # of misses, by their mark
        self._invalidations: deque[Invalidated] = deque(maxlen=INVALIDATIONS)
        self.changed = False

    def add(self, event: Lookup | Missed | Invalidated) -> None:
        """Remember it, if it is a user's."""
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
        """All of it, as bytes for the key ``name``; ``clean`` makes names fit to show."""
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

    ``found`` are names and what stands there. What can't be read, or is not as this
    version writes it, is left out.
    """
    decisions: list[Row] = []
    invalidations: list[Row] = []
    for name, text in found:
        try:
            data = base64.b85decode(text)
            rows = orjson.loads(entries.unseal(data, name, cipher_key))
            # The latest first, for those of one moment stay in the order they come in.
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
