"""What a process did lately: its last decisions and invalidations, without any text."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from cachecore import entry as entries
from cachecore.errors import CorruptEntry
from cachecore.metrics import Invalidated, Lookup, Subject

DECISIONS: Final = 200
INVALIDATIONS: Final = 50
_MAX_TAGS: Final = 20

type Row = dict[str, Any]


class Recent:
    """The last of both, oldest first. Not thread-safe."""

    def __init__(self) -> None:
        self._decisions: deque[Lookup] = deque(maxlen=DECISIONS)
        self._invalidations: deque[Invalidated] = deque(maxlen=INVALIDATIONS)
        self.changed = False

    def add(self, event: Lookup | Invalidated) -> None:
        """Remember it."""
        if isinstance(event, Lookup):
            self._decisions.append(event)
        else:
            self._invalidations.append(event)
        self.changed = True

    def sealed(
        self, name: str, cipher_key: bytes | None, clean: Callable[[Subject], Subject]
    ) -> bytes:
        """All of it, as bytes for the key ``name``; ``clean`` makes names fit to show."""
        self.changed = False
        rows = {
            "decisions": [
                _decision(clean(event.of), event) for event in self._decisions
            ],
            "invalidations": [
                {"at": event.at, "tags": event.tags[:_MAX_TAGS]}
                for event in self._invalidations
            ],
        }
        return entries.seal(orjson.dumps(rows), name, cipher_key)


def _decision(of: Subject, event: Lookup) -> Row:
    row: Row = {
        "at": round(event.at, 3),
        "kind": of.kind,
        "label": of.label,
        "app": of.app,
        "reason": event.reason.value,
        "ms": round((event.seconds + event.key_seconds) * 1000, 2),
        "key": event.mark,
    }
    if event.parts:
        row["parts"] = dict(event.parts)
    return row


def unsealed(
    found: Iterable[tuple[str, bytes | None]], cipher_key: bytes | None
) -> tuple[list[Row], list[Row]]:
    """The decisions and invalidations of all processes, the latest first.

    ``found`` are names and what stands under them; what can't be read is left out.
    """
    decisions: list[Row] = []
    invalidations: list[Row] = []
    for name, data in found:
        try:
            rows = orjson.loads(entries.unseal(data or b"", name, cipher_key))
            decisions += rows["decisions"]
            invalidations += rows["invalidations"]
        except (CorruptEntry, ValueError, TypeError, KeyError):
            continue
    decisions.sort(key=_when, reverse=True)
    invalidations.sort(key=_when, reverse=True)
    return decisions[:DECISIONS], invalidations[:INVALIDATIONS]


def _when(row: Row) -> float:
    return float(row["at"])
