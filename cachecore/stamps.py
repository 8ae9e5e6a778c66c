"""Stamps: how an invalidation reaches every entry without knowing any of them.

Each tag has a stamp: a random text in a field of the namespace's hash. An entry carries
the stamps of all its tags. The law:

    An entry may be served only while each of its stamps stands.

To invalidate a tag is to replace its stamp. Every entry under the old one is dead at
once, in every process, and nothing is searched or deleted.

The race that the law must survive is an invalidation while an answer is loaded:

1. A looks the entry up, and finds none.
2. A settles the stamps: those that stand, and new ones where there are none.
3. A begins to load, from knowledge that is old by now.
4. B invalidates: the stamp of a tag is replaced.
5. A keeps its answer under the stamps of step 2.

Step 2 comes before step 3, so the entry of step 5 carries the replaced stamp and is dead
when it arrives. Were the stamps read after the load, the entry would carry the new stamp,
and an old answer would live. The same order covers who joins: C, who looks up after step
4, has other stamps than A's load, so C does not join it.

An evicted hash has no stamps. What is absent equals nothing, so that all entries are dead
until they are loaded again: an eviction costs hits and revives nothing.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from cachecore.errors import StoreError
from cachecore.keys import Keyspace
from cachecore.stores.base import Store

type Stamps = dict[str, str]


@dataclass(eq=False, slots=True)
class StampTable:
    """The stamps of one namespace in one store. Thread-safe."""

    _store: Store
    _keyspace: Keyspace

    def settle(self, current: Mapping[str, str | None]) -> Stamps | None:
        """The stamps that an entry is to be written under; None where the store fails.

        ``current`` are those that a look-up found, by field; None is absent, and is set
        now. To be called before the work begins (step 2 above).
        """
        absent = [field for field, stamp in current.items() if stamp is None]
        stamps = {f: s for f, s in current.items() if s is not None}
        if absent:
            new = {field: _new_stamp() for field in absent}
            try:
                stamps |= self._store.settle(self._keyspace.stamps, new)
            except StoreError:
                return None
        return stamps

    def invalidate(self, tags: Sequence[str]) -> dict[str, bool]:
        """Replace the stamps of ``tags``; whether each had one. Raises StoreError.

        A tag has a stamp as soon as anything was loaded under it, and until the hash is
        evicted. One without a stamp gets none: nothing was loaded under it, what is kept
        under an evicted stamp is dead, and what is loaded from now on is young enough.
        """
        fields = {tag: self._keyspace.stamp_field(tag) for tag in tags}
        existed = self._store.replace(
            self._keyspace.stamps,
            {field: _new_stamp() for field in fields.values()},
            only_existing=True,
        )
        return {tag: existed[field] for tag, field in fields.items()}


def stamps_digest(stamps: Mapping[str, str]) -> str:
    """A digest of a load's stamps: only callers with the same stamps may follow it."""
    text = orjson.dumps(dict(stamps), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:8]


def _new_stamp() -> str:
    return secrets.token_hex(8)
