"""What a leader tells in its stream, when, and the bytes of it.

A record is numbered and sealed as entries are: bound to its stream, and encrypted
where they are. ``{"n": 3, "pieces": […]}`` is a part of the answer, an empty one a
sign of life; ``{"n": 4, "end": …}`` its end: ``landed``, ``gone``, or ``error`` with
whose it is.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from cachecore import entry as entries
from cachecore.errors import CorruptEntry
from cachecore.streams import from_plain, plain

LANDED: Final[Mapping[str, Any]] = {"end": "landed"}
GONE: Final[Mapping[str, Any]] = {"end": "gone"}
ALIVE: Final[Mapping[str, Any]] = {"pieces": ()}
# Alive, and without progress for too long for those who have shown nothing.
STILL: Final[Mapping[str, Any]] = {"pieces": (), "still": True}


@dataclass(frozen=True, slots=True)
class Pace:
    """How the processes keep step, in seconds.

    ``lease`` is the life of a lease without a beat; ``beat`` how often it is
    renewed and a listener given a sign of life; ``glance`` how often a leader
    looks for listeners; ``batch`` the least time between two batches of pieces;
    ``linger`` how long an ended stream waits for slow listeners; ``listen`` how
    long a listener waits at once. After ``patience`` without a sign, one who has
    shown nothing gives its leader up; after ``silence``, one who has shown a part.
    """

    lease: float = 5.0
    beat: float = 0.25
    glance: float = 0.25
    batch: float = 0.02
    linger: float = 30.0
    listen: float = 0.1
    patience: float = 1.0
    silence: float = 3.0


def seal(record: Mapping[str, Any], stream: str, cipher_key: bytes | None) -> bytes:
    """The bytes of a record whose ``pieces`` are Pieces."""
    pieces = [plain(piece) for piece in record.get("pieces", ())]
    text = orjson.dumps({**record, "pieces": pieces})
    return entries.seal(text, stream, cipher_key)


def unseal(
    data: bytes, stream: str, number: int, cipher_key: bytes | None
) -> Mapping[str, Any]:
    """The record ``number`` of a stream; anything else is the end of a dead leader."""
    try:
        record = orjson.loads(entries.unseal(data, stream, cipher_key))
        if record["n"] == number:
            pieces = [from_plain(piece) for piece in record["pieces"]]
            if "error" in record:
                name, text = record["error"]
                record["error"] = [str(name), str(text)]
            return {**record, "pieces": pieces}
    except (CorruptEntry, ValueError, TypeError, KeyError, AttributeError):
        pass
    return GONE


def mark(stamps: Mapping[str, str]) -> str:
    """A load's stamps in eight characters: who read others must not follow it."""
    text = orjson.dumps(dict(stamps), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:8]


def who(credential: str) -> str:
    """Enough of a credential's digest to tell colleagues, too little to test a guess."""
    return hashlib.sha256(credential.encode()).hexdigest()[:8]
